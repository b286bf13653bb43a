//! The format Job against a real Redis and a bucket on a local disk behind a real protocol where it matters.

use crate::world::CANARY;
use juicefs_k8s::crd::status::FormatOutcome;
use juicefs_operator::format_job::{Cause, FormatJobSettings, FormatReport, FormatSpec, SPEC_VERSION, run};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A Redis of our own, ended on drop.
struct Redis {
    process: Child,
    port: u16,
    _home: tempfile::TempDir,
}

impl Redis {
    fn start(password: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let home = tempfile::tempdir().unwrap();
        let process = Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--requirepass",
                password,
            ])
            .current_dir(home.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let end = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "redis-server does not answer");
            std::thread::yield_now();
        }
        Self { process, port, _home: home }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spec(port: u16, bucket: &Path) -> FormatSpec {
    FormatSpec {
        version: SPEC_VERSION,
        volume_name: "data".into(),
        meta_url: Some(format!("redis://127.0.0.1:{port}/1")),
        meta_engine: Some("redis".into()),
        storage: "file".into(),
        bucket: format!("{}/", bucket.display()),
        block_size_kib: 4096,
        compression: "none".into(),
        trash_days: 1,
        ..FormatSpec::default()
    }
}

async fn report(home: &Path, spec: &FormatSpec, password: &str) -> FormatReport {
    let write = |name: &str, text: &str| {
        std::fs::write(home.join(name), text).unwrap();
        home.join(name)
    };
    std::fs::create_dir_all(home.join("storage")).unwrap();
    write("storage/secret-key", CANARY);
    let settings = FormatJobSettings {
        spec_file: write("spec.json", &serde_json::to_string(spec).unwrap()),
        meta_password_file: Some(write("password", &format!("{password}\n"))),
        meta_url_file: None,
        storage_secret_dir: Some(home.join("storage")),
        report_file: home.join("report"),
    };
    let report = run(&settings).await.unwrap();
    let text = std::fs::read_to_string(home.join("report")).unwrap();
    assert!(text.len() <= 4096 && !text.contains(CANARY) && !text.contains("c4n4ry"), "{text}");
    assert_eq!(serde_json::from_str::<FormatReport>(&text).unwrap(), report);
    report
}

#[tokio::test]
async fn a_volume_is_made_once_and_never_overwritten() {
    let redis = Redis::start(CANARY);
    let home = tempfile::tempdir().unwrap();
    let bucket = tempfile::tempdir().unwrap();
    let wanted = spec(redis.port, bucket.path());

    let created = report(home.path(), &wanted, CANARY).await;
    assert_eq!((created.result, created.exit_code()), (FormatOutcome::Created, 0), "{created:?}");
    let again =
        report(home.path(), &FormatSpec { uuid: created.uuid.clone(), ..wanted.clone() }, CANARY).await;
    assert_eq!(
        (again.result, &again.uuid, again.drift.len()),
        (FormatOutcome::Unchanged, &created.uuid, 0),
        "{again:?}"
    );

    let drifted =
        report(home.path(), &FormatSpec { trash_days: 7, capacity_bytes: 1 << 30, ..wanted.clone() }, CANARY)
            .await;
    assert_eq!((drifted.result, drifted.drift.len()), (FormatOutcome::Unchanged, 2), "{drifted:?}");

    let conflicts = [
        (
            FormatSpec { compression: "lz4".into(), ..wanted.clone() },
            "format.compression is none in the volume, lz4 in the FileSystem",
        ),
        (
            FormatSpec { volume_name: "other".into(), ..wanted.clone() },
            "volumeName is data in the volume, other in the FileSystem",
        ),
        (FormatSpec { bucket: "/elsewhere/".into(), ..wanted.clone() }, ", /elsewhere in the FileSystem"),
        (FormatSpec { uuid: Some(crate::world::UUID.into()), ..wanted.clone() }, "not 51c45a61"),
        (
            FormatSpec {
                uuid: Some(crate::world::UUID.into()),
                meta_url: Some(format!("redis://127.0.0.1:{}/2", redis.port)),
                ..wanted.clone()
            },
            "holds no volume",
        ),
    ];
    for (spec, sentence) in conflicts {
        let found = report(home.path(), &spec, CANARY).await;
        assert_eq!((found.result, found.exit_code()), (FormatOutcome::Conflict, 3));
        assert!(found.message.contains(sentence), "{}", found.message);
    }
    let last = report(home.path(), &wanted, CANARY).await;
    assert_eq!(
        (last.result, last.drift.len()),
        (FormatOutcome::Unchanged, 0),
        "nothing was written meanwhile"
    );
}

#[tokio::test]
async fn what_fails_says_what_and_why() {
    let redis = Redis::start(CANARY);
    let home = tempfile::tempdir().unwrap();
    let bucket = tempfile::tempdir().unwrap();
    let wanted = spec(redis.port, bucket.path());

    let wrong = report(home.path(), &wanted, "wrong-password").await;
    assert_eq!(
        (wrong.result, wrong.cause, wrong.exit_code()),
        (FormatOutcome::Failed, Some(Cause::Metadata), 1),
        "{wrong:?}"
    );
    assert!(!wrong.message.contains("wrong-password"));

    let cases = [
        (FormatSpec { meta_engine: Some("postgres".into()), ..wanted.clone() }, "meta.engine is postgres"),
        (
            FormatSpec { meta_url: Some("sqlite3:///tmp/x.db".into()), meta_engine: None, ..wanted.clone() },
            "no other pod reaches",
        ),
        (FormatSpec { version: 99, ..wanted.clone() }, "version 99"),
    ];
    for (spec, sentence) in cases {
        let found = report(home.path(), &spec, CANARY).await;
        assert_eq!((found.result, found.cause), (FormatOutcome::Failed, Some(Cause::Settings)));
        assert!(found.message.contains(sentence), "{}", found.message);
    }

    std::fs::create_dir_all(bucket.path().join("data")).unwrap();
    std::fs::write(bucket.path().join("data/somebody-elses"), "x").unwrap();
    let taken = report(home.path(), &wanted, CANARY).await;
    assert_eq!(taken.result, FormatOutcome::Conflict, "{taken:?}");
    assert!(taken.message.contains("not empty"), "{}", taken.message);
}
