//! A master, its replica and a sentinel of the test's own: who dies, who takes over, what a client sees of it.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::server::{Server, free_port, url};
use super::volume;
use crate::engines::redis::RedisEngine;
use crate::error::Error;
use crate::port::Engine;

struct Sentinel {
    child: Child,
    port: u16,
    _directory: tempfile::TempDir,
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One sentinel whose word is enough.
fn watch(master: &Server) -> Sentinel {
    let directory = tempfile::tempdir().expect("a directory");
    let port = free_port();
    let config = directory.path().join("sentinel.conf");
    let text = format!(
        "port {port}\nbind 127.0.0.1\nrequirepass sesame\ndir {}\nsentinel monitor near 127.0.0.1 {} 1\n\
         sentinel down-after-milliseconds near 500\nsentinel failover-timeout near 5000\n",
        directory.path().display(),
        master.port
    );
    std::fs::write(&config, text).expect("written");
    let mut command = Command::new("redis-server");
    command.arg(&config).arg("--sentinel").stdout(Stdio::null()).stderr(Stdio::null());
    Sentinel { child: command.spawn().expect("redis-server is installed"), port, _directory: directory }
}

fn address(sentinel: &Sentinel, password: &str) -> String {
    format!("redis://near,127.0.0.1:{}/1?sentinel-password={password}", sentinel.port)
}

async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut probe: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_follows_its_master() {
    let mut master = Server::start_with(&["--repl-diskless-sync-delay", "0"]);
    let replica = Server::start_with(&["--replicaof", &format!("127.0.0.1 {}", master.port)]);
    let sentinel = watch(&master);
    let right = address(&sentinel, "sesame");
    let engine =
        eventually("the sentinel names the master", async || RedisEngine::open(&url(&right)).await.ok())
            .await;
    let volume = volume();
    engine.create_volume(&volume).await.expect("written to the master");
    assert_eq!(engine.setting().await.expect("read").as_deref(), Some(volume.setting.as_str()));

    let wrong = RedisEngine::open(&url(&address(&sentinel, "wrong"))).await.err().expect("refused");
    assert!(matches!(wrong, Error::Engine(_)), "{wrong}");
    assert!(wrong.to_string().contains("SENTINEL_PASSWORD"), "{wrong}");

    // The replica has everything and the sentinel knows it, else there is nothing to fail over to.
    let raw = replica.raw().await;
    eventually("the replica has the setting", async || {
        redis::cmd("GET").arg("setting").query_async::<Option<String>>(&mut raw.clone()).await.ok().flatten()
    })
    .await;
    let client =
        redis::Client::open(format!("redis://:sesame@127.0.0.1:{}/", sentinel.port)).expect("an address");
    let asked = client.get_multiplexed_async_connection().await.expect("connects");
    eventually("the sentinel knows the replica", async || {
        let mut asked = asked.clone();
        let known: Vec<redis::Value> =
            redis::cmd("SENTINEL").arg("replicas").arg("near").query_async(&mut asked).await.ok()?;
        (!known.is_empty()).then_some(())
    })
    .await;
    master.kill();
    eventually("the client reads from the new master", async || engine.setting().await.ok()).await;
    eventually("and writes to it", async || engine.create_volume(&volume).await.ok()).await;
    let role: Vec<redis::Value> =
        redis::cmd("ROLE").query_async(&mut replica.raw().await).await.expect("answers");
    assert!(matches!(&role[0], redis::Value::BulkString(role) if role == b"master"), "{role:?}");
}
