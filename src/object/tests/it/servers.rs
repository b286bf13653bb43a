//! An S3 server of the test's own, on free loopback ports, ended with the test.

use juicefs_object::StoreSpec;
use std::io::{BufRead, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// The URL of a bucket whose server answers every request with the same, for as long as the test lives.
pub fn always_answers(head: &'static str, body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut request = std::io::BufReader::new(&stream);
            let mut line = String::new();
            while request.read_line(&mut line).is_ok_and(|read| read > 2) {
                line.clear();
            }
            // A client that has left is the client's matter.
            let _ = (&stream).write_all(format!("{head}{body}").as_bytes());
        }
    });
    format!("http://127.0.0.1:{port}/b")
}

pub struct S3Server {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl S3Server {
    /// Needs `rclone`, which `make tools` installs.
    pub fn start() -> Self {
        let cache = std::env::var_os("JUICEFS_E2E_CACHE").map(PathBuf::from);
        let home = PathBuf::from(std::env::var_os("HOME").expect("HOME"));
        let rclone = cache.unwrap_or(home.join(".cache/juicefs-e2e")).join("venv/bin/rclone");
        assert!(rclone.exists(), "{} is missing: run `make tools`", rclone.display());
        let folder = tempfile::tempdir().expect("temp");
        let port = free_port();
        let child = Command::new(rclone)
            .args([
                "serve",
                "s3",
                "--addr",
                &format!("127.0.0.1:{port}"),
                "--auth-key",
                "ACCESSKEY0,secretkey0",
                "--config",
                "",
            ])
            .arg(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("rclone starts");
        let server = Self { child, port, _folder: folder };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "rclone does not listen on {port}");
            std::thread::yield_now();
        }
        server
    }

    pub fn spec(&self, bucket: &str) -> StoreSpec {
        StoreSpec {
            storage: "s3".into(),
            bucket: format!("http://127.0.0.1:{}/{bucket}", self.port),
            access_key: "ACCESSKEY0".into(),
            secret_key: Some("secretkey0".to_owned().into()),
            ..StoreSpec::default()
        }
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
