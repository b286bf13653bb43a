//! An etcd of the tests' own, one for a test process, and a prefix of its own for each test.

use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::url::{EtcdUrl, MetaUrl};

/// Ends the server and removes its files when the test process is gone, however it ended: its input closes then.
const WATCH: &str = r#"
set -eu
folder=$1 port=$2 peers=$3 scheme=$4
shift 4
etcd --data-dir "$folder/data" --unsafe-no-fsync --logger zap --log-level error \
    --listen-client-urls "$scheme://127.0.0.1:$port" --advertise-client-urls "$scheme://127.0.0.1:$port" \
    --listen-peer-urls "http://127.0.0.1:$peers" --initial-advertise-peer-urls "http://127.0.0.1:$peers" \
    --initial-cluster "default=http://127.0.0.1:$peers" "$@" >"$folder.log" 2>&1 &
read -r _ || true
kill -KILL $! 2>/dev/null || true
wait $! 2>/dev/null || true
rm -rf "$folder" "$folder.log"
"#;

pub(crate) struct Server {
    pub(crate) port: u16,
    /// Its input stays open as long as this process lives.
    _watch: Child,
}

impl Server {
    pub(crate) fn start(options: &[&str]) -> Self {
        Self::launch("http", options)
    }

    pub(crate) fn start_tls(certificate: &str, key: &str) -> Self {
        // Whether it is healthy is asked in the clear elsewhere.
        let metrics = format!("http://127.0.0.1:{}", free_port());
        let options = ["--cert-file", certificate, "--key-file", key, "--listen-metrics-urls", &metrics]
            .map(str::to_owned);
        let options: Vec<_> = options.iter().map(String::as_str).collect();
        Self::launch("https", &options)
    }

    fn launch(scheme: &str, options: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("juicefs-etcd.").tempdir().expect("a folder").keep();
        let (port, peers) = (free_port(), free_port());
        let mut watch = Command::new("sh")
            .args(["-c", WATCH, "watch"])
            .arg(&folder)
            .args([port.to_string(), peers.to_string(), scheme.to_owned()])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let deadline = Instant::now() + Duration::from_secs(60);
        let asked = options
            .iter()
            .find_map(|option| option.strip_prefix("http://127.0.0.1:")?.parse().ok())
            .unwrap_or(port);
        while !is_healthy(asked) {
            if Instant::now() > deadline || watch.try_wait().expect("known").is_some() {
                let log = std::fs::read_to_string(format!("{}.log", folder.display()));
                panic!("etcd does not start: {log:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { port, _watch: watch }
    }
}

/// It has a leader.
fn is_healthy(port: u16) -> bool {
    http(port, "GET /health", "").is_ok_and(|said| said.contains(r#""health":"true""#))
}

/// One request to the JSON interface; the whole answer.
pub(crate) fn http(port: u16, what: &str, body: &str) -> std::io::Result<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
    write!(stream, "{what} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    Ok(said)
}

pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").port()
}

pub(crate) fn port() -> u16 {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start(&[])).port
}

/// A prefix with nothing below it.
pub(crate) fn prefix() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("/t{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn url(address: &str) -> EtcdUrl {
    match MetaUrl::parse(address).expect("an address") {
        MetaUrl::Etcd(url) => url,
        other => panic!("{other} is not etcd"),
    }
}
