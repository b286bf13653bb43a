//! Conditions of our resources: what is true of one, each with a reason and a sentence, and the news between two looks.

use juicefs_k8s::crd::Condition;
use juicefs_k8s::events::Note;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

/// Types of conditions. True is good in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionKind {
    /// Volumes can be made and mounted.
    Ready,
    /// The volume is there, with the settings that can never change.
    Formatted,
    /// The last format Job reached the metadata engine.
    MetadataReachable,
    /// The last format Job reached the bucket, if it had to.
    ObjectStorageReachable,
    /// The settings that can change are as the spec says.
    ConfigInSync,
    /// The Secret for the CSI driver is there.
    SecretExported,
    /// All StorageClasses are there.
    StorageClassesReady,
    /// A mirror: everything was copied once.
    Bootstrapped,
    /// A mirror: its source answers.
    SourceReachable,
    /// A mirror: its follower works.
    Following,
    /// A mirror: it is behind by less than `sync.maxLag`.
    CaughtUp,
    /// A mirror: it was made a volume of its own.
    Promoted,
}

impl ConditionKind {
    /// As in `status.conditions[].type`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Formatted => "Formatted",
            Self::MetadataReachable => "MetadataReachable",
            Self::ObjectStorageReachable => "ObjectStorageReachable",
            Self::ConfigInSync => "ConfigInSync",
            Self::SecretExported => "SecretExported",
            Self::StorageClassesReady => "StorageClassesReady",
            Self::Bootstrapped => "Bootstrapped",
            Self::SourceReachable => "SourceReachable",
            Self::Following => "Following",
            Self::CaughtUp => "CaughtUp",
            Self::Promoted => "Promoted",
        }
    }
}

/// One condition as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub kind: ConditionKind,
    /// `None` is Unknown.
    pub holds: Option<bool>,
    /// CamelCase.
    pub reason: String,
    pub message: String,
}

impl Finding {
    pub(crate) fn holds(kind: ConditionKind, reason: &str, message: impl Into<String>) -> Self {
        Self { kind, holds: Some(true), reason: reason.into(), message: message.into() }
    }

    pub(crate) fn fails(kind: ConditionKind, reason: &str, message: impl Into<String>) -> Self {
        Self { holds: Some(false), ..Self::holds(kind, reason, message) }
    }

    pub(crate) fn unknown(kind: ConditionKind, reason: &str, message: impl Into<String>) -> Self {
        Self { holds: None, ..Self::holds(kind, reason, message) }
    }

    fn status(&self) -> &'static str {
        match self.holds {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        }
    }
}

/// What one look has found: at most one finding of a kind.
#[derive(Default)]
pub(crate) struct Findings(Vec<Finding>);

impl Findings {
    /// Replaces what was said of the same kind before.
    pub(crate) fn say(&mut self, finding: Finding) {
        self.0.retain(|known| known.kind != finding.kind);
        self.0.push(finding);
    }

    /// In the order they were said.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Finding> {
        self.0.iter()
    }

    pub(crate) fn of(&self, kind: ConditionKind) -> Option<&Finding> {
        self.0.iter().find(|finding| finding.kind == kind)
    }

    /// The conditions and the news. Of the `wanted` kinds, what was not looked at stays as it was.
    pub(crate) fn conclude(
        mut self,
        wanted: impl IntoIterator<Item = ConditionKind>,
        old: &[Condition],
        generation: Option<i64>,
        now: Timestamp,
    ) -> (Vec<Condition>, Vec<Note>) {
        for kind in wanted {
            if self.of(kind).is_none() {
                let unknown = || Finding::unknown(kind, "NotYetKnown", "not looked at yet");
                self.0.push(kept(old, kind).unwrap_or_else(unknown));
            }
        }
        self.0.sort_by_key(|finding| finding.kind);
        let conditions = merge(old, &self.0, generation, now);
        let notes = news(old, &conditions);
        (conditions, notes)
    }
}

/// Conditions for the status. A condition whose status stays keeps its time.
fn merge(old: &[Condition], findings: &[Finding], generation: Option<i64>, now: Timestamp) -> Vec<Condition> {
    let merged = findings.iter().map(|finding| {
        let before = old.iter().find(|condition| condition.type_ == finding.kind.as_str());
        let unchanged = before.filter(|condition| condition.status == finding.status());
        Condition {
            type_: finding.kind.as_str().into(),
            status: finding.status().into(),
            reason: finding.reason.clone(),
            message: finding.message.clone(),
            observed_generation: generation,
            last_transition_time: unchanged
                .map_or(Time(now), |condition| condition.last_transition_time.clone()),
        }
    });
    merged.collect()
}

/// News: one note for each condition whose status or reason is another than before.
fn news(old: &[Condition], new: &[Condition]) -> Vec<Note> {
    let changed = new.iter().filter(|condition| {
        let before = old.iter().find(|before| before.type_ == condition.type_);
        before.is_none_or(|before| before.status != condition.status || before.reason != condition.reason)
    });
    // What is not known yet is no news, and Ready repeats what another condition says when it fails.
    let telling = changed.filter(|condition| condition.status != "Unknown");
    let telling = telling.filter(|condition| {
        condition.type_ != "Ready" || condition.status == "True" || is_own_reason(&condition.reason)
    });
    let mut notes: Vec<Note> = Vec::new();
    for condition in telling {
        let make = if condition.status == "True" { Note::normal } else { Note::warning };
        let note = make(&condition.reason, &condition.type_, condition.message.clone());
        // What one failure is for several conditions is told once.
        if !note.warning || notes.iter().all(|told| told.text != note.text) {
            notes.push(note);
        }
    }
    notes
}

/// Reasons for which only Ready is False.
fn is_own_reason(reason: &str) -> bool {
    matches!(
        reason,
        "Suspended"
            | "SecretMissing"
            | "SecretKeyMissing"
            | "SecretForbidden"
            | "NamespaceNotAllowed"
            | "BadSpec"
            | "SourceMissing"
            | "SourceNotAllowed"
            | "SourceNotReady"
    )
}

/// The condition of a kind, as it was.
pub(crate) fn find(conditions: &[Condition], kind: ConditionKind) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == kind.as_str())
}

/// A condition that nothing new is known about.
pub(crate) fn kept(conditions: &[Condition], kind: ConditionKind) -> Option<Finding> {
    let condition = find(conditions, kind)?;
    let holds = match condition.status.as_str() {
        "True" => Some(true),
        "False" => Some(false),
        _ => None,
    };
    Some(Finding { kind, holds, reason: condition.reason.clone(), message: condition.message.clone() })
}
