//! Messages of `.control` and the frames of their answers, as the peer's tools speak them (format 11.2). All numbers
//! are big endian; parts at the end of a message may be missing, as older tools leave them out.

use juicefs_base::Errno;

/// Longest body that is taken.
pub const BODY_BYTES_MAX: usize = 1 << 20;
const HEAD_BYTES: usize = 8;

const REMOVE: u32 = 1002;
const CACHE: u32 = 1004;
const INFO: u32 = 1005;
const SUMMARY: u32 = 1007;
const COMPACT: u32 = 1008;

/// What is done with cached blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheAction {
    Warm,
    Evict,
    Check,
}

/// What a tool asks of the mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A name and all below it go.
    Remove { parent: u64, name: Vec<u8>, skip_trash: bool, threads: u8 },
    /// Blocks of files are cached, are no more, or are looked for. Targets are paths from the mount's root, or
    /// `inode:N`. In the background nothing but the beginning is waited for.
    Cache { targets: Vec<Vec<u8>>, threads: u16, in_background: bool, action: CacheAction },
    /// What a node is; `strict` is how directories are always counted here.
    Info { ino: u64, recursive: bool, raw: bool, strict: bool },
    /// The tree below a node, by size.
    Summary { ino: u64, depth: u8, top: u8, strict: bool },
    /// Chunks of a file, or of all files below a directory, are made short.
    Compact { ino: u64, threads: u16 },
}

impl Message {
    /// How many bytes the message that begins with `bytes` has; `None` while its head is not whole.
    ///
    /// # Errors
    /// EINVAL for a body that is too long.
    pub fn length(bytes: &[u8]) -> Result<Option<usize>, Errno> {
        let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else { return Ok(None) };
        let body = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        if body > BODY_BYTES_MAX { Err(Errno::EINVAL) } else { Ok(Some(HEAD_BYTES + body)) }
    }

    /// # Errors
    /// EINVAL for what is not known, or too short to be meant.
    pub fn decode(bytes: &[u8]) -> Result<Self, Errno> {
        let mut fields = Fields(bytes);
        let command = fields.u32()?;
        fields.u32()?;
        Ok(match command {
            REMOVE => {
                let parent = fields.u64()?;
                let length = fields.u8()? as usize;
                let name = fields.take(length)?.to_vec();
                let skip_trash = fields.u8().unwrap_or(0) & 1 != 0;
                Self::Remove { parent, name, skip_trash, threads: fields.u8().unwrap_or(50) }
            }
            CACHE => {
                let length = fields.u32()? as usize;
                let targets = fields.take(length)?.split(|&byte| byte == b'\n');
                Self::Cache {
                    // An empty one is the root.
                    targets: targets.map(<[u8]>::to_vec).collect(),
                    threads: fields.u16()?,
                    in_background: fields.u8()? != 0,
                    action: match fields.u8().unwrap_or(0) {
                        0 => CacheAction::Warm,
                        1 => CacheAction::Evict,
                        2 => CacheAction::Check,
                        _ => return Err(Errno::EINVAL),
                    },
                }
            }
            INFO => Self::Info {
                ino: fields.u64()?,
                recursive: fields.u8().unwrap_or(0) != 0,
                raw: fields.u8().unwrap_or(0) != 0,
                strict: fields.u8().unwrap_or(0) != 0,
            },
            SUMMARY => Self::Summary {
                ino: fields.u64()?,
                depth: fields.u8()?,
                top: fields.u8()?,
                strict: fields.u8().unwrap_or(0) != 0,
            },
            COMPACT => Self::Compact { ino: fields.u64()?, threads: fields.u16().unwrap_or(10) },
            _ => return Err(Errno::EINVAL),
        })
    }

    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (command, body) = match self {
            Self::Remove { parent, name, skip_trash, threads } => {
                let length = u8::try_from(name.len()).unwrap_or(u8::MAX);
                let name = &name[..name.len().min(usize::from(length))];
                let flags = [u8::from(*skip_trash), *threads];
                (REMOVE, [&parent.to_be_bytes()[..], &[length], name, &flags].concat())
            }
            Self::Cache { targets, threads, in_background, action } => {
                let paths = targets.join(&b'\n');
                let length = u32::try_from(paths.len()).unwrap_or(u32::MAX);
                let action = match action {
                    CacheAction::Warm => 0,
                    CacheAction::Evict => 1,
                    CacheAction::Check => 2,
                };
                let flags = [u8::from(*in_background), action];
                (CACHE, [&length.to_be_bytes()[..], &paths, &threads.to_be_bytes(), &flags].concat())
            }
            Self::Info { ino, recursive, raw, strict } => {
                let flags = [u8::from(*recursive), u8::from(*raw), u8::from(*strict)];
                (INFO, [&ino.to_be_bytes()[..], &flags].concat())
            }
            Self::Summary { ino, depth, top, strict } => {
                (SUMMARY, [&ino.to_be_bytes()[..], &[*depth, *top, u8::from(*strict)]].concat())
            }
            Self::Compact { ino, threads } => {
                (COMPACT, [&ino.to_be_bytes()[..], &threads.to_be_bytes()].concat())
            }
        };
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        [&command.to_be_bytes()[..], &length.to_be_bytes(), &body].concat()
    }
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Errno> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Errno::EINVAL)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Errno> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(Errno::EINVAL)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, Errno> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16, Errno> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, Errno> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, Errno> {
        Ok(u64::from_be_bytes(self.array()?))
    }
}

/// A piece of an answer. The first that is no progress is the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Two numbers whose meaning is the message's.
    Progress(u64, u64),
    /// A document.
    Json(Vec<u8>),
    /// An errno; 0 = done.
    Done(u8),
}

const PROGRESS: u8 = 0xFE;
const JSON: u8 = 0xFF;

impl Frame {
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Progress(first, second) => {
                [&[PROGRESS][..], &first.to_be_bytes(), &second.to_be_bytes()].concat()
            }
            Self::Json(text) => {
                let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
                [&[JSON][..], &length.to_be_bytes(), text].concat()
            }
            Self::Done(errno) => vec![*errno],
        }
    }

    /// The frame at the beginning of `bytes` and how long it is; `None` while it is not whole.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut fields = Fields(bytes);
        let frame = match fields.u8().ok()? {
            PROGRESS => Self::Progress(fields.u64().ok()?, fields.u64().ok()?),
            JSON => {
                let length = fields.u32().ok()? as usize;
                Self::Json(fields.take(length).ok()?.to_vec())
            }
            errno => Self::Done(errno),
        };
        Some((frame, bytes.len() - fields.0.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_go_there_and_back() {
        for message in [
            Message::Remove { parent: 7, name: b"a b".to_vec(), skip_trash: true, threads: 3 },
            Message::Info { ino: 1, recursive: true, raw: false, strict: true },
            Message::Summary { ino: 1, depth: 2, top: 10, strict: false },
            Message::Compact { ino: 9, threads: 300 },
            Message::Cache {
                targets: vec![b"/a b".to_vec(), b"inode:7".to_vec()],
                threads: 5,
                in_background: true,
                action: CacheAction::Evict,
            },
        ] {
            let bytes = message.encode();
            assert_eq!(Message::length(&bytes), Ok(Some(bytes.len())));
            assert_eq!(Message::decode(&bytes), Ok(message));
        }
        assert_eq!(Message::length(b"\0\0\0"), Ok(None));
    }

    #[test]
    fn what_older_tools_leave_out_has_its_default() {
        let short = [&1005_u32.to_be_bytes()[..], &8_u32.to_be_bytes(), &5_u64.to_be_bytes()].concat();
        let info = Message::Info { ino: 5, recursive: false, raw: false, strict: false };
        assert_eq!(Message::decode(&short), Ok(info));
        let remove =
            [&1002_u32.to_be_bytes()[..], &10_u32.to_be_bytes(), &5_u64.to_be_bytes(), b"\x01x"].concat();
        let remove = Message::decode(&remove);
        assert_eq!(
            remove,
            Ok(Message::Remove { parent: 5, name: b"x".into(), skip_trash: false, threads: 50 })
        );
    }

    #[test]
    fn frames_are_taken_one_by_one() {
        let frames = [Frame::Progress(3, 4), Frame::Json(b"{}".to_vec()), Frame::Done(0)];
        let mut bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
        for frame in frames {
            let (found, length) = Frame::decode(&bytes).unwrap();
            assert_eq!(found, frame);
            bytes.drain(..length);
        }
        assert_eq!(Frame::decode(&[0xFF, 0, 0, 0, 9, b'{']), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn nothing_that_is_written_panics(bytes in prop::collection::vec(any::<u8>(), 0..40), command in 1000u32..1012) {
            let _ = (Message::length(&bytes), Message::decode(&bytes), Frame::decode(&bytes));
            let _ = Message::decode(&[&command.to_be_bytes()[..], &bytes].concat());
        }
    }
}
