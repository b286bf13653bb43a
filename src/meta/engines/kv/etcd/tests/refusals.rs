//! What a server or an address does not allow is said in sentences.

use std::process::Command;

use super::*;
use crate::error::Error;

async fn sentence(rest: &str, port: u16) -> String {
    match open(port, rest).await {
        Ok(_) => panic!("{rest} opens"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn there_is_no_change_log() {
    let engine = open(server::port(), &server::prefix()).await.expect("opens");
    engine.create_volume(&volume()).await.expect("an empty place");
    assert!(!engine.limits().has_change_log);
    let said = engine.read_log(0, 1).await.expect_err("none").to_string();
    assert!(said.contains("no change log") && said.contains("Redis"), "{said}");
}

#[tokio::test]
async fn volumes_with_prefixes_of_each_other_stay_apart() {
    let prefix = server::prefix();
    let one = open(server::port(), &prefix).await.expect("opens");
    let other = open(server::port(), &format!("{prefix}/more")).await.expect("opens");
    one.create_volume(&volume()).await.expect("an empty place");
    assert_eq!(other.setting().await.expect("reads"), None);
    other.create_volume(&volume()).await.expect("an empty place");
    one.destroy_volume().await.expect("destroys");
    assert!(other.setting().await.expect("reads").is_some());
}

/// Users, a role on a prefix, and a login that runs out.
#[tokio::test]
async fn users_are_asked_who_they_are() {
    let server = server::Server::start(&["--auth-token-ttl=1"]);
    let post = |path: &str, body: &str| {
        let said = server::http(server.port, &format!("POST /v3/auth/{path}"), body).expect("an answer");
        assert!(said.contains(" 200 OK"), "{path}: {said}");
    };
    post("user/add", r#"{"name":"root","password":"r"}"#);
    post("user/grant", r#"{"user":"root","role":"root"}"#);
    post("role/add", r#"{"name":"juicefs"}"#);
    // All keys that begin with `/vol`.
    let permission =
        r#"{"name":"juicefs","perm":{"permType":"READWRITE","key":"L3ZvbA==","range_end":"L3ZvbQ=="}}"#;
    post("role/grant", permission);
    post("user/add", r#"{"name":"bob","password":"p@ss"}"#);
    post("user/grant", r#"{"user":"bob","role":"juicefs"}"#);
    post("enable", "{}");
    assert!(sentence("/vol", server.port).await.contains("asks for a user"));
    let with = |user: &str, rest: &str| format!("etcd://{user}@127.0.0.1:{}{rest}", server.port);
    let opened = async |address: String| etcd::open(&server::url(&address)).await;
    for (address, word) in
        [(with("bob:wrong", "/vol"), "refused user bob"), (with("bob:p%40ss", "/w"), "does not let user bob")]
    {
        let said = opened(address).await.map(drop).expect_err("refused").to_string();
        assert!(said.contains(word) && !said.contains("wrong"), "{said}");
    }
    let engine = opened(with("bob:p%40ss", "/vol")).await.expect("opens");
    engine.create_volume(&volume()).await.expect("creates");
    assert_eq!(append(&*engine, 1).await.expect("appends"), 1);
    // The login runs out: reads and commits log in again by themselves.
    for id in [2, 3] {
        tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
        assert_eq!(u64::from(append(&*engine, id).await.expect("appends")), id);
    }
}

/// Its certificate is for a name of its own.
#[tokio::test]
async fn tls_is_spoken_where_the_address_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let openssl = |arguments: &[&str]| {
        let made = Command::new("openssl").args(arguments).output().expect("openssl");
        assert!(made.status.success(), "{made:?}");
    };
    let (ca, ca_key, pem, key) = (path("ca.pem"), path("ca.key"), path("pem"), path("key"));
    let (request, names) = (path("request"), path("names"));
    std::fs::write(&names, "subjectAltName=DNS:etcd.test").expect("written");
    let new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj"];
    openssl(&[&["req", "-x509"], &new_key[..], &["/CN=ca", "-keyout", &ca_key, "-out", &ca]].concat());
    openssl(&[&["req"], &new_key[..], &["/CN=etcd.test", "-keyout", &key, "-out", &request]].concat());
    let sign = ["x509", "-req", "-in", &request, "-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial"];
    openssl(&[&sign[..], &["-extfile", &names, "-out", &pem]].concat());
    let server = server::Server::start_tls(&pem, &key);
    let good = format!("/t?cacert={ca}&server-name=etcd.test");
    let engine = open(server.port, &good).await.expect("opens");
    engine.create_volume(&volume()).await.expect("creates");
    assert_eq!(append(&*engine, 1).await.expect("appends"), 1);
    let untrusted = sentence("/t?server-name=etcd.test", server.port).await;
    assert!(untrusted.contains("not trusted"), "{untrusted}");
    let other_name = sentence(&format!("/t?cacert={ca}"), server.port).await;
    assert!(other_name.contains("not trusted"), "{other_name}");
    let plain = sentence("/t", server.port).await;
    assert!(plain.contains("?cacert="), "{plain}");
    open(server.port, "/t?server-name=x&insecure-skip-verify=1").await.expect("anybody is trusted");
    let half = sentence(&format!("/t?cert={ca}"), server.port).await;
    assert!(half.contains("go together"), "{half}");
    assert!(matches!(open(server.port, "/t?cacert=/nowhere").await, Err(Error::Engine(_))));
    // And the other way round: a server that speaks none.
    let clear = sentence(&good, super::server::port()).await;
    assert!(clear.contains("speaks no TLS"), "{clear}");
}
