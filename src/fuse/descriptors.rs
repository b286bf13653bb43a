//! Passing open files over a Unix socket (SCM_RIGHTS).
#![expect(unsafe_code, reason = "descriptors received from the kernel are owned by whoever received them")]

use nix::cmsg_space;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

/// Descriptors one message may carry.
pub const DESCRIPTORS_MAX: usize = 4;

/// Sends all of `bytes`; `descriptors` travel with the first of them.
///
/// # Errors
/// What the socket says; a peer that is gone is `BrokenPipe`, never a signal.
pub fn send(socket: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let mut control = Vec::new();
    if !raw.is_empty() {
        control.push(ControlMessage::ScmRights(&raw));
    }
    let mut rest = bytes;
    while !rest.is_empty() {
        let sent =
            sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(rest)], &control, MsgFlags::MSG_NOSIGNAL, None);
        match sent {
            Ok(count) => {
                control.clear();
                rest = &rest[count..];
            }
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Receives at most `buffer.len()` bytes and what descriptors came with them, all close-on-exec. Zero bytes:
/// the peer has closed.
///
/// # Errors
/// What the socket says; more than [`DESCRIPTORS_MAX`] descriptors are an error.
pub fn receive(socket: &UnixStream, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = cmsg_space!([RawFd; DESCRIPTORS_MAX]);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = loop {
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags) {
            Ok(message) => break message,
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    };
    let mut descriptors = Vec::new();
    if message.flags.contains(MsgFlags::MSG_CTRUNC) {
        // Still own what did arrive, so that it is closed.
        for control in message.cmsgs().into_iter().flatten() {
            take(control, &mut descriptors);
        }
        return Err(io::Error::new(io::ErrorKind::InvalidData, "more descriptors than a message may carry"));
    }
    for control in message.cmsgs()? {
        take(control, &mut descriptors);
    }
    Ok((message.bytes, descriptors))
}

fn take(control: ControlMessageOwned, descriptors: &mut Vec<OwnedFd>) {
    if let ControlMessageOwned::ScmRights(raw) = control {
        for fd in raw {
            // SAFETY: the kernel has just made this descriptor for us; nobody else knows its number.
            descriptors.push(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, Write};
    use std::os::fd::AsFd;

    #[test]
    fn a_file_crosses_a_socket() {
        let (left, right) = UnixStream::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"over the wire").unwrap();
        send(&left, b"abc", &[file.as_fd()]).unwrap();
        let mut buffer = [0; 16];
        let (count, mut fds) = receive(&right, &mut buffer).unwrap();
        assert_eq!(&buffer[..count], b"abc");
        let mut copy = std::fs::File::from(fds.pop().unwrap());
        copy.rewind().unwrap();
        let mut text = String::new();
        copy.read_to_string(&mut text).unwrap();
        assert_eq!(text, "over the wire");
        drop(left);
        assert_eq!(receive(&right, &mut buffer).unwrap().0, 0);
    }
}
