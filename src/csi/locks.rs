//! One call per volume at a time: a second one is told to come back (`Aborted`), as the interface asks.

use juicefs_base::sync::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
use tonic::Status;

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
        Err(Status::aborted(format!("another call is working on volume {id}; it will be tried again")))
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
}
