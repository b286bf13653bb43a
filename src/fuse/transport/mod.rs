//! The one place that knows `/dev/fuse`: threads read its messages, which become calls of the adapter.
//!
//! The state is which threads still read. All of them read the one descriptor; each works on what it has read until
//! that has to wait. They end by themselves when the kernel lets go of the mount.

mod access;
mod answers;
mod channel;
mod dispatch;
mod init;
mod interrupts;
mod wire;

use crate::adapter::Adapter;
use channel::{Channel, Notice};
use interrupts::Interrupts;
use juicefs_base::Errno;
use juicefs_base::sync::Mutex;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::sync::watch;
use wire::Body;

pub use init::READAHEAD_BYTES;

/// The largest request that is no write: an extended attribute with its name.
const OTHER_REQUESTS_MAX: usize = 128 << 10;
/// Headers of a request.
const HEADERS_MAX: usize = 4096;
const STACK_BYTES: usize = 2 << 20;

/// How the threads ended; `None` while one of them runs.
pub(crate) type End = Option<Result<(), String>>;

/// Requests of one mount on their way to the adapter.
pub(crate) struct Transport {
    adapter: Adapter,
    channel: Channel,
    interrupts: Interrupts,
}

impl Transport {
    /// Answers the kernel's first message on `device`.
    ///
    /// # Errors
    /// See [`init::shake_hands`].
    pub(crate) fn open(device: OwnedFd, adapter: Adapter) -> io::Result<Self> {
        let channel = Channel::new(device, false);
        init::shake_hands(&channel, &mut vec![0; OTHER_REQUESTS_MAX], &adapter.options)?;
        Ok(Self { adapter, channel, interrupts: Interrupts::default() })
    }

    /// Goes on with a `device` whose former process has died. What that one has read and not answered comes again.
    ///
    /// # Errors
    /// EINVAL from a kernel that sends nothing again (before Linux 6.9): its callers would wait for ever.
    pub(crate) fn inherit(device: OwnedFd, adapter: Adapter) -> io::Result<Self> {
        let channel = Channel::new(device, true);
        channel.notify(Notice::Resend, &Body::default())?;
        Ok(Self { adapter, channel, interrupts: Interrupts::default() })
    }

    /// Who tells the kernel to forget.
    pub(crate) fn notifier(&self) -> Notifier {
        Notifier(self.channel.clone())
    }

    /// Starts the threads.
    pub(crate) fn start(self) -> io::Result<watch::Receiver<End>> {
        let (report, ended) = watch::channel(None);
        let threads = self.adapter.options.threads.max(1);
        let ending = Arc::new(Ending { failed: Mutex::new(None), report });
        let transport = Arc::new(self);
        for number in 0..threads {
            let (transport, ending) = (Arc::clone(&transport), Arc::clone(&ending));
            std::thread::Builder::new().name(format!("fuse-{number}")).stack_size(STACK_BYTES).spawn(
                move || {
                    if let Err(error) = transport.serve() {
                        ending.failed.lock().get_or_insert(error.to_string());
                    }
                },
            )?;
        }
        Ok(ended)
    }

    /// Reads and works until the kernel lets go of the mount.
    fn serve(&self) -> io::Result<()> {
        let largest = OTHER_REQUESTS_MAX.max(self.adapter.options.io_bytes as usize);
        let mut buffer = vec![0; largest + HEADERS_MAX];
        while let Some(message) = self.channel.receive(&mut buffer)? {
            self.take(message);
        }
        Ok(())
    }
}

/// Reports the end of the last thread, however it ended.
struct Ending {
    failed: Mutex<Option<String>>,
    report: watch::Sender<End>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let end = self.failed.lock().take().map_or(Ok(()), Err);
        // Nobody may be waiting any more.
        let _ = self.report.send(Some(end));
    }
}

/// Sends notifications.
pub(crate) struct Notifier(Channel);

impl Notifier {
    /// `off` negative: attributes only.
    pub(crate) fn invalid_inode(&self, ino: u64, off: i64, len: i64) -> Result<(), Errno> {
        let mut body = Body::with_capacity(24);
        body.u64(ino).i64(off).i64(len);
        self.0.notify(Notice::InvalidInode, &body)
    }

    pub(crate) fn invalid_entry(&self, parent: u64, name: &[u8]) -> Result<(), Errno> {
        let mut body = Body::with_capacity(17 + name.len());
        body.u64(parent).u32(u32::try_from(name.len()).map_err(|_| Errno::ENAMETOOLONG)?).u32(0);
        body.raw(name).pad(1);
        self.0.notify(Notice::InvalidEntry, &body)
    }
}
