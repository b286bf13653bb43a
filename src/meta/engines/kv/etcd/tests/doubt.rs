//! A commit whose answer is lost happens exactly once (decisions 20), and what an attempt costs on the wire.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use juicefs_base::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::error::Error;

/// What only a commit has in it: the name of a marker, before which stand the key's prefix and the byte that ends it.
const COMMIT: &[u8] = b"\xfdXop";
/// Behind it a second time: the marker is compared, put and looked at, in that order.
const IN_A_COMMIT: usize = 3;

#[derive(Default)]
struct Faults {
    /// Requests after a reply, over all connections: what a client waits for one after the other.
    flushes: AtomicU64,
    /// Cut after the server has answered the next commit.
    lose_answer: AtomicBool,
    /// Cut instead of passing on the next commit.
    lose_commit: AtomicBool,
    /// Hold back the next commit, cut the client off, and deliver it when told to.
    delay_commit: AtomicBool,
    held: Mutex<Option<(Vec<u8>, OwnedWriteHalf, OwnedReadHalf)>>,
}

struct Relay {
    port: u16,
    faults: Arc<Faults>,
}

impl Relay {
    async fn start(server: u16) -> Self {
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

    fn tell(&self, fault: fn(&Faults) -> &AtomicBool) {
        fault(&self.faults).store(true, Ordering::SeqCst);
    }

    fn flushes(&self) -> u64 {
        self.faults.flushes.load(Ordering::SeqCst)
    }

    /// Delivers what was held back and waits until the server has carried it out.
    async fn deliver_late(&self) {
        let (request, mut server, mut replies) =
            self.faults.held.lock().take().expect("a commit was held back");
        server.write_all(&request).await.expect("the server still listens to the old connection");
        // Any answer to the transaction has a head and data.
        let mut answer = Vec::new();
        while !contains(&answer, b"grpc-status") && answer.len() < 64 {
            let mut part = vec![0; 65536];
            let count = replies.read(&mut part).await.expect("an answer");
            assert!(count > 0, "the server hung up");
            answer.extend_from_slice(&part[..count]);
        }
    }
}

fn contains(request: &[u8], word: &[u8]) -> bool {
    request.windows(word.len()).any(|window| window == word)
}

fn is_commit(request: &[u8]) -> bool {
    request.windows(COMMIT.len()).filter(|window| *window == COMMIT).count() >= IN_A_COMMIT
}

async fn pass(client: TcpStream, server: TcpStream, faults: Arc<Faults>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let mut is_asking = false;
    let (mut part, mut reply) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        tokio::select! {
            read = from_client.read(&mut part) => {
                let Ok(count @ 1..) = read else { return };
                let request = &part[..count];
                // Frames of settings and windows are short.
                if !is_asking && count > 40 {
                    is_asking = true;
                    faults.flushes.fetch_add(1, Ordering::SeqCst);
                }
                let is_commit = is_commit(request);
                let is_told = |fault: &AtomicBool| is_commit && fault.swap(false, Ordering::SeqCst);
                if is_told(&faults.lose_commit) {
                    return;
                }
                if is_told(&faults.delay_commit) {
                    *faults.held.lock() = Some((request.to_vec(), to_server, from_server));
                    return;
                }
                if to_server.write_all(request).await.is_err() {
                    return;
                }
                if is_told(&faults.lose_answer) {
                    // The server has carried it out before the client learns that the connection is gone.
                    let mut bytes = 0;
                    while bytes < 40 {
                        let Ok(count @ 1..) = from_server.read(&mut reply).await else { return };
                        bytes += count;
                    }
                    return;
                }
            }
            read = from_server.read(&mut reply) => {
                let Ok(count @ 1..) = read else { return };
                is_asking &= count <= 40;
                if to_client.write_all(&reply[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn stage() -> (Relay, Arc<dyn Engine>, Arc<dyn Engine>) {
    let prefix = server::prefix();
    let relay = Relay::start(server::port()).await;
    let engine = open(relay.port, &prefix).await.expect("opens");
    let direct = open(server::port(), &prefix).await.expect("opens");
    engine.create_volume(&volume()).await.expect("an empty place");
    assert_eq!(append(&*engine, 1).await.expect("appends"), 1);
    (relay, engine, direct)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_found_to_have_happened() {
    let (relay, engine, direct) = stage().await;
    relay.tell(|faults| &faults.lose_answer);
    assert_eq!(append(&*engine, 2).await.expect("happened"), 2);
    assert!(!relay.faults.lose_answer.load(Ordering::SeqCst), "an answer was lost");
    assert_eq!(length(&*direct).await, 200);
    assert_eq!(append(&*engine, 3).await.expect("appends"), 3);
    assert_eq!(engine.usage().await.expect("reads").space, 3 * 4096);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_never_arrived_may_be_tried_again() {
    let (relay, engine, direct) = stage().await;
    relay.tell(|faults| &faults.lose_commit);
    let lost = append(&*engine, 2).await;
    assert!(matches!(lost, Err(Error::Conflict)), "{lost:?}");
    assert_eq!(length(&*direct).await, 100);
    assert_eq!(append(&*engine, 2).await.expect("appends"), 2);
    assert_eq!(engine.usage().await.expect("reads").space, 2 * 4096);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_arrives_after_the_verdict_does_nothing() {
    let (relay, engine, direct) = stage().await;
    relay.tell(|faults| &faults.delay_commit);
    assert!(matches!(append(&*engine, 2).await, Err(Error::Conflict)));
    relay.deliver_late().await;
    assert_eq!(length(&*direct).await, 100);
    // Also one that holds nothing but its marker.
    relay.tell(|faults| &faults.delay_commit);
    let blind = [Change::InsertSustained { sid: 1, ino: Ino(7) }];
    let lost = engine.begin(0).await.expect("begins").commit(&blind).await;
    assert!(matches!(lost, Err(Error::Conflict)), "{lost:?}");
    relay.deliver_late().await;
    let got = direct.read(&[Get::Sustained { sid: 1, ino: Ino(7) }]).await.expect("reads");
    assert_eq!(got, [Got::Flag(false)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_commit_leaves_markers_that_work() {
    let (_relay, engine, direct) = stage().await;
    for _ in 0..10 {
        let attempt = engine.begin(0).await.expect("begins");
        let changes = [Change::PutSession { sid: 1, expires_at: 1, info: bytes::Bytes::new() }];
        let commit = attempt.commit(&changes);
        tokio::select! { biased; _ = commit => {}, () = tokio::task::yield_now() => {} }
    }
    let before = append(&*engine, 2).await.expect("appends");
    assert_eq!(append(&*engine, 3).await.expect("appends"), before + 1);
    assert_eq!(length(&*direct).await, 300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_costs_its_reads_and_one_flush() {
    let (relay, engine, _direct) = stage().await;
    append(&*engine, 2).await.expect("appends");
    let before = relay.flushes();
    append(&*engine, 3).await.expect("appends");
    assert_eq!(relay.flushes() - before, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_is_used_again() {
    let prefix = server::prefix();
    let direct = open(server::port(), &prefix).await.expect("opens");
    direct.create_volume(&volume()).await.expect("an empty place");
    // Another member that is not there is passed over.
    let nobody = server::free_port();
    let both = format!("etcd://127.0.0.1:{nobody},127.0.0.1:{}{prefix}", server::port());
    let engine = etcd::open(&server::url(&both)).await.expect("opens");
    assert_eq!(append(&*engine, 1).await.expect("appends"), 1);
    let alone = open(nobody, &prefix).await.map(drop).expect_err("nobody is there");
    assert!(matches!(alone, Error::Unavailable(_)), "{alone}");
    assert!(alone.to_string().contains("nothing listens there"), "{alone}");
}
