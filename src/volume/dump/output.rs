//! Where a dump goes: a thread of its own writes and packs, so that neither disk nor compression holds up the reading.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::error::{Error, Result};

/// What is collected before it is handed over.
const PART_BYTES: usize = 256 * 1024;
/// Parts that may wait for the writing thread.
const PARTS_WAITING_MAX: usize = 4;

/// How a dump is compressed; the suffix of its name says it, as with the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    Plain,
    Gzip,
    /// As backups are: speed before size.
    FastGzip,
    Zstd,
}

impl Packing {
    #[must_use]
    pub fn of(path: &Path) -> Self {
        match path.extension().and_then(|suffix| suffix.to_str()) {
            Some("gz") => Self::Gzip,
            Some("zstd") => Self::Zstd,
            _ => Self::Plain,
        }
    }
}

/// Takes the bytes of a dump and puts them where they stay.
trait Sink: Write + Send {
    fn finish(self: Box<Self>) -> io::Result<()>;
}

struct Plain<W>(W);

impl<W: Write> Write for Plain<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<W: Write + Send> Sink for Plain<W> {
    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.0.flush()
    }
}

impl<W: Write + Send> Sink for flate2::write::GzEncoder<W> {
    fn finish(self: Box<Self>) -> io::Result<()> {
        flate2::write::GzEncoder::finish(*self)?.flush()
    }
}

impl<W: Write + Send> Sink for zstd::Encoder<'static, W> {
    fn finish(self: Box<Self>) -> io::Result<()> {
        zstd::Encoder::finish(*self)?.flush()
    }
}

/// A file that appears under its name when it is whole, or any other writer.
pub struct Target {
    writer: Box<dyn Write + Send>,
    packing: Packing,
    file: Option<Partial>,
}

struct Partial {
    file: File,
    part: PathBuf,
    whole: PathBuf,
}

impl Target {
    /// A file whose suffix says how it is packed. `is_secret`: nobody but its owner may read it.
    ///
    /// # Errors
    /// A file that can't be made.
    pub fn file(path: &Path, is_secret: bool) -> Result<Self> {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let mode = if is_secret { 0o600 } else { 0o666 };
        let open = || -> io::Result<(File, File)> {
            let file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&part)?;
            Ok((file.try_clone()?, file))
        };
        let (file, written) =
            open().map_err(|cause| Error::BadRequest(format!("{}: {cause}", part.display())))?;
        Ok(Self {
            writer: Box::new(BufWriter::new(written)),
            packing: Packing::of(path),
            file: Some(Partial { file, part, whole: path.to_owned() }),
        })
    }

    #[must_use]
    pub fn writer(writer: impl Write + Send + 'static, packing: Packing) -> Self {
        Self { writer: Box::new(writer), packing, file: None }
    }

    fn sink(writer: Box<dyn Write + Send>, packing: Packing) -> io::Result<Box<dyn Sink>> {
        let gzip = |level| flate2::Compression::new(level);
        Ok(match packing {
            Packing::Plain => Box::new(Plain(writer)),
            Packing::Gzip => Box::new(flate2::write::GzEncoder::new(writer, gzip(6))),
            Packing::FastGzip => Box::new(flate2::write::GzEncoder::new(writer, gzip(1))),
            Packing::Zstd => Box::new(zstd::Encoder::new(writer, 0)?),
        })
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Renamed by now, unless the dump failed.
        let _ = fs::remove_file(&self.part);
    }
}

/// The end at which a dump is produced.
pub(crate) struct Output {
    buffer: Vec<u8>,
    parts: mpsc::Sender<Vec<u8>>,
    thread: JoinHandle<io::Result<()>>,
    /// Bytes put so far, before packing.
    written: u64,
}

impl Output {
    pub(crate) fn start(target: Target) -> Self {
        let (parts, mut waiting) = mpsc::channel::<Vec<u8>>(PARTS_WAITING_MAX);
        let thread = tokio::task::spawn_blocking(move || {
            let Target { writer, packing, file } = target;
            let mut sink = Target::sink(writer, packing)?;
            let mut is_whole = false;
            while let Some(part) = waiting.blocking_recv() {
                // An empty part is the end; without it whoever produces has given up.
                is_whole = part.is_empty();
                sink.write_all(&part)?;
            }
            if !is_whole {
                return Err(io::Error::other("the dump broke off"));
            }
            sink.finish()?;
            if let Some(Partial { file, part, whole }) = &file {
                file.sync_all()?;
                fs::rename(part, whole)?;
            }
            Ok(())
        });
        Self { buffer: Vec::with_capacity(PART_BYTES + 4096), parts, thread, written: 0 }
    }

    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    pub(crate) async fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.buffer.extend_from_slice(bytes);
        self.written += bytes.len() as u64;
        if self.buffer.len() >= PART_BYTES { self.hand_over().await } else { Ok(()) }
    }

    async fn hand_over(&mut self) -> Result<()> {
        let part = std::mem::replace(&mut self.buffer, Vec::with_capacity(PART_BYTES + 4096));
        if part.is_empty() || self.parts.send(part).await.is_ok() {
            return Ok(());
        }
        // The thread has ended before its time and says why.
        Err(Self::outcome(&mut self.thread)
            .await
            .err()
            .unwrap_or_else(|| Error::BadRequest("the dump could not be written".to_owned())))
    }

    async fn outcome(thread: &mut JoinHandle<io::Result<()>>) -> Result<()> {
        let outcome = thread.await.unwrap_or_else(|cause| Err(io::Error::other(cause)));
        outcome.map_err(|cause| Error::BadRequest(format!("the dump could not be written: {cause}")))
    }

    /// Writes what is left; the dump is whole then.
    pub(crate) async fn finish(mut self) -> Result<()> {
        self.hand_over().await?;
        let _ = self.parts.send(Vec::new()).await;
        let Self { parts, mut thread, .. } = self;
        drop(parts);
        Self::outcome(&mut thread).await
    }
}
