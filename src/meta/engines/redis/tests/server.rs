//! A redis-server of the test's own, and a relay in front of it that counts flushes and loses replies.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use juicefs_base::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::engines::redis::RedisEngine;
use crate::url::{MetaUrl, RedisUrl};

pub(crate) struct Server {
    child: Child,
    directory: tempfile::TempDir,
    pub(crate) port: u16,
    options: Vec<String>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Waits until it answers.
    pub(crate) fn start_with(options: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let port = free_port();
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let child = launch(port, directory.path(), &options);
        let server = Self { child, directory, port, options };
        server.wait_until_ready();
        server
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        self.directory.path()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn wait_until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !self.answers() {
            assert!(Instant::now() < deadline, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// It listens and has loaded its data; a demand for a password is an answer, too.
    fn answers(&self) -> bool {
        let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        let mut reply = [0; 64];
        let count = stream.write_all(b"PING\r\n").and_then(|()| stream.read(&mut reply)).unwrap_or(0);
        count > 0 && !reply.starts_with(b"-LOADING")
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("reaped");
    }

    pub(crate) fn restart(&mut self) {
        self.child = launch(self.port, self.directory.path(), &self.options);
        self.wait_until_ready();
    }

    pub(crate) fn address(&self, db: u32) -> String {
        format!("redis://127.0.0.1:{}/{db}", self.port)
    }

    pub(crate) async fn engine(&self) -> RedisEngine {
        RedisEngine::open(&url(&self.address(1))).await.expect("opens")
    }

    /// A connection of the test's own to database 1.
    pub(crate) async fn raw(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.address(1)).expect("an address");
        client.get_multiplexed_async_connection().await.expect("connects")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn url(address: &str) -> RedisUrl {
    match MetaUrl::parse(address).expect("an address") {
        MetaUrl::Redis(url) => url,
        other => panic!("{other} is not Redis"),
    }
}

pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").port()
}

fn launch(port: u16, directory: &std::path::Path, options: &[String]) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--daemonize", "no"]);
    command.arg("--dir").arg(directory).args(options).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("redis-server is installed")
}

/// What a relay does to the traffic of a connection.
#[derive(Default)]
pub(crate) struct Faults {
    /// Requests after a reply, over all connections: what a client waits for one after the other.
    pub(crate) flushes: AtomicU64,
    /// Cut after passing on the next request that contains EXEC: its reply is lost.
    pub(crate) lose_exec_reply: AtomicBool,
    /// Cut instead of passing on the next request that contains EXEC.
    pub(crate) lose_exec: AtomicBool,
    /// Cut after passing on that many requests that contain APPEND.
    pub(crate) lose_append_replies: AtomicU64,
    /// Hold back the next request that contains EXEC, cut the client off, and deliver it when told to.
    pub(crate) delay_exec: AtomicBool,
    held: Mutex<Option<(Vec<u8>, OwnedWriteHalf, OwnedReadHalf)>>,
}

impl Faults {
    /// Delivers what was held back and waits for the server's answer to it.
    pub(crate) async fn deliver_late(&self) -> Vec<u8> {
        let (request, mut server, mut replies) = self.held.lock().take().expect("a request was held back");
        server.write_all(&request).await.expect("the server still listens to the old connection");
        let mut answer = vec![0; 65536];
        let count = replies.read(&mut answer).await.expect("an answer");
        answer.truncate(count);
        answer
    }
}

pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    pub(crate) faults: Arc<Faults>,
}

impl Relay {
    pub(crate) async fn before(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let faults = Arc::new(Faults::default());
        let (port, shared) = (server.port, faults.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                client.set_nodelay(true).expect("set");
                server.set_nodelay(true).expect("set");
                tokio::spawn(pass(client, server, shared.clone()));
            }
        });
        Self { address, faults }
    }

    pub(crate) fn flushes(&self) -> u64 {
        self.faults.flushes.load(Ordering::SeqCst)
    }

    pub(crate) async fn engine(&self) -> RedisEngine {
        RedisEngine::open(&url(&format!("redis://{}/1", self.address))).await.expect("opens")
    }
}

fn contains(request: &[u8], word: &str) -> bool {
    request.windows(word.len()).any(|window| window == word.as_bytes())
}

async fn pass(client: TcpStream, server: TcpStream, faults: Arc<Faults>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let mut is_asking = false;
    let (mut request, mut reply) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        tokio::select! {
            read = from_client.read(&mut request) => {
                let Ok(count @ 1..) = read else { return };
                let request = &request[..count];
                if !is_asking {
                    is_asking = true;
                    faults.flushes.fetch_add(1, Ordering::SeqCst);
                }
                let is_commit = contains(request, "EXEC\r\n");
                if is_commit && faults.lose_exec.swap(false, Ordering::SeqCst) {
                    return;
                }
                if is_commit && faults.delay_exec.swap(false, Ordering::SeqCst) {
                    *faults.held.lock() = Some((request.to_vec(), to_server, from_server));
                    return;
                }
                if to_server.write_all(request).await.is_err() {
                    return;
                }
                let is_lost = is_commit && faults.lose_exec_reply.swap(false, Ordering::SeqCst)
                    || contains(request, "APPEND\r\n") && take_one(&faults.lose_append_replies);
                if is_lost {
                    // The server has carried it out before the client learns that the connection is gone.
                    let _ = from_server.read(&mut reply).await;
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

fn take_one(counter: &AtomicU64) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}
