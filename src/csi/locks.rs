//! One call per volume at a time: a second one is told to come back (`Aborted`), as the interface asks.

use juicefs_base::sync::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tonic::Status;

/// Longest wait for a turn, well within a call's own time.
const TURN_TIMEOUT: Duration = Duration::from_secs(20);
const TURN_PAUSE: Duration = Duration::from_millis(10);

/// The volumes that a call is working on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Locks {
    busy: Arc<Mutex<HashSet<String>>>,
}

/// Held by the call that works on a volume.
#[derive(Debug)]
pub(crate) struct Held {
    locks: Locks,
    id: String,
}

impl Locks {
    pub(crate) fn take(&self, id: &str) -> Result<Held, Status> {
        if self.busy.lock().insert(id.to_owned()) {
            return Ok(Held { locks: self.clone(), id: id.to_owned() });
        }
        Err(Status::aborted(format!("another call is working on {id}; it will be tried again")))
    }
}

impl Locks {
    /// As [`Locks::take`], but waits its turn first: for short work that many calls do.
    pub(crate) async fn take_in_turn(&self, id: &str) -> Result<Held, Status> {
        let taken = async {
            loop {
                if let Ok(held) = self.take(id) {
                    return held;
                }
                tokio::time::sleep(TURN_PAUSE).await;
            }
        };
        match tokio::time::timeout(TURN_TIMEOUT, taken).await {
            Ok(held) => Ok(held),
            Err(_) => self.take(id),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.locks.busy.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_call_is_sent_away_until_the_first_ends() {
        let locks = Locks::default();
        let held = locks.take("a").expect("free");
        assert_eq!(locks.take("a").expect_err("busy").code(), tonic::Code::Aborted);
        locks.take("b").expect("another volume");
        drop(held);
        locks.take("a").expect("free again");
    }

    #[tokio::test]
    async fn turns_are_taken_one_after_the_other() {
        let locks = Locks::default();
        let held = locks.take("a").expect("free");
        let mut waiting = std::pin::pin!(locks.take_in_turn("a"));
        tokio::select! {
            biased;
            _ = &mut waiting => panic!("it is not free"),
            () = std::future::ready(()) => {}
        }
        drop(held);
        waiting.await.expect("its turn");
    }
}
