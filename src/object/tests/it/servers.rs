//! Servers of the test's own, on free loopback ports, ended with the test.

use juicefs_object::{StoreSpec, StoreVariables};
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

/// A server of a store.
pub struct StoreServer {
    child: Child,
    port: u16,
    /// `s3`, `wasb`, `gs`, `webdav`, `sftp`.
    storage: &'static str,
    _folder: tempfile::TempDir,
}

const USER: &str = "ACCESSKEY0";
const PASSWORD: &str = "secretkey0";
/// The account of Azure's emulator and its key, both published.
const AZURE_ACCOUNT: &str = "devstoreaccount1";
const AZURE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A program that `make tools` installs.
fn tool(path: &str) -> Command {
    let cache = std::env::var_os("JUICEFS_E2E_CACHE").map(PathBuf::from);
    let home = PathBuf::from(std::env::var_os("HOME").expect("HOME"));
    let tool = cache.unwrap_or(home.join(".cache/juicefs-e2e")).join(path);
    assert!(tool.exists(), "{} is missing: run `make tools`", tool.display());
    Command::new(tool)
}

impl StoreServer {
    /// rclone's S3.
    pub fn s3() -> Self {
        Self::start("s3", |port, folder| {
            let mut command = tool("venv/bin/rclone");
            command.args(["serve", "s3", "--addr", &address(port), "--config", ""]);
            command.args(["--auth-key", &format!("{USER},{PASSWORD}")]).arg(folder);
            command
        })
    }

    /// rclone's WebDAV.
    pub fn webdav() -> Self {
        Self::start("webdav", |port, folder| {
            let mut command = tool("venv/bin/rclone");
            command.args(["serve", "webdav", "--addr", &address(port), "--config", ""]);
            command.args(["--user", USER, "--pass", PASSWORD]).arg(folder);
            command
        })
    }

    /// rclone's SFTP.
    pub fn sftp() -> Self {
        Self::start("sftp", |port, folder| {
            let mut command = tool("venv/bin/rclone");
            command.args(["serve", "sftp", "--addr", &address(port), "--config", ""]);
            command.args(["--user", USER, "--pass", PASSWORD]).arg(folder);
            command
        })
    }

    /// azurite, with one container.
    pub fn azure(container: &str) -> Self {
        let server = Self::start("wasb", |port, folder| {
            let mut command = tool("azurite/node_modules/.bin/azurite-blob");
            command.args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string(), "--location"]);
            command.arg(folder).args(["--skipApiVersionCheck", "--disableTelemetry", "--silent"]);
            command
        });
        let made = tool("venv/bin/rclone")
            .args(["mkdir", &format!(":azureblob:{container}"), "--config", ""])
            .args(["--azureblob-account", AZURE_ACCOUNT, "--azureblob-key", AZURE_KEY])
            .args(["--azureblob-endpoint", &format!("http://{}/{AZURE_ACCOUNT}", address(server.port))])
            .output();
        let made = made.expect("rclone starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        server
    }

    /// fake-gcs-server, with one bucket.
    pub fn google(bucket: &str) -> Self {
        let server = Self::start("gs", |port, _| {
            let url = format!("http://{}", address(port));
            let mut command = tool("bin/fake-gcs-server");
            command.args(["-scheme", "http", "-host", "127.0.0.1", "-port", &port.to_string()]);
            command.args(["-backend", "memory", "-public-host", &address(port), "-external-url", &url]);
            command
        });
        let body = format!("{{\"name\":\"{bucket}\"}}");
        let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("it listens");
        write!(
            stream,
            "POST /storage/v1/b?project=p HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            address(server.port),
            body.len()
        )
        .expect("asked");
        let mut status = String::new();
        std::io::BufReader::new(stream).read_line(&mut status).expect("answered");
        assert!(status.contains("200"), "{status}");
        server
    }

    fn start(storage: &'static str, command: impl Fn(u16, &std::path::Path) -> Command) -> Self {
        let folder = tempfile::tempdir().expect("temp");
        let port = free_port();
        let mut command = command(port, folder.path());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a server starts");
        let server = Self { child, port, storage, _folder: folder };
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "{storage} does not listen on {port}");
            std::thread::yield_now();
        }
        server
    }

    pub fn spec(&self, bucket: &str) -> StoreSpec {
        let address = address(self.port);
        let bucket = match self.storage {
            "s3" => format!("http://{address}/{bucket}"),
            "webdav" => format!("http://{address}/"),
            "sftp" => format!("{address}:/{bucket}/"),
            "wasb" => format!("https://{bucket}"),
            other => format!("{other}://{bucket}"),
        };
        let variables = StoreVariables::collect(|name| match (self.storage, name) {
            ("wasb", StoreVariables::AZURE_CONNECTION_STRING) => Some(
                format!(
                    "DefaultEndpointsProtocol=http;AccountName={AZURE_ACCOUNT};AccountKey={AZURE_KEY};\
                     BlobEndpoint=http://{address}/{AZURE_ACCOUNT};"
                )
                .into(),
            ),
            ("gs", StoreVariables::GOOGLE_EMULATOR) => Some(format!("http://{address}").into()),
            _ => None,
        });
        StoreSpec {
            storage: self.storage.into(),
            bucket,
            access_key: USER.into(),
            secret_key: Some(PASSWORD.to_owned().into()),
            variables,
            ..StoreSpec::default()
        }
    }
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

impl Drop for StoreServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
