//! A relay in front of the server that passes on whole flushes, counts them, and loses what it is told to lose.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use juicefs_base::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

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
    pub(super) async fn deliver_late(&self) -> Vec<u8> {
        let (request, mut server, mut replies) =
            self.held.lock().take().expect("a transaction was held back");
        server.write_all(&request).await.expect("the server still listens to the old connection");
        let mut answer = Vec::new();
        // The end of the transaction is answered with a tag and "ready, idle".
        while !answer.ends_with(b"Z\0\0\0\x05I") {
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
    pub(super) async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let faults = Arc::new(Faults::default());
        let shared = faults.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { continue };
                client.set_nodelay(true).expect("set");
                server.set_nodelay(true).expect("set");
                tokio::spawn(pass(client, server, shared.clone()));
            }
        });
        Self { port, faults }
    }
}

fn contains(request: &[u8], word: &[u8]) -> bool {
    request.windows(word.len()).any(|window| window == word)
}

async fn pass(client: TcpStream, server: TcpStream, faults: Arc<Faults>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let mut is_asking = false;
    let (mut part, mut reply) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut request = Vec::new();
    loop {
        tokio::select! {
            read = from_client.read(&mut part) => {
                let Ok(count @ 1..) = read else { return };
                request.extend_from_slice(&part[..count]);
                if contains(&request, b"BEGIN\0") && !contains(&request, b"COMMIT\0") {
                    continue;
                }
                let request = std::mem::take(&mut request);
                if !is_asking {
                    is_asking = true;
                    faults.flushes.fetch_add(1, Ordering::SeqCst);
                }
                let is_commit = contains(&request, b"BEGIN\0");
                let is_told = |fault: &AtomicBool| is_commit && fault.swap(false, Ordering::SeqCst);
                if is_told(&faults.lose_commit) {
                    return;
                }
                if is_told(&faults.lose_end) {
                    let _ = to_server.write_all(&request[..request.len() - 1]).await;
                    // All but the end of the transaction has run.
                    let _ = from_server.read(&mut reply).await;
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
                    while !answer.ends_with(b"Z\0\0\0\x05I") {
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
