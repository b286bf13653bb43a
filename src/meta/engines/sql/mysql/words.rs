//! MySQL's words. A flush is one request of many statements with their values written out; the server stops at the first
//! that fails. Sessions take `||` and double quotes as the standard has them, so that most statements stay as they are.

use std::fmt::Write;

use mysql_async::ServerError;

use crate::engines::sql::schema::{Kind, Wording};
use crate::engines::sql::server::{Command, Demand, Dialect, Refusal};
use crate::engines::sql::statement::Value;
use crate::error::Error;

pub(super) static DIALECT: Dialect = Dialect {
    name: "mysql",
    wording: Wording { quote: '`', type_of, serial_key: " PRIMARY KEY AUTO_INCREMENT" },
    side_name: "VARCHAR(255)",
    side_value: "LONGBLOB",
    list_tables: "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()",
    list_indexes: "SELECT DISTINCT index_name FROM information_schema.statistics WHERE table_schema = DATABASE()",
    list_columns: "SELECT column_name FROM information_schema.columns \
                   WHERE table_schema = DATABASE() AND table_name = ?1",
    // A BLOB holds 2730; the peer compacts at 2500.
    slices_max: 2730,
    // Transactions are given a minute.
    horizon: "SELECT CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED) - 60000, \
              CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)",
    horizon_is_time: true,
    skip_acls: None,
};

fn type_of(kind: Kind) -> String {
    match kind {
        Kind::Serial64 | Kind::Int64 => "BIGINT".to_owned(),
        Kind::Serial32 | Kind::Int32 => "INT".to_owned(),
        Kind::Name => "VARCHAR(255)".to_owned(),
        Kind::Text => "TEXT".to_owned(),
        Kind::VarBytes(count) => format!("VARBINARY({count})"),
        Kind::Bytes => "BLOB".to_owned(),
    }
}

/// What a statement of a request is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Changes rows, or begins and ends.
    Change,
    /// Returns rows, which answer its command.
    Select,
    /// Fails when its command's demand is not met; its one row says nothing.
    Check,
}

const CHECK_CHANGED: &str = "SELECT EXP(IF(ROW_COUNT() = 1, 0, 710))";
const CHECK_FOUND: &str = "SELECT EXP(IF(FOUND_ROWS() = 1, 0, 710))";
const CHECK_NONE: &str = "SELECT EXP(IF(FOUND_ROWS() = 0, 0, 710))";

/// The statements of a command. A demand that is not met overflows, which ends the request.
pub(super) fn statements(command: &Command, prefix: &str) -> Vec<(Part, String)> {
    let written = &command.statement.text[..];
    let (main, returned) = match written.split_once(" RETURNING ") {
        Some((main, column)) => (main, Some(column)),
        None => (written, None),
    };
    let part = if main.starts_with("SELECT") { Part::Select } else { Part::Change };
    let mut statements = vec![(part, filled(&translated(main), &command.statement.values, prefix))];
    match (command.demand, part) {
        (Demand::Any, _) => {}
        (Demand::One, Part::Select) => statements.push((Part::Check, CHECK_FOUND.to_owned())),
        (Demand::One, _) => statements.push((Part::Check, CHECK_CHANGED.to_owned())),
        (Demand::None, _) => statements.push((Part::Check, CHECK_NONE.to_owned())),
    }
    if let Some(column) = returned {
        // The rows that return something are known by their first two values.
        let from = if main.contains("jfs_chunk_ref") {
            "FROM jfs_chunk_ref WHERE chunkid = ?1 AND size = ?2"
        } else {
            "FROM jfs_chunk WHERE inode = ?1 AND indx = ?2"
        };
        let select = format!("SELECT {column} {from}");
        statements.push((Part::Select, filled(&select, &command.statement.values, prefix)));
    }
    statements
}

fn translated(written: &str) -> String {
    let mut text = written
        .replace(" AS BLOB)", " AS BINARY)")
        .replace(" AS INTEGER)", " AS SIGNED)")
        .replace(" / 24", " DIV 24")
        .replace(" FOR NO KEY UPDATE", " FOR UPDATE")
        .replace(" FOR KEY SHARE", " LOCK IN SHARE MODE")
        .replace(" FOR SHARE", " LOCK IN SHARE MODE");
    if let Some((insert, rest)) = text.split_once(" ON CONFLICT (") {
        let (columns, action) = rest.split_once(") DO ").unwrap_or((rest, "NOTHING"));
        let first = columns.split(',').next().unwrap_or(columns);
        text = match action.strip_prefix("UPDATE SET ") {
            Some(set) => format!("{insert} ON DUPLICATE KEY UPDATE {}", excluded(set)),
            None => format!("{insert} ON DUPLICATE KEY UPDATE {first} = {first}"),
        };
    }
    // Names of extended attributes are bytes, the column's collation takes some letters for the same.
    if text.contains("jfs_xattr") {
        text =
            text.replace(" name = ?2", " name = ?2 AND CONVERT(name USING utf8mb4) = ?2 COLLATE utf8mb4_bin");
        text = text.replace(
            "UPDATE value = VALUES(value)",
            "UPDATE value = IF(CONVERT(name USING utf8mb4) = CONVERT(VALUES(name) USING utf8mb4) \
             COLLATE utf8mb4_bin, VALUES(value), NULL)",
        );
    }
    text
}

/// `excluded.column` in MySQL's words.
fn excluded(set: &str) -> String {
    let mut parts = set.split("excluded.");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|byte: char| !byte.is_ascii_alphanumeric() && byte != '_').unwrap_or(part.len());
        let _ = write!(text, "VALUES({}){}", &part[..end], &part[end..]);
    }
    text
}

/// The text with its values in it and the volume's prefix on its tables.
fn filled(text: &str, values: &[Value], prefix: &str) -> String {
    let text = text.replace("jfs_", prefix);
    let mut parts = text.split('?');
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.len() - part.trim_start_matches(|byte: char| byte.is_ascii_digit()).len();
        let value =
            part[..digits].parse::<usize>().ok().and_then(|number| values.get(number.checked_sub(1)?));
        match value {
            Some(Value::Int(number)) => {
                let _ = write!(filled, "{number}");
            }
            // As the peer reads it back.
            Some(Value::Small(number)) => {
                let _ = write!(filled, "{}", number.cast_signed());
            }
            Some(Value::Text(text)) => {
                filled.push_str("_utf8mb4 ");
                hex(&mut filled, text);
            }
            Some(Value::Bytes(bytes)) => hex(&mut filled, bytes),
            None => filled.push('?'),
        }
        filled.push_str(&part[digits..]);
    }
    filled
}

fn hex(text: &mut String, bytes: &[u8]) {
    text.reserve(bytes.len() * 2 + 3);
    text.push_str("x'");
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text.push('\'');
}

/// What an error of the server means; `place` is host and database.
pub(super) fn refusal(error: &ServerError, place: &str) -> Refusal {
    let said = format!("MySQL at {place}: {} ({})", error.message, error.code);
    let other = match error.code {
        // A check, a deadlock, a lock that took too long, a row that changed.
        1690 | 1213 | 1205 | 1020 => return Refusal::Conflict,
        1062 | 1050 | 1060 | 1061 => return Refusal::Duplicate,
        1146 => return Refusal::NoTable(error.message.clone()),
        1044 | 1142 | 1143 | 1227 => {
            return Refusal::NotAllowed(format!("{said}: grant the user all rights on the database"));
        }
        1290 | 1836 => {
            Error::Replica(format!("{said}: point the address at the primary, or mount with --read-only"))
        }
        // Text that its column can't hold; a value that is too long; names that differ in case only.
        1300 | 1366 => Error::Errno(juicefs_base::Errno::EINVAL),
        1406 => Error::Errno(juicefs_base::Errno::ENOSPC),
        1048 => Error::Errno(juicefs_base::Errno::EEXIST),
        1021 | 1041 | 1114 => Error::Full(said),
        1040 | 1203 | 1226 => Error::Unavailable(format!(
            "{said}: raise its max_connections, or lower max_open_conns in the address"
        )),
        1045 | 1698 => Error::Denied(said),
        1049 => Error::Engine(format!("{said}: create it first, with CREATE DATABASE")),
        1053 | 1317 | 1927 | 1969 | 3024 | 4031 => Error::Unavailable(said),
        _ => Error::Engine(said),
    };
    Refusal::Other(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engines::sql::statement::statement;

    fn texts(command: &Command) -> Vec<String> {
        statements(command, "jfs_a_").into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn values_are_written_out() {
        let command = Command::any(statement!(
            "SELECT 1 FROM jfs_node WHERE a = ?1 AND b = ?2 AND c = ?3 AND d = ?1 FOR KEY SHARE",
            u32::MAX,
            "it's",
            &b"\0?1"[..]
        ));
        assert_eq!(
            texts(&command),
            [
                "SELECT 1 FROM jfs_a_node WHERE a = -1 AND b = _utf8mb4 x'69742773' AND c = x'003f31' AND d = -1 LOCK IN SHARE MODE"
            ]
        );
    }

    #[test]
    fn upserts_and_returned_rows_are_said_in_its_words() {
        let command = Command::one(statement!(
            "INSERT INTO jfs_chunk (inode, indx, slices) VALUES (?1, ?2, ?3) ON CONFLICT (inode, indx) \
             DO UPDATE SET slices = CAST(jfs_chunk.slices || excluded.slices AS BLOB) RETURNING octet_length(slices)",
            7_u64,
            0_u32,
            &b"x"[..]
        ));
        assert_eq!(
            texts(&command),
            [
                "INSERT INTO jfs_a_chunk (inode, indx, slices) VALUES (7, 0, x'78') ON DUPLICATE KEY UPDATE \
                 slices = CAST(jfs_a_chunk.slices || VALUES(slices) AS BINARY)",
                "SELECT EXP(IF(ROW_COUNT() = 1, 0, 710))",
                "SELECT octet_length(slices) FROM jfs_a_chunk WHERE inode = 7 AND indx = 0"
            ]
        );
        let command = Command::none(statement!("SELECT 1 FROM jfs_edge WHERE parent = ?1", 1_u64));
        assert_eq!(texts(&command)[1], CHECK_NONE);
    }
}
