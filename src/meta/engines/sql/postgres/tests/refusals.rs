//! What the server refuses is said in words that help, without the password.

use std::sync::Arc;

use super::server;
use crate::engines::sql::server::tests::{append, length, volume};
use crate::error::Error;
use crate::port::{Change, Engine};

async fn open(address: &str) -> Arc<dyn Engine> {
    super::super::PostgresEngine::open(&server::url(address)).await.expect("opens")
}

async fn refused(address: &str) -> String {
    match super::super::PostgresEngine::open(&server::url(address)).await {
        Ok(_) => panic!("{address} opens"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_that_lead_nowhere_are_refused_in_words() {
    let port = server::port();
    let free = server::free_port();
    for (address, words) in [
        (format!("postgres://postgres:sekret@127.0.0.1:{free}/postgres"), "is it running"),
        (format!("postgres://postgres:sekret@127.0.0.1:{port}/nothere?sslmode=disable"), "createdb"),
        (format!("postgres://nobody:sekret@127.0.0.1:{port}/postgres?sslmode=disable"), "nobody"),
        (format!("postgres://postgres:sekret@127.0.0.1:{port}/postgres?sslmode=require"), "sslmode"),
        (format!("postgres://postgres:sekret@127.0.0.1:{port}/postgres?sslmode=verify-full"), "sslrootcert"),
        (format!("postgres://postgres:sekret@127.0.0.1:{port}/postgres?sslmode=maybe"), "verify-full"),
        (format!("postgres://postgres:sekret@127.0.0.1:{port}/postgres?max_open_conns=x"), "max_open_conns"),
    ] {
        let said = refused(&address).await;
        assert!(said.contains(words) && !said.contains("sekret"), "{address}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_without_rights_reads_and_is_told() {
    let schema = server::schema().await;
    let engine = open(&server::address(server::port(), &schema)).await;
    engine.create_volume(&volume()).await.expect("an empty schema");
    let user = format!("reader_{schema}");
    let grants = format!(
        "CREATE ROLE {user} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {user}; \
         GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {user}"
    );
    server::raw().await.batch_execute(&grants).await.expect("grants");
    let address = server::address(server::port(), &schema).replace("postgres@", &format!("{user}@"));
    let reader = open(&address).await;
    assert_eq!(length(&*reader).await, 0);
    let refused = append(&*reader, 1).await;
    assert!(matches!(&refused, Err(Error::Engine(why)) if why.contains("grant")), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_stay_below_the_bound_of_the_address() {
    let schema = server::schema().await;
    let user = format!("many_{schema}");
    let raw = server::raw().await;
    raw.batch_execute(&format!("CREATE ROLE {user} LOGIN SUPERUSER")).await.expect("a role");
    let address = server::address(server::port(), &schema).replace("postgres@", &format!("{user}@"));
    let address = format!("{address}&max_open_conns=3");
    let engine = open(&address).await;
    engine.create_volume(&volume()).await.expect("an empty schema");
    let tasks: Vec<_> = (0..20)
        .map(|sid| {
            let engine = engine.clone();
            tokio::spawn(async move {
                let put = [Change::PutSession { sid, expires_at: 1, info: bytes::Bytes::new() }];
                engine.begin(0).await.expect("begins").commit(&put).await.expect("commits");
                engine.setting().await.expect("reads");
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("ran");
    }
    let count = "SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND application_name = 'juicefs'";
    let sessions = raw.query_one(count, &[&user]).await.expect("counts").get::<_, i64>(0);
    assert!((1..=3).contains(&sessions), "{sessions} sessions");
    drop(engine);
}
