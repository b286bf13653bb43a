//! `.control`: what tools ask of a running mount. A tool writes one message and reads the answer behind it, in the
//! same stream; closing the file ends the work.
//!
//! Messages name nodes by number, so each is checked here: the node lies below the mount's root and the one who opened
//! the file may reach it, and do what is asked for.

mod cached;
mod info;
mod jobs;
pub mod protocol;

use crate::core::Core;
use crate::error::Result;
use juicefs_base::Errno;
use juicefs_base::sync::Mutex;
use juicefs_meta::Caller;
use protocol::{Frame, Message};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// How long a read waits for more of an answer; the tools ask again.
const READ_PATIENCE: Duration = Duration::from_millis(200);

/// One open `.control`.
pub(crate) struct ControlHandle {
    /// Who opened it.
    caller: Caller,
    stream: Mutex<Stream>,
    /// Moves when the answer grows.
    grew: Notify,
}

/// Message and answer, one behind the other.
struct Stream {
    /// What was read already is dropped: this many bytes.
    dropped: u64,
    bytes: Vec<u8>,
    /// Where in `bytes` the message that is being written begins; `None` while one is answered.
    message_at: Option<usize>,
    job: Option<JoinHandle<()>>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(job) = self.job.take() {
            job.abort();
        }
    }
}

impl ControlHandle {
    pub(crate) fn new(caller: &Caller) -> Arc<Self> {
        // Whatever the kernel has checked was the file's own mode.
        let caller = Caller { checks_permission: true, ..caller.clone() };
        let stream = Stream { dropped: 0, bytes: Vec::new(), message_at: Some(0), job: None };
        Arc::new(Self { caller, stream: Mutex::new(stream), grew: Notify::new() })
    }

    /// Takes a part of a message; the last one begins the work.
    ///
    /// # Errors
    /// EINVAL for what can't be a message, EBUSY while one is answered.
    pub(crate) fn write(self: &Arc<Self>, core: &Arc<Core>, data: &[u8]) -> Result<()> {
        let mut stream = self.stream.lock();
        let at = stream.message_at.ok_or(Errno::EBUSY)?;
        if stream.bytes.len() - at + data.len() > protocol::BODY_BYTES_MAX + 8 {
            return Err(Errno::EINVAL.into());
        }
        stream.bytes.extend_from_slice(data);
        let Some(length) = Message::length(&stream.bytes[at..])? else { return Ok(()) };
        if stream.bytes.len() - at < length {
            return Ok(());
        }
        let message = Message::decode(&stream.bytes[at..at + length]);
        stream.message_at = None;
        let (me, core) = (Arc::downgrade(self), Arc::clone(core));
        let caller = self.caller.clone();
        let runtime = core.runtime.clone();
        stream.job = Some(runtime.spawn(async move {
            let told = |frame: &Frame| {
                if let Some(me) = me.upgrade() {
                    me.answer(frame);
                }
            };
            let last = match message {
                Ok(message) => jobs::run(&core, &caller, &message, &told).await,
                Err(errno) => Frame::Done(errno_byte(errno)),
            };
            told(&last);
        }));
        Ok(())
    }

    fn answer(&self, frame: &Frame) {
        let mut stream = self.stream.lock();
        stream.bytes.extend_from_slice(&frame.encode());
        if !matches!(frame, Frame::Progress(..)) {
            stream.message_at = Some(stream.bytes.len());
        }
        drop(stream);
        self.grew.notify_waiters();
    }

    /// What there is at `off`; nothing means that the answer is still to come. What lies before is forgotten.
    pub(crate) async fn read(&self, off: u64, size: usize) -> Vec<u8> {
        let grew = self.grew.notified();
        tokio::pin!(grew);
        grew.as_mut().enable();
        let found = self.stream.lock().read(off, size);
        if !found.is_empty() {
            return found;
        }
        let _ = tokio::time::timeout(READ_PATIENCE, grew).await;
        self.stream.lock().read(off, size)
    }
}

impl Stream {
    fn read(&mut self, off: u64, size: usize) -> Vec<u8> {
        let Some(from) = off.checked_sub(self.dropped).and_then(|from| usize::try_from(from).ok()) else {
            return Vec::new();
        };
        // Not behind the message that is being written.
        let end = self.message_at.unwrap_or(self.bytes.len());
        if from >= end {
            return Vec::new();
        }
        let found = self.bytes[from..end.min(from + size)].to_vec();
        self.bytes.drain(..from);
        self.dropped += from as u64;
        self.message_at = self.message_at.map(|at| at - from);
        found
    }
}

/// An errno as the one byte that ends an answer.
fn errno_byte(errno: Errno) -> u8 {
    u8::try_from(errno as i32).unwrap_or(libc::EIO as u8)
}
