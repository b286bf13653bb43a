//! A PostgreSQL server of the tests' own, one for a test process, and a schema of its own for each test.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::url::{MetaUrl, ServerUrl};

/// Ends the server and removes its files when the test process is gone, however it ended: its input closes then.
const WATCH: &str = r#"
set -eu
as() { if [ "$(id -u)" = 0 ]; then chown postgres "$folder"; setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; else "$@"; fi; }
folder=$1 bin=$2 port=$3
cd /
as "$bin/initdb" -D "$folder/data" -A trust -U postgres --no-sync --no-locale -E UTF8 >"$folder.log" 2>&1
as "$bin/postgres" -D "$folder/data" -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off \
    -c max_connections=400 -c shared_buffers=32MB -c dynamic_shared_memory_type=mmap >>"$folder.log" 2>&1 &
read -r _ || true
pkill -QUIT -P $! 2>/dev/null || true
kill -QUIT $! 2>/dev/null || true
wait $! 2>/dev/null || true
rm -rf "$folder" "$folder.log"
"#;

struct Server {
    port: u16,
    /// Its input stays open as long as this process lives.
    _watch: Child,
}

/// Debian keeps the server's programs out of the path.
fn programs() -> PathBuf {
    let in_path = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let of_debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders = in_path.chain(of_debian.map(|entry| entry.path().join("bin")));
    folders
        .find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
        .expect("PostgreSQL is installed: run `make tools`")
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let folder = tempfile::Builder::new().prefix("juicefs-pg.").tempdir().expect("a folder").keep();
        let port = free_port();
        let mut watch = Command::new("sh")
            .args(["-c", WATCH, "watch"])
            .arg(&folder)
            .arg(programs())
            .arg(port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let deadline = Instant::now() + Duration::from_secs(60);
        while !answers(port) {
            if Instant::now() > deadline || watch.try_wait().expect("known").is_some() {
                panic!("PostgreSQL does not start: {}", log(&folder));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Server { port, _watch: watch }
    })
}

fn log(folder: &Path) -> String {
    std::fs::read_to_string(format!("{}.log", folder.display())).unwrap_or_else(|cause| cause.to_string())
}

/// It takes a startup packet and asks for no password; while it starts it answers with an error.
fn answers(port: u16) -> bool {
    use std::io::Read;
    let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else { return false };
    let body = b"\0\x03\0\0user\0postgres\0database\0postgres\0\0";
    let mut packet = u32::try_from(body.len() + 4).expect("short").to_be_bytes().to_vec();
    packet.extend_from_slice(body);
    let mut reply = [0];
    stream.write_all(&packet).is_ok()
        && stream.read(&mut reply).is_ok_and(|count| count == 1 && reply[0] == b'R')
}

pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").port()
}

pub(crate) fn port() -> u16 {
    server().port
}

pub(crate) fn url(address: &str) -> ServerUrl {
    match MetaUrl::parse(address).expect("an address") {
        MetaUrl::Postgres(url) => url,
        other => panic!("{other} is not PostgreSQL"),
    }
}

/// A connection of the test's own.
pub(crate) async fn raw() -> tokio_postgres::Client {
    let address = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", port());
    let (client, connection) =
        tokio_postgres::connect(&address, tokio_postgres::NoTls).await.expect("connects");
    tokio::spawn(connection);
    client
}

/// A fresh, empty schema.
pub(crate) async fn schema() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("t{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    raw().await.batch_execute(&format!("CREATE SCHEMA {name}")).await.expect("creates");
    name
}

/// The address of a schema by way of a port: the server's own, or that of a relay in front of it.
pub(crate) fn address(port: u16, schema: &str) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable&search_path={schema}")
}
