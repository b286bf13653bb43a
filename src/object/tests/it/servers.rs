//! An S3 server of the test's own, on free loopback ports, ended with the test.

use juicefs_object::StoreSpec;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
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
