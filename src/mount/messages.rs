//! What csi-node and a mount process say to each other: a length (u32, big endian) and a JSON object. An offer
//! carries two descriptors with its first byte: the fuse device, then the sealed settings.

use crate::error::{Error, Result};
use juicefs_fuse::descriptors;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// Version of the conversation; each side says its own and refuses a newer one it can't follow.
pub const VERSION: u32 = 1;

/// Longest frame.
const FRAME_BYTES_MAX: usize = 256 << 10;

/// From csi-node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToWorker {
    /// Serve this volume. Descriptors: the fuse device, the settings.
    Offer { v: u32, id: String },
    /// Flush and end this volume's session; the mount itself is csi-node's to remove.
    Close { v: u32, id: String },
    /// Which volumes are served?
    List { v: u32 },
}

/// From the mount process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromWorker {
    /// First frame of every connection.
    Hello {
        v: u32,
        version: String,
        pid: u32,
    },
    Ready {
        id: String,
        session: u64,
    },
    /// The offer or the close failed; one sentence without secrets.
    Failed {
        id: String,
        error: String,
    },
    Closed {
        id: String,
    },
    Volumes {
        ids: Vec<String>,
    },
}

/// From a mount process to the one that outlives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ToKeeper {
    /// Hold this mount for the next mount process. Descriptors: the fuse device, the settings.
    Keep { id: String },
    /// It is over.
    Drop { id: String },
}

/// To a mount process that begins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum FromKeeper {
    /// A mount of the former process. Descriptors: the fuse device, the settings.
    Kept { id: String },
    /// The last of them was told; offers come on this socket (the descriptor).
    Listen,
}

/// Sends one frame with its descriptors.
///
/// # Errors
/// What the socket says.
pub fn send<T: Serialize>(socket: &UnixStream, message: &T, fds: &[BorrowedFd<'_>]) -> Result<()> {
    let body = serde_json::to_vec(message).map_err(|error| Error::Protocol(error.to_string()))?;
    let length = u32::try_from(body.len())
        .ok()
        .filter(|_| body.len() <= FRAME_BYTES_MAX)
        .ok_or_else(|| Error::Protocol(format!("a frame of {} bytes is too long", body.len())))?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend_from_slice(&body);
    descriptors::send(socket, &frame, fds).map_err(Error::io("mount pod socket"))
}

/// Receives one frame; `None` when the other side has closed.
///
/// # Errors
/// A frame that is too long, cut short or no JSON; a read that outlasts the socket's timeout.
pub fn receive<T: DeserializeOwned>(socket: &UnixStream) -> Result<Option<(T, Vec<OwnedFd>)>> {
    let mut fds = Vec::new();
    let mut length = [0; 4];
    if !fill(socket, &mut length, &mut fds, true)? {
        return Ok(None);
    }
    let length = u32::from_be_bytes(length) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(Error::Protocol(format!("a frame of {length} bytes is too long")));
    }
    let mut body = vec![0; length];
    fill(socket, &mut body, &mut fds, false)?;
    let message = serde_json::from_slice(&body)
        .map_err(|error| Error::Protocol(format!("a frame does not parse at column {}", error.column())))?;
    Ok(Some((message, fds)))
}

/// False when the peer closed before the first byte and `may_end`.
fn fill(socket: &UnixStream, buffer: &mut [u8], fds: &mut Vec<OwnedFd>, may_end: bool) -> Result<bool> {
    let mut filled = 0;
    while filled < buffer.len() {
        match descriptors::receive(socket, &mut buffer[filled..]) {
            Ok((0, _)) if filled == 0 && may_end => return Ok(false),
            Ok((0, _)) => return Err(Error::Protocol("the other side closed within a frame".to_owned())),
            Ok((count, mut more)) => {
                filled += count;
                fds.append(&mut more);
                if fds.len() > descriptors::DESCRIPTORS_MAX {
                    return Err(Error::Protocol("too many descriptors in one frame".to_owned()));
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err(Error::Deadline {
                    what: "waiting for the mount pod's answer".to_owned(),
                    deadline: socket.read_timeout().ok().flatten().unwrap_or_default(),
                });
            }
            Err(error) => return Err(Error::io("mount pod socket")(error)),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::time::Duration;

    #[test]
    fn frames_keep_their_borders_and_their_descriptors() {
        let (left, right) = UnixStream::pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        let offer = ToWorker::Offer { v: VERSION, id: "pvc-1".to_owned() };
        send(&left, &offer, &[file.as_fd(), file.as_fd()]).unwrap();
        send(&left, &ToWorker::List { v: VERSION }, &[]).unwrap();
        drop(left);
        let (message, fds) = receive::<ToWorker>(&right).unwrap().unwrap();
        assert_eq!((message, fds.len()), (offer, 2));
        let (message, fds) = receive::<ToWorker>(&right).unwrap().unwrap();
        assert_eq!((message, fds.len()), (ToWorker::List { v: 1 }, 0));
        assert!(receive::<ToWorker>(&right).unwrap().is_none());
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let (mut left, right) = UnixStream::pair().unwrap();
        left.write_all(&u32::MAX.to_be_bytes()).unwrap();
        assert!(matches!(receive::<ToWorker>(&right), Err(Error::Protocol(_))));
        left.write_all(&[0, 0, 0, 2, b'{', b'x']).unwrap();
        assert!(matches!(receive::<ToWorker>(&right), Err(Error::Protocol(_))));
        left.write_all(&[0, 0, 0, 9, b'{']).unwrap();
        drop(left);
        assert!(matches!(receive::<ToWorker>(&right), Err(Error::Protocol(_))));
    }

    #[test]
    fn silence_ends_at_the_deadline() {
        let (_left, right) = UnixStream::pair().unwrap();
        right.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        assert!(matches!(receive::<ToWorker>(&right), Err(Error::Deadline { .. })));
    }

    #[test]
    fn the_wire_form_is_fixed() {
        let ready = FromWorker::Ready { id: "a".to_owned(), session: 3 };
        assert_eq!(serde_json::to_string(&ready).unwrap(), r#"{"type":"ready","id":"a","session":3}"#);
    }
}
