//! What a user reads when Redis says no: cause and next step, never the password.

use redis::AsyncCommands;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::server::{Server, free_port, url};
use super::*;
use crate::engines::redis::RedisEngine;
use crate::error::Error;

async fn refusal(address: &str) -> Error {
    match RedisEngine::open(&url(address)).await {
        Ok(_) => panic!("{address} opened"),
        Err(error) => error,
    }
}

fn assert_says(error: &Error, words: &[&str]) {
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "\"{text}\" lacks \"{word}\"");
    }
    assert!(!text.contains("s3cret"), "{text}");
}

#[tokio::test]
async fn passwords_that_are_missing_or_wrong_are_told_apart() {
    let server = Server::start_with(&["--requirepass", "right"]);
    let port = server.port;
    let missing = refusal(&server.address(1)).await;
    assert!(matches!(missing, Error::Denied(_)));
    assert_says(&missing, &["asks for a password", "META_PASSWORD", &port.to_string()]);
    let wrong = refusal(&format!("redis://:s3cret@127.0.0.1:{port}/1")).await;
    assert!(matches!(wrong, Error::Denied(_)));
    assert_says(&wrong, &["refused user default", "META_PASSWORD"]);
    RedisEngine::open(&url(&format!("redis://:right@127.0.0.1:{port}/1"))).await.unwrap();
    let open = Server::start();
    let needless = refusal(&format!("redis://:s3cret@127.0.0.1:{}/1", open.port)).await;
    assert_says(&needless, &["password"]);
}

#[tokio::test]
async fn servers_that_do_not_fit_are_named() {
    let server = Server::start();
    let wrong_db = refusal(&server.address(99)).await;
    assert!(matches!(wrong_db, Error::Engine(_)));
    assert_says(&wrong_db, &["no database 99"]);
    let port = free_port();
    let refused = refusal(&format!("127.0.0.1:{port}/1")).await;
    assert!(matches!(refused, Error::Unavailable(_)));
    assert_says(&refused, &["nothing listens there", &port.to_string()]);
    let cluster = Server::start_with(&["--cluster-enabled", "yes"]);
    for db in [0, 1] {
        assert_says(&refusal(&cluster.address(db)).await, &["Cluster", "not supported yet"]);
    }
    let evicting = Server::start_with(&["--maxmemory-policy", "allkeys-lru"]);
    evicting.engine().await;
    let policy: Vec<String> = redis::cmd("CONFIG")
        .arg("GET")
        .arg("maxmemory-policy")
        .query_async(&mut evicting.raw().await)
        .await
        .unwrap();
    assert_eq!(policy[1], "noeviction");
    let busy = Server::start_with(&["--maxclients", "1"]);
    let _only = busy.raw().await;
    let full = refusal(&busy.address(1)).await;
    assert!(matches!(full, Error::Unavailable(_)));
    assert_says(&full, &["maxclients"]);
    assert_says(&refusal("redis://h1:6379,h2:6379/1").await, &["Cluster", "not supported yet"]);
    let lost = refusal(&format!("redis://mymaster,127.0.0.1:{port}/1")).await;
    assert!(matches!(lost, Error::Unavailable(_)));
    assert_says(&lost, &["no sentinel tells", "mymaster", &port.to_string()]);
}

#[tokio::test]
async fn protected_mode_is_explained() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // As the server does: one line at once, then the end.
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let denied = b"-DENIED Redis is running in protected mode because protected mode is enabled\r\n";
            client.write_all(denied).await.unwrap();
            let mut sink = [0; 1024];
            let _ = client.read(&mut sink).await;
        }
    });
    let error = refusal(&format!("redis://127.0.0.1:{port}/3")).await;
    assert!(matches!(error, Error::Engine(_)), "{error:?}");
    assert_says(&error, &["protected mode", "requirepass"]);
}

#[tokio::test]
async fn a_full_server_is_full_and_a_replica_is_read_only() {
    let server = Server::start();
    let engine = server.engine().await;
    engine.create_volume(&volume()).await.unwrap();
    let mut raw = server.raw().await;
    let set = |key: &'static str, value: &'static str| {
        let mut raw = raw.clone();
        async move {
            let _: () =
                redis::cmd("CONFIG").arg("SET").arg(key).arg(value).query_async(&mut raw).await.unwrap();
        }
    };
    set("maxmemory", "1").await;
    let full = create(&engine, Ino::ROOT, &name("a"), Ino(2)).await.unwrap_err();
    assert!(matches!(full, Error::Full(_)), "{full:?}");
    assert_says(&full, &["out of memory", "maxmemory"]);
    set("maxmemory", "0").await;
    set("replica-serve-stale-data", "yes").await;
    let _: () = redis::cmd("REPLICAOF").arg("127.0.0.1").arg(1).query_async(&mut raw).await.unwrap();
    let replica = create(&engine, Ino::ROOT, &name("a"), Ino(2)).await.unwrap_err();
    assert!(matches!(replica, Error::Replica(_)), "{replica:?}");
    assert_eq!((replica.errno(), replica.may_retry()), (juicefs_base::Errno::EROFS, true));
    assert_says(&replica, &["a replica", "--read-only"]);
    let _: () = redis::cmd("REPLICAOF").arg("NO").arg("ONE").query_async(&mut raw).await.unwrap();
    assert!(!raw.exists::<_, bool>("i2").await.unwrap());
    create(&engine, Ino::ROOT, &name("a"), Ino(2)).await.unwrap();
}

#[tokio::test]
async fn a_user_without_transactions_is_refused_at_the_start() {
    let server = Server::start();
    let mut raw = server.raw().await;
    let rule = ["SETUSER", "bob", "on", ">right", "~*", "&*", "+@all", "-multi"];
    let _: () = redis::cmd("ACL").arg(&rule).query_async(&mut raw).await.unwrap();
    let error = refusal(&format!("redis://bob:right@127.0.0.1:{}/1", server.port)).await;
    assert_says(&error, &["user bob", "multi", "ACL"]);
}

#[tokio::test]
async fn a_broken_connection_is_replaced_without_the_caller_noticing() {
    let mut server = Server::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let engine = server.engine().await;
    engine.create_volume(&volume()).await.unwrap();
    create(&engine, Ino::ROOT, &name("a"), Ino(2)).await.unwrap();
    server.kill();
    let down = engine.setting().await.unwrap_err();
    assert!(matches!(down, Error::Unavailable(_)), "{down:?}");
    let down = create(&engine, Ino::ROOT, &name("b"), Ino(3)).await.unwrap_err();
    assert!(matches!(down, Error::Unavailable(_)), "{down:?}");
    server.restart();
    create(&engine, Ino::ROOT, &name("b"), Ino(3)).await.unwrap();
    // Idle connections die with the server; the first read on each is sent again.
    server.kill();
    server.restart();
    create(&engine, Ino::ROOT, &name("c"), Ino(4)).await.unwrap();
    assert!(engine.lookup(Ino::ROOT, &name("c")).await.unwrap().is_some());
}

#[tokio::test]
async fn tls_works_and_untrusted_certificates_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = |file: &str| directory.path().join(file).display().to_string();
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args([
            "-addext",
            "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ])
        .args(["-keyout", &path("key.pem"), "-out", &path("cert.pem")])
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let tls_port = free_port();
    let options = [
        "--tls-port",
        &tls_port.to_string(),
        "--tls-cert-file",
        &path("cert.pem"),
        "--tls-key-file",
        &path("key.pem"),
        "--tls-ca-cert-file",
        &path("cert.pem"),
        "--tls-auth-clients",
        "no",
    ];
    let server = Server::start_with(&options);
    let trusted = format!("rediss://localhost:{tls_port}/1?tls-ca-cert-file={}", path("cert.pem"));
    let engine = RedisEngine::open(&url(&trusted)).await.unwrap();
    engine.create_volume(&volume()).await.unwrap();
    create(&engine, Ino::ROOT, &name("a"), Ino(2)).await.unwrap();
    let untrusted = refusal(&format!("rediss://localhost:{tls_port}/1")).await;
    assert_says(&untrusted, &["not trusted", "tls-ca-cert-file"]);
    RedisEngine::open(&url(&format!("rediss://localhost:{tls_port}/1?insecure-skip-verify=true")))
        .await
        .unwrap();
    let plain = refusal(&format!("redis://localhost:{tls_port}/1")).await;
    assert_says(&plain, &["rediss://"]);
    let not_tls = refusal(&format!("rediss://localhost:{}/1", server.port)).await;
    assert_says(&not_tls, &["redis://"]);
}
