//! A connection from the kubelet's plugin watcher, made fit for a strict HTTP/2 server.
//!
//! The watcher dials a socket path without naming an authority, so its gRPC library sends the path, percent-encoded, as
//! `:authority`. RFC 3986 has no percent sign in a host, and our HTTP library answers such a request with
//! RST_STREAM(PROTOCOL_ERROR): the driver would never be registered. Nobody reads the authority of a registration, so its
//! value is overwritten here, in place and at the same length, before the library sees it. (The kubelet's calls of CSI
//! itself say `localhost`, and do not come through here.)

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

/// What a client says before its first frame: `PRI * HTTP/2.0` and so on.
const PREFACE_BYTES: usize = 24;
/// Length, type, flags, stream.
const FRAME_HEADER_BYTES: usize = 9;
/// The largest payload that may be sent to who asked for none larger.
const PAYLOAD_BYTES_MAX: usize = 16 * 1024;
const TYPE_HEADERS: u8 = 1;
const FLAG_PADDED: u8 = 0x08;
const FLAG_PRIORITY: u8 = 0x20;
/// `:authority` in the static table of RFC 7541.
const INDEX_AUTHORITY: usize = 1;

/// Reads whole frames from `inner`, and hands them on with a harmless authority. Writes go through as they are.
pub(crate) struct KubeletStream<S> {
    inner: S,
    /// Not yet a whole preface or frame.
    partial: Vec<u8>,
    /// To be read by the server from `taken` on.
    whole: Vec<u8>,
    taken: usize,
    greeted: bool,
}

impl<S> KubeletStream<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, partial: Vec::new(), whole: Vec::new(), taken: 0, greeted: false }
    }

    /// Moves what is complete in `partial` to `whole`.
    fn advance(&mut self) -> io::Result<()> {
        loop {
            let length = if !self.greeted {
                PREFACE_BYTES
            } else if let [a, b, c, ..] = self.partial[..] {
                let payload = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                if payload > PAYLOAD_BYTES_MAX {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "an HTTP/2 frame of more than 16 KiB",
                    ));
                }
                FRAME_HEADER_BYTES + payload
            } else {
                return Ok(());
            };
            if self.partial.len() < length {
                return Ok(());
            }
            let frame = &mut self.partial[..length];
            if self.greeted && frame[3] == TYPE_HEADERS {
                let flags = frame[4];
                // A block that is not understood is left to the server, which words its own error.
                let _ = hide_authority(flags, &mut frame[FRAME_HEADER_BYTES..]);
            }
            self.greeted = true;
            self.whole.extend(self.partial.drain(..length));
        }
    }
}

/// Overwrites the value of `:authority` in the payload of a HEADERS frame. `None`: the payload is not well-formed.
fn hide_authority(flags: u8, payload: &mut [u8]) -> Option<()> {
    let mut at = 0;
    let mut end = payload.len();
    if flags & FLAG_PADDED != 0 {
        end = end.checked_sub(usize::from(*payload.first()?))?;
        at += 1;
    }
    if flags & FLAG_PRIORITY != 0 {
        at += 5;
    }
    let block = payload.get_mut(at..end)?;
    let mut at = 0;
    while let Some(&first) = block.get(at) {
        let (prefix_bits, literal) = match first {
            0x80.. => (7, false),
            0x40.. => (6, true),
            0x20.. => (5, false),
            _ => (4, true),
        };
        let index = integer(block, &mut at, prefix_bits)?;
        if !literal {
            continue;
        }
        if index == 0 {
            string(block, &mut at)?;
        }
        let start = at;
        let value = string(block, &mut at)?;
        if index == INDEX_AUTHORITY {
            // The bytes that follow are letters now, no longer Huffman's code of a path.
            block[start] &= 0x7f;
            block[value].fill(b'k');
        }
    }
    Some(())
}

/// An integer of RFC 7541, 5.1; `at` moves behind it.
fn integer(block: &[u8], at: &mut usize, prefix_bits: u32) -> Option<usize> {
    let mask = (1_usize << prefix_bits) - 1;
    let mut value = usize::from(*block.get(*at)?) & mask;
    *at += 1;
    if value < mask {
        return Some(value);
    }
    for shift in [0, 7, 14, 21] {
        let byte = *block.get(*at)?;
        *at += 1;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The bytes of a string of RFC 7541, 5.2; `at` moves behind them.
fn string(block: &[u8], at: &mut usize) -> Option<std::ops::Range<usize>> {
    let length = integer(block, at, 7)?;
    let bytes = *at..at.checked_add(length)?;
    block.get(bytes.clone())?;
    *at = bytes.end;
    Some(bytes)
}

impl<S: AsyncRead + Unpin> AsyncRead for KubeletStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        target: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.taken == this.whole.len() {
            this.whole.clear();
            this.taken = 0;
            let mut bytes = [0; 4096];
            let mut read = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut this.inner).poll_read(context, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.partial.extend_from_slice(read.filled());
            this.advance()?;
        }
        let some = &this.whole[this.taken..];
        let some = &some[..some.len().min(target.remaining())];
        target.put_slice(some);
        this.taken += some.len();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for KubeletStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

impl<S: Connected> Connected for KubeletStream<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.inner.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::registration::registration_server::RegistrationServer;
    use crate::registration::Registration;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;
    use tokio::time::timeout;

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
    }

    fn literal(index: u8, value: &str) -> Vec<u8> {
        [&[0x40 | index, u8::try_from(value.len()).unwrap()], value.as_bytes()].concat()
    }

    /// The bytes of a GetInfo call as the kubelet's library sends it.
    fn call(authority: &str) -> Vec<u8> {
        let mut block = vec![0x83, 0x86]; // POST, http
        block.extend(literal(4, "/pluginregistration.Registration/GetInfo"));
        block.extend(literal(1, authority));
        block.extend(literal(31, "application/grpc"));
        block.extend([0x40, 2]);
        block.extend(b"te");
        block.extend([8]);
        block.extend(b"trailers");
        [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frame(4, 0, 0, &[]),
            frame(TYPE_HEADERS, 4, 1, &block),
            frame(0, 1, 1, &[0; 5]),
        ]
        .concat()
    }

    /// The types of the frames that stream 1 is answered with, until its end.
    async fn answers(filtered: bool, sent: &[u8], pieces: usize) -> Vec<u8> {
        let (mut client, server) = UnixStream::pair().unwrap();
        let router = || {
            let service = RegistrationServer::new(Registration { endpoint: "/csi.sock".to_owned() });
            tonic::transport::Server::builder().add_service(service)
        };
        let served = tokio::spawn(async move {
            if filtered {
                router()
                    .serve_with_incoming(tokio_stream::once(Ok::<_, io::Error>(KubeletStream::new(server))))
                    .await
            } else {
                router().serve_with_incoming(tokio_stream::once(Ok::<_, io::Error>(server))).await
            }
        });
        for piece in sent.chunks(pieces) {
            client.write_all(piece).await.unwrap();
        }
        let mut kinds = Vec::new();
        let read = async {
            loop {
                let mut header = [0; FRAME_HEADER_BYTES];
                client.read_exact(&mut header).await.unwrap();
                let length = usize::from(header[1]) << 8 | usize::from(header[2]);
                client.read_exact(&mut vec![0; length]).await.unwrap();
                if header[8] == 1 {
                    kinds.push(header[3]);
                    if header[3] == 3 || (header[3] == 1 && header[4] & 1 != 0) {
                        break;
                    }
                }
            }
        };
        timeout(Duration::from_secs(20), read).await.expect("an answer");
        drop(client);
        served.abort();
        kinds
    }

    const PATH: &str = "%2Fvar%2Flib%2Fkubelet%2Fplugins_registry%2Fcsi.juicefs.com-reg.sock";

    #[tokio::test]
    async fn a_call_whose_authority_is_a_path_is_answered_however_it_arrives() {
        // Headers, data, trailers.
        assert_eq!(answers(true, &call(PATH), 1000).await, [1, 0, 1]);
        assert_eq!(answers(true, &call(PATH), 1).await, [1, 0, 1]);
        assert_eq!(answers(true, &call("localhost"), 7).await, [1, 0, 1]);
    }

    #[tokio::test]
    async fn without_the_filter_the_library_still_resets_the_call() {
        assert_eq!(
            answers(false, &call(PATH), 1000).await,
            [3],
            "the filter may go: the library takes any authority now"
        );
    }

    #[test]
    fn a_block_that_ends_early_is_left_alone() {
        for bytes in
            [&[0x41][..], &[0x41, 5, b'a'], &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff], &[0x41, 0x7f, 0xff]]
        {
            let mut payload = bytes.to_vec();
            assert_eq!(hide_authority(0, &mut payload), None);
            assert_eq!(payload, bytes);
        }
        assert_eq!(hide_authority(FLAG_PADDED, &mut [9]), None);
        assert_eq!(hide_authority(FLAG_PRIORITY, &mut []), None);
    }
}
