//! `cargo xtask audit META-URL`: reads a volume's raw records without `juicefs-meta` and checks them against
//! each other. The judge beside the peer's `fsck`: it shares no code with what it judges.
//!
//! The volume should be at rest: statistics are written a second late.

#[cfg(test)]
mod by_hand;
mod checks;
mod etcd;
mod redis;
mod snapshot;
mod sql;

#[cfg(test)]
mod tests;

use anyhow::{Context, bail};

/// Findings shown at most.
const SHOWN_MAX: usize = 200;

/// Prints every finding; an error when there is one.
#[expect(clippy::print_stdout, reason = "the report of a command")]
pub fn run(arguments: &[String]) -> anyhow::Result<()> {
    let [url] = arguments else {
        bail!(
            "usage: cargo xtask audit META-URL (sqlite3://PATH, redis://HOST:PORT/DB, etcd://HOST:PORT/PREFIX, postgres://USER@HOST:PORT/DB or mysql://USER@(HOST:PORT)/DB)"
        )
    };
    let snapshot = if let Some(path) = url.strip_prefix("sqlite3://") {
        sql::read_sqlite(path.split('?').next().unwrap_or(path))
    } else if url.starts_with("redis://") {
        redis::read(url)
    } else if let Some(address) = url.strip_prefix("etcd://") {
        etcd::read(address)
    } else if url.starts_with("postgres://") {
        sql::read_postgres(url)
    } else if url.starts_with("mysql://") {
        sql::read_mysql(url)
    } else {
        bail!("audit reads sqlite3://, redis://, etcd://, postgres:// and mysql:// only, not {url}")
    };
    let snapshot = snapshot.with_context(|| format!("reading {url}"))?;
    let findings = checks::all(&snapshot);
    for finding in findings.iter().take(SHOWN_MAX) {
        println!("{finding}");
    }
    println!(
        "audit: {} nodes, {} entries, {} chunks, {} findings",
        snapshot.nodes.len(),
        snapshot.edges.len(),
        snapshot.chunks.len(),
        findings.len()
    );
    if findings.is_empty() { Ok(()) } else { bail!("{} records disagree", findings.len()) }
}
