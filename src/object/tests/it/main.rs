//! The port's promises, one case a line, over every backend and layer.

mod cases;
mod servers;

use juicefs_base::ExposeSecret;
use juicefs_object::layers::prefix::Prefixed;
use juicefs_object::layers::retry::Retrying;
use juicefs_object::{RetryPolicy, Store, StoreSpec, StoreVariables, open, open_volume_store};
use std::sync::Arc;

async fn file_store(folder: &tempfile::TempDir) -> Arc<dyn Store> {
    let bucket = format!("{}/", folder.path().display());
    open(&StoreSpec { storage: "file".into(), bucket, ..StoreSpec::default() }).await.expect("a folder")
}

#[tokio::test]
async fn file_keeps_every_promise() {
    let folder = tempfile::tempdir().expect("temp");
    cases::all(file_store(&folder).await).await;
}

#[tokio::test]
async fn prefix_keeps_every_promise() {
    let folder = tempfile::tempdir().expect("temp");
    let inner = file_store(&folder).await;
    inner.put("other/outside", "x".into()).await.expect("put");
    cases::all(Arc::new(Prefixed::new(inner, "vol/".into()))).await;
}

#[tokio::test]
async fn shards_keep_every_promise() {
    let folder = tempfile::tempdir().expect("temp");
    let bucket = format!("{}/shard%d/", folder.path().display());
    let spec = StoreSpec { storage: "file".into(), bucket, shards: 3, ..StoreSpec::default() };
    let store = open_volume_store(&spec, "vol", RetryPolicy::default()).await.expect("folders");
    store.create_bucket().await.expect("create");
    cases::all(store).await;
    for shard in 0..3 {
        let objects = walk(&folder.path().join(format!("shard{shard}")));
        assert!(objects > 10, "shard {shard} has {objects} objects");
    }
}

fn walk(folder: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.map(|path| if path.is_dir() { walk(&path) } else { 1 }).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn encryption_keeps_every_promise() {
    let folder = tempfile::tempdir().expect("temp");
    let bucket = format!("{}/", folder.path().display());
    let key = include_str!("../golden/rsa-pkcs8.pem").to_owned();
    let spec =
        StoreSpec { storage: "file".into(), bucket, encrypt_key: Some(key.into()), ..StoreSpec::default() };
    let store = open_volume_store(&spec, "vol", RetryPolicy::default()).await.expect("a key");
    cases::all_with(store.clone(), 3 + 256 + 12 + 16).await;
    store.put("secret", "canary".into()).await.expect("put");
    let stored = std::fs::read(folder.path().join("vol/secret")).expect("a file");
    assert!(!stored.windows(6).any(|window| window == b"canary"));
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_keeps_every_promise() {
    let server = servers::StoreServer::s3();
    let spec = server.spec("promises");
    let store = open(&spec).await.expect("spec");
    store.create_bucket().await.expect("create");
    store.create_bucket().await.expect("create again");
    cases::all(store).await;
    cases::all(open_volume_store(&spec, "vol", RetryPolicy::default()).await.expect("store")).await;

    let missing = open(&server.spec("missing")).await.expect("spec");
    let error = missing.get("k", None).await.expect_err("no bucket").to_string();
    assert!(error.contains("missing"), "{error}");

    let mut wrong = server.spec("promises");
    wrong.secret_key = Some("wrong".to_owned().into());
    let error = open(&wrong).await.expect("spec").put("k", "v".into()).await.expect_err("refused");
    assert!(matches!(error, juicefs_object::Error::PermissionDenied { .. }), "{error}");
    assert!(
        error.to_string().contains("s3://promises") && error.to_string().contains("access to k "),
        "{error}"
    );
    assert!(!error.to_string().contains("wrong"), "{error}");
}

/// The promises on a bucket, with the volume's layers, and what a missing bucket and a wrong credential are called.
async fn service_keeps_every_promise(server: &servers::StoreServer, wrong: impl FnOnce(&mut StoreSpec)) {
    let spec = server.spec("promises");
    let store = open(&spec).await.expect("spec");
    store.create_bucket().await.expect("it is there");
    // A service may ask to come again (423 while somebody else makes the same directory); the layer does.
    cases::all(Arc::new(Retrying::new(store, RetryPolicy::default()))).await;
    cases::all(open_volume_store(&spec, "vol", RetryPolicy::default()).await.expect("store")).await;
    let mut refused = spec.clone();
    wrong(&mut refused);
    let error = open(&refused).await.expect("spec").put("k", "v".into()).await.expect_err("refused");
    assert!(matches!(error, juicefs_object::Error::PermissionDenied { .. }), "{error}");
    assert!(!error.to_string().contains("canary"), "{error}");
}

async fn a_missing_bucket_is_called_so(server: &servers::StoreServer) {
    let missing = open(&server.spec("missing")).await.expect("spec");
    for error in [
        missing.put("k", "v".into()).await.expect_err("no bucket"),
        missing.create_bucket().await.expect_err("no bucket"),
    ] {
        assert!(matches!(error, juicefs_object::Error::NoBucket { .. }), "{error}");
        assert!(error.to_string().contains("missing"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_keeps_every_promise() {
    let server = servers::StoreServer::azure("promises");
    service_keeps_every_promise(&server, |spec| {
        let text = spec.variables.get(StoreVariables::AZURE_CONNECTION_STRING).expect("its own").clone();
        spec.variables = StoreVariables::collect(|name| {
            let text = text.expose_secret().replace("Eby8", "AAAA");
            (name == StoreVariables::AZURE_CONNECTION_STRING).then(|| text.into())
        });
    })
    .await;
    a_missing_bucket_is_called_so(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn google_keeps_every_promise() {
    let server = servers::StoreServer::google("promises");
    let spec = server.spec("promises");
    cases::all(open(&spec).await.expect("spec")).await;
    cases::all(open_volume_store(&spec, "vol", RetryPolicy::default()).await.expect("store")).await;
    a_missing_bucket_is_called_so(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn webdav_keeps_every_promise() {
    let server = servers::StoreServer::webdav();
    service_keeps_every_promise(&server, |spec| spec.secret_key = Some("canary".to_owned().into())).await;
    let store = open(&server.spec("")).await.expect("spec");
    store.put("folder/inside", "kept".into()).await.expect("put");
    store.delete("folder/").await.expect("nothing to do");
    assert_eq!(store.get("folder/inside", None).await.expect("still there"), "kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn sftp_keeps_every_promise() {
    let server = servers::StoreServer::sftp();
    service_keeps_every_promise(&server, |spec| spec.secret_key = Some("canary".to_owned().into())).await;
    // Hosts' keys are checked where there is a file of them.
    let hosts = tempfile::NamedTempFile::new().expect("temp");
    let mut spec = server.spec("promises");
    spec.variables = StoreVariables::collect(|name| {
        let path = hosts.path().display().to_string();
        (name == StoreVariables::SSH_KNOWN_HOSTS).then(|| path.into())
    });
    let error = open(&spec).await.expect("spec").get("range", None).await.expect_err("an unknown host");
    assert!(matches!(error, juicefs_object::Error::PermissionDenied { .. }), "{error}");
    assert!(error.to_string().contains("SSH_KNOWN_HOSTS"), "{error}");
    spec.variables = StoreVariables::default();
    let store = open(&spec).await.expect("spec");
    assert_eq!(store.get("range", None).await.expect("without the file"), "0123456789");
}

#[tokio::test]
async fn a_body_that_is_not_what_was_stored_is_damage() {
    let bucket = servers::always_answers(
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nx-amz-meta-crc32c: 3780348607\r\nConnection: close\r\n\r\n",
        "hello",
    );
    let secret_key = Some("s".to_owned().into());
    let spec = StoreSpec {
        storage: "s3".into(),
        bucket,
        access_key: "a".into(),
        secret_key,
        ..StoreSpec::default()
    };
    let store = open(&spec).await.expect("spec");
    // The sum is of `hallo`; a range has no sum of its own.
    let error = store.get("k", None).await.expect_err("damaged");
    assert!(matches!(error, juicefs_object::Error::Damaged { .. }) && error.may_retry(), "{error}");
    assert_eq!(store.get("k", Some(0..5)).await.expect("a range"), "hello");
}

#[tokio::test]
async fn a_request_without_an_answer_says_why_in_one_sentence() {
    let refused = format!("http://127.0.0.1:{}", servers::free_port());
    let plain = servers::always_answers("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "");
    let plain = plain.replace("http://", "https://").replace("/b", "");
    let closes = servers::always_answers("", "");
    for (endpoint, why, what_next) in [
        (refused.as_str(), "connection refused", "is the server up"),
        (
            "http://no-such-host.invalid",
            "the host name of http://no-such-host.invalid is not found",
            "address right",
        ),
        (plain.as_str(), "no TLS with the server", "use an http:// address"),
        (closes.trim_end_matches("/b"), "the connection was closed before the answer", "is the server up"),
    ] {
        let spec = StoreSpec {
            storage: "s3".into(),
            bucket: format!("{endpoint}/bucket"),
            access_key: "a".into(),
            secret_key: Some("canary".to_owned().into()),
            ..StoreSpec::default()
        };
        let store = open(&spec).await.expect("spec");
        let error = store.get("key", None).await.expect_err(endpoint).to_string();
        for part in [&format!("s3://bucket at {endpoint}"), why, what_next] {
            assert!(error.contains(part), "{part} in {error}");
        }
        let listed: Vec<_> = futures::StreamExt::collect(store.list("", "")).await;
        let [Err(listed)] = &listed[..] else { panic!("{endpoint}: {listed:?}") };
        for error in
            [error, listed.to_string(), store.put("key", "x".into()).await.expect_err(endpoint).to_string()]
        {
            for word in ["{", "}", "Error", "\n", "canary", "hyper", "Kind"] {
                assert!(!error.contains(word), "{word} in {error}");
            }
        }
    }
}

#[tokio::test]
async fn a_type_that_the_peer_has_is_not_called_unknown() {
    for (storage, word) in [("oss", "not supported yet: use `s3` with"), ("nonsense", "unknown storage type")]
    {
        let spec = StoreSpec { storage: storage.into(), bucket: "x".into(), ..StoreSpec::default() };
        let error = open(&spec).await.expect_err("refused").to_string();
        assert!(error.contains(word) && error.contains(storage), "{error}");
    }
}
