//! Events (`events.k8s.io/v1`) about objects: one per transition, never one per look.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

/// The API server refuses longer notes.
const NOTE_BYTES_MAX: usize = 1000;

/// One thing worth telling the owner of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// A warning, or normal news.
    pub warning: bool,
    /// CamelCase, short, stable: people filter by it.
    pub reason: String,
    /// What was being done, in CamelCase.
    pub action: String,
    /// One sentence for people. The caller has masked secrets in it.
    pub text: String,
}

impl Note {
    #[must_use]
    pub fn normal(reason: &str, action: &str, text: impl Into<String>) -> Self {
        Self { warning: false, reason: reason.into(), action: action.into(), text: text.into() }
    }

    #[must_use]
    pub fn warning(reason: &str, action: &str, text: impl Into<String>) -> Self {
        Self { warning: true, ..Self::normal(reason, action, text) }
    }
}

/// Where notes go. A note that cannot be written is logged and lost: an Event is never worth failing for.
#[derive(Clone)]
pub struct EventSink {
    recorder: Recorder,
}

impl EventSink {
    /// `controller` and `instance` (the pod's name) show as the source of every note.
    #[must_use]
    pub fn new(client: Client, controller: &str, instance: Option<String>) -> Self {
        Self { recorder: Recorder::new(client, Reporter { controller: controller.into(), instance }) }
    }

    /// Writes `note` about `object`. Repetitions within six minutes become a series of one Event.
    pub async fn publish(&self, object: &ObjectReference, note: &Note) {
        let event = Event {
            type_: if note.warning { EventType::Warning } else { EventType::Normal },
            reason: note.reason.clone(),
            note: Some(shortened(&note.text, NOTE_BYTES_MAX)),
            action: note.action.clone(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, object).await {
            tracing::warn!(reason = note.reason, object = object.name, %error, "event not written");
        }
    }
}

/// `text` within `max` bytes, cut at a character, with `...` where something is missing.
#[must_use]
pub fn shortened(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let mut end = max.saturating_sub(3);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}...", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::shortened;

    #[test]
    fn long_notes_are_cut_at_a_character() {
        assert_eq!(shortened("short", 5), "short");
        assert_eq!(shortened("ääääää", 8), "ää...");
        assert!(shortened(&"x".repeat(5000), 1000).len() <= 1000);
    }
}
