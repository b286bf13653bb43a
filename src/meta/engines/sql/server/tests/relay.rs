//! A relay in front of a server that passes on whole flushes, counts them, and loses what it is told to lose.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use juicefs_base::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::Server;

impl Server {
    /// What a transaction begins and ends with on the wire.
    fn marks(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Self::Postgres => (b"BEGIN\0", b"COMMIT\0"),
            Self::Mariadb => (b"START TRANSACTION;", b"\nCOMMIT"),
        }
    }

    /// What the answer to the end of a transaction ends with: "ready, idle"; nothing changed, no transaction, no backslash escapes, no warning.
    fn answer_end(self) -> &'static [u8] {
        match self {
            Self::Postgres => b"Z\0\0\0\x05I",
            Self::Mariadb => &[0, 0, 0, 2, 2, 0, 0],
        }
    }

    /// What the answer to a transaction ends with that was refused late.
    pub(super) fn is_refusal(self, answer: &[u8]) -> bool {
        match self {
            Self::Postgres => contains(answer, b"ROLLBACK\0"),
            // An error packet, out of range.
            Self::Mariadb => contains(answer, &[0xff, 0x9a, 0x06]),
        }
    }
}

#[derive(Default)]
pub(super) struct Faults {
    /// Requests after a reply, over all connections: what a client waits for one after the other.
    pub(super) flushes: AtomicU64,
    /// Cut after passing on the next transaction: its answer is lost.
    pub(super) lose_answer: AtomicBool,
    /// Cut instead of passing on the next transaction.
    pub(super) lose_commit: AtomicBool,
    /// Cut after passing on the next transaction without its last byte.
    pub(super) lose_end: AtomicBool,
    /// Hold back the next transaction, cut the client off, and deliver it when told to.
    pub(super) delay_commit: AtomicBool,
    held: Mutex<Option<(Vec<u8>, OwnedWriteHalf, OwnedReadHalf)>>,
}

impl Faults {
    /// Delivers what was held back and waits for the server's answer to it.
    pub(super) async fn deliver_late(&self, server_kind: Server) -> Vec<u8> {
        let (request, mut server, mut replies) =
            self.held.lock().take().expect("a transaction was held back");
        server.write_all(&request).await.expect("the server still listens to the old connection");
        let mut answer = Vec::new();
        while !answer.ends_with(server_kind.answer_end()) && !server_kind.is_refusal(&answer) {
            let mut part = vec![0; 65536];
            let count = replies.read(&mut part).await.expect("an answer");
            assert!(count > 0, "the server hung up: {answer:?}");
            answer.extend_from_slice(&part[..count]);
        }
        answer
    }
}

pub(super) struct Relay {
    pub(super) port: u16,
    pub(super) faults: Arc<Faults>,
}

impl Relay {
    pub(super) async fn start(kind: Server) -> Self {
        let server = kind.port();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let faults = Arc::new(Faults::default());
        let shared = faults.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { continue };
                client.set_nodelay(true).expect("set");
                server.set_nodelay(true).expect("set");
                tokio::spawn(pass(kind, client, server, shared.clone()));
            }
        });
        Self { port, faults }
    }
}

fn contains(request: &[u8], word: &[u8]) -> bool {
    request.windows(word.len()).any(|window| window == word)
}

async fn pass(kind: Server, client: TcpStream, server: TcpStream, faults: Arc<Faults>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (begin, end) = kind.marks();
    let mut is_asking = false;
    let (mut part, mut reply) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut request = Vec::new();
    loop {
        tokio::select! {
            read = from_client.read(&mut part) => {
                let Ok(count @ 1..) = read else { return };
                request.extend_from_slice(&part[..count]);
                if contains(&request, begin) && !contains(&request, end) {
                    continue;
                }
                let request = std::mem::take(&mut request);
                if !is_asking {
                    is_asking = true;
                    faults.flushes.fetch_add(1, Ordering::SeqCst);
                }
                let is_commit = contains(&request, begin);
                let is_told = |fault: &AtomicBool| is_commit && fault.swap(false, Ordering::SeqCst);
                if is_told(&faults.lose_commit) {
                    return;
                }
                if is_told(&faults.lose_end) {
                    let _ = to_server.write_all(&request[..request.len() - 1]).await;
                    if kind == Server::Postgres {
                        // All but the end of the transaction has run.
                        let _ = from_server.read(&mut reply).await;
                    }
                    return;
                }
                if is_told(&faults.delay_commit) {
                    *faults.held.lock() = Some((request, to_server, from_server));
                    return;
                }
                if to_server.write_all(&request).await.is_err() {
                    return;
                }
                if is_told(&faults.lose_answer) {
                    // The server has carried it out before the client learns that the connection is gone.
                    let mut answer = Vec::new();
                    while !answer.ends_with(kind.answer_end()) {
                        let Ok(count @ 1..) = from_server.read(&mut reply).await else { return };
                        answer.extend_from_slice(&reply[..count]);
                    }
                    return;
                }
            }
            read = from_server.read(&mut reply) => {
                let Ok(count @ 1..) = read else { return };
                is_asking = false;
                if to_client.write_all(&reply[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}
