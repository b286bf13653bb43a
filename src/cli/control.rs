//! A mount asked by its `.control` file, ours or the peer's.

use anyhow::{Context, bail};
use juicefs_vfs::control::protocol::{Frame, Message};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two looks for more of an answer that is still to come.
const PAUSE: Duration = Duration::from_millis(50);
/// Inode of the root of every mount.
pub(crate) const ROOT_INO: u64 = 1;
/// `--prefix-internal` renames it.
const NAMES: [&str; 2] = [".jfs.control", ".control"];

/// How an answer ended.
pub(crate) enum Answer {
    Json(serde_json::Value),
    Done,
}

/// An open control file.
pub(crate) struct Control {
    file: File,
    /// Of the mount.
    pub root: PathBuf,
}

impl Control {
    /// The mount that `path` lies in.
    pub(crate) fn of(path: &Path) -> anyhow::Result<Self> {
        let whole = path.canonicalize().with_context(|| format!("{}", path.display()))?;
        let root = whole
            .ancestors()
            .find(|above| above.is_dir() && above.metadata().is_ok_and(|it| it.ino() == ROOT_INO))
            .with_context(|| {
                format!("{} is not inside a JuiceFS mount: `findmnt` shows what is", path.display())
            })?;
        let root = root.to_owned();
        for name in NAMES {
            match File::options().read(true).write(true).open(root.join(name)) {
                Ok(file) => return Ok(Self { file, root }),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(error).with_context(|| format!("open {}", root.join(name).display()));
                }
            }
        }
        bail!("{} has no .control: it is no JuiceFS mount", root.display())
    }

    /// Sends `message` and reads its answer, telling `progress` the two numbers of each frame.
    pub(crate) fn ask(
        &mut self,
        message: &Message,
        mut progress: impl FnMut(u64, u64),
    ) -> anyhow::Result<Answer> {
        self.file.write_all(&message.encode()).context("the mount did not take the message")?;
        let (mut bytes, mut part) = (Vec::new(), vec![0; 64 << 10]);
        loop {
            match self.file.read(&mut part).context("the mount's answer broke off")? {
                0 => std::thread::sleep(PAUSE),
                count => bytes.extend_from_slice(&part[..count]),
            }
            while let Some((frame, length)) = Frame::decode(&bytes) {
                bytes.drain(..length);
                match frame {
                    Frame::Progress(first, second) => progress(first, second),
                    Frame::Json(text) => {
                        return Ok(Answer::Json(
                            serde_json::from_slice(&text).context("the mount's answer")?,
                        ));
                    }
                    Frame::Done(0) => return Ok(Answer::Done),
                    Frame::Done(errno) => {
                        return Err(std::io::Error::from_raw_os_error(i32::from(errno)).into());
                    }
                }
            }
        }
    }
}
