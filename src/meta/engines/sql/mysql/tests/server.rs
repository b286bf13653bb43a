//! A MariaDB server of the tests' own, one for a test process, and a database of its own for each test.

use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use crate::url::{MetaUrl, ServerUrl};

/// Ends the server and removes its files when the test process is gone, however it ended: its input closes then.
const WATCH: &str = r#"
set -eu
folder=$1 port=$2
if [ "$(id -u)" = 0 ]; then chown mysql "$folder"; user=--user=mysql; else user=; fi
mariadb-install-db --no-defaults --datadir="$folder/data" $user --auth-root-authentication-method=normal --skip-test-db \
    >"$folder.log" 2>&1
mariadbd --no-defaults --datadir="$folder/data" $user --port="$port" --bind-address=127.0.0.1 --socket="$folder/s" \
    --innodb-flush-log-at-trx-commit=0 --innodb-buffer-pool-size=64M --max-connections=400 --skip-log-bin >>"$folder.log" 2>&1 &
read -r _ || true
kill -KILL $! 2>/dev/null || true
wait $! 2>/dev/null || true
rm -rf "$folder" "$folder.log"
"#;

struct Server {
    port: u16,
    /// Its input stays open as long as this process lives.
    _watch: Child,
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let folder = tempfile::Builder::new().prefix("juicefs-my.").tempdir().expect("a folder").keep();
        let port = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            listener.local_addr().expect("bound").port()
        };
        let mut watch = Command::new("sh")
            .args(["-c", WATCH, "watch"])
            .arg(&folder)
            .arg(port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell");
        let deadline = Instant::now() + Duration::from_secs(90);
        // It listens when it is ready.
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > deadline || watch.try_wait().expect("known").is_some() {
                let log = std::fs::read_to_string(format!("{}.log", folder.display())).unwrap_or_default();
                panic!("MariaDB does not start (`make tools` installs it): {log}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Server { port, _watch: watch }
    })
}

pub(crate) fn port() -> u16 {
    server().port
}

pub(crate) fn url(address: &str) -> ServerUrl {
    match MetaUrl::parse(address).expect("an address") {
        MetaUrl::Mysql(url) => url,
        other => panic!("{other} is not MySQL"),
    }
}

/// A connection of the test's own.
pub(crate) async fn raw() -> Conn {
    let opts =
        mysql_async::OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(port()).user(Some("root"));
    Conn::new(opts.prefer_socket(false)).await.expect("connects")
}

/// A fresh, empty database.
pub(crate) async fn database() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("t{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    raw().await.query_drop(format!("CREATE DATABASE {name}")).await.expect("creates");
    name
}

/// The address of a database by way of a port: the server's own, or that of a relay in front of it.
pub(crate) fn address(port: u16, database: &str) -> String {
    format!("mysql://root@(127.0.0.1:{port})/{database}")
}
