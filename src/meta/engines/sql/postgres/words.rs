//! PostgreSQL's words: types of columns, placeholders, demands on rows, and what its errors mean.

use tokio_postgres::error::{DbError, SqlState};

use crate::engines::sql::schema::{Kind, Wording};
use crate::engines::sql::server::{Demand, Dialect, Refusal};
use crate::error::Error;

pub(super) static DIALECT: Dialect = Dialect {
    name: "postgres",
    wording: Wording { quote: '"', type_of, serial_key: " PRIMARY KEY" },
    side_name: "VARCHAR(255)",
    side_value: "BYTEA",
    list_tables: "SELECT table_name::text FROM information_schema.tables WHERE table_schema = current_schema()",
    list_indexes: "SELECT indexname::text FROM pg_indexes WHERE schemaname = current_schema()",
    list_columns: "SELECT column_name::text FROM information_schema.columns \
                   WHERE table_schema = current_schema() AND table_name = ?1",
    slices_max: u32::MAX,
    horizon: "SELECT pg_snapshot_xmin(s)::text::bigint, pg_snapshot_xmax(s)::text::bigint \
              FROM pg_current_snapshot() s",
    horizon_is_time: false,
    skip_acls: Some("SELECT setval(pg_get_serial_sequence('jfs_acl', 'id'), ?1)"),
};

fn type_of(kind: Kind) -> String {
    let name = match kind {
        Kind::Serial64 => "BIGSERIAL",
        Kind::Serial32 => "SERIAL",
        Kind::Int64 => "BIGINT",
        Kind::Int32 => "INTEGER",
        Kind::Name => "VARCHAR(255)",
        Kind::Text => "TEXT",
        Kind::VarBytes(_) | Kind::Bytes => "BYTEA",
    };
    name.to_owned()
}

/// A statement as the server takes it. One whose demand is not met divides by zero, which ends its transaction.
pub(super) fn text(written: &str, prefix: &str, demand: Demand) -> String {
    let mut text = String::with_capacity(written.len() + 96);
    let is_select = written.starts_with("SELECT");
    match demand {
        Demand::Any => {}
        Demand::One | Demand::None => text.push_str("WITH hit AS ("),
    }
    let own = if prefix == "jfs_" { written.to_owned() } else { written.replace("jfs_", prefix) };
    text.push_str(&own.replace('?', "$").replace(" AS BLOB)", " AS BYTEA)"));
    match demand {
        Demand::Any => {}
        Demand::One if is_select => text.push_str(") SELECT 1 / count(*)::int FROM hit"),
        Demand::One => text.push_str(" RETURNING 1) SELECT 1 / count(*)::int FROM hit"),
        Demand::None => text.push_str(") SELECT 1 / (1 - least(count(*), 1))::int FROM hit"),
    }
    text
}

/// What an error of the server means; `place` is host and database.
pub(super) fn refusal(error: &DbError, place: &str) -> Refusal {
    let code = error.code();
    let said = format!("PostgreSQL at {place}: {} ({})", error.message(), code.code());
    let other = match code.code() {
        "22012" | "40001" | "40P01" | "55P03" | "25P02" => return Refusal::Conflict,
        "23505" | "42P07" | "42701" | "42710" => return Refusal::Duplicate,
        "42P01" | "3F000" => return Refusal::NoTable(error.message().to_owned()),
        "42501" => {
            return Refusal::NotAllowed(format!(
                "{said}: grant the user all rights on the schema and its tables"
            ));
        }
        "25006" => {
            Error::Replica(format!("{said}: point the address at the primary, or mount with --read-only"))
        }
        "22021" | "22P05" => Error::Errno(juicefs_base::Errno::EINVAL),
        "53100" | "53200" | "54000" => Error::Full(said),
        "53300" => Error::Unavailable(format!(
            "{said}: raise its max_connections, or lower max_open_conns in the address"
        )),
        "28P01" | "28000" => Error::Denied(said),
        "3D000" => Error::Engine(format!("{said}: create it first, with `createdb`")),
        // Ended by an operator, restarting, starting.
        "57014" | "57P01" | "57P02" | "57P03" | "57P05" | "25P03" => Error::Unavailable(said),
        // A pooler has given the connection another server, or a table was made anew.
        "26000" | "0A000" => Error::Unavailable(said),
        other if other.starts_with("08") => Error::Unavailable(said),
        _ => Error::Engine(said),
    };
    Refusal::Other(other)
}

/// Whether the connection can't be used after this error although it is still there.
pub(super) fn spoils(error: &DbError) -> bool {
    matches!(error.code().code(), "26000" | "0A000") || *error.code() == SqlState::ADMIN_SHUTDOWN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demands_become_divisions() {
        let written = "DELETE FROM jfs_node WHERE inode = ?1";
        assert_eq!(text(written, "jfs_", Demand::Any), "DELETE FROM jfs_node WHERE inode = $1");
        assert_eq!(
            text(written, "jfs_a_", Demand::One),
            "WITH hit AS (DELETE FROM jfs_a_node WHERE inode = $1 RETURNING 1) SELECT 1 / count(*)::int FROM hit"
        );
        assert_eq!(
            text("SELECT 1 FROM jfs_node", "jfs_", Demand::None),
            "WITH hit AS (SELECT 1 FROM jfs_node) SELECT 1 / (1 - least(count(*), 1))::int FROM hit"
        );
    }
}
