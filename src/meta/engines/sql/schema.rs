//! The tables of a volume, described once. Each database words them as the peer does there, letter by letter where
//! that can be seen: the peer's schema check alters whatever looks different.

/// A column's type in the format's words (format 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Numbers the rows, 64 bits; the primary key.
    Serial64,
    /// The same with 32 bits.
    Serial32,
    Int64,
    Int32,
    /// Text of up to 255 characters.
    Name,
    Text,
    /// Up to so many bytes, where the database says how many.
    VarBytes(u16),
    Bytes,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) is_null: bool,
    /// 0 where nothing is given.
    pub(super) has_default: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    /// Without the volume's prefix.
    pub(super) name: &'static str,
    pub(super) columns: &'static [Column],
    pub(super) primary: &'static [&'static str],
    /// Short name, columns, whether it is unique.
    pub(super) indexes: &'static [(&'static str, &'static [&'static str], bool)],
}

const fn col(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, is_null: false, has_default: false }
}

const fn null(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, is_null: true, has_default: false }
}

const fn zero(name: &'static str) -> Column {
    Column { name, kind: Int32, is_null: false, has_default: true }
}

const fn table(
    name: &'static str,
    primary: &'static [&'static str],
    columns: &'static [Column],
    indexes: &'static [(&'static str, &'static [&'static str], bool)],
) -> Table {
    Table { name, columns, primary, indexes }
}

use Kind::{Bytes, Int32, Int64, Name, Serial32, Serial64, Text, VarBytes};

/// In the peer's order.
pub(super) const TABLES: &[Table] = &[
    table("setting", &["name"], &[col("name", Name), col("value", Text)], &[]),
    table("counter", &["name"], &[col("name", Name), col("value", Int64)], &[]),
    table(
        "edge",
        &["id"],
        &[
            col("id", Serial64),
            col("parent", Int64),
            col("name", VarBytes(255)),
            col("inode", Int64),
            col("type", Int32),
        ],
        &[("edge", &["parent", "name"], true), ("inode", &["inode"], false)],
    ),
    table(
        "node",
        &["inode"],
        &[
            col("inode", Int64),
            col("type", Int32),
            col("flags", Int32),
            col("mode", Int32),
            col("uid", Int32),
            col("gid", Int32),
            col("atime", Int64),
            col("mtime", Int64),
            col("ctime", Int64),
            zero("atimensec"),
            zero("mtimensec"),
            zero("ctimensec"),
            col("nlink", Int32),
            col("length", Int64),
            null("rdev", Int32),
            null("parent", Int64),
            null("access_acl_id", Int32),
            null("default_acl_id", Int32),
            null("tier_id", Int32),
        ],
        &[],
    ),
    table("symlink", &["inode"], &[col("inode", Int64), col("target", VarBytes(4096))], &[]),
    table(
        "xattr",
        &["id"],
        &[col("id", Serial64), col("inode", Int64), col("name", Name), col("value", Bytes)],
        &[("name", &["inode", "name"], true)],
    ),
    table(
        "chunk",
        &["id"],
        &[col("id", Serial64), col("inode", Int64), col("indx", Int32), col("slices", Bytes)],
        &[("chunk", &["inode", "indx"], true)],
    ),
    table(
        "chunk_ref",
        &["chunkid"],
        &[col("chunkid", Int64), col("size", Int32), col("refs", Int32)],
        &[("refs", &["refs"], false)],
    ),
    table(
        "delslices",
        &["chunkid"],
        &[col("chunkid", Int64), col("deleted", Int64), col("slices", Bytes)],
        &[],
    ),
    table("session2", &["sid"], &[col("sid", Int64), col("expire", Int64), null("info", Bytes)], &[]),
    table(
        "sustained",
        &["id"],
        &[col("id", Serial64), col("sid", Int64), col("inode", Int64)],
        &[("sustained", &["sid", "inode"], true)],
    ),
    table("delfile", &["inode"], &[col("inode", Int64), col("length", Int64), col("expire", Int64)], &[]),
    table(
        "flock",
        &["id"],
        &[
            col("id", Serial64),
            col("inode", Int64),
            col("sid", Int64),
            col("owner", Int64),
            col("ltype", Int32),
        ],
        &[("flock", &["inode", "sid", "owner"], true)],
    ),
    table(
        "plock",
        &["id"],
        &[
            col("id", Serial64),
            col("inode", Int64),
            col("sid", Int64),
            col("owner", Int64),
            col("records", Bytes),
        ],
        &[("plock", &["inode", "sid", "owner"], true)],
    ),
    table(
        "dir_quota",
        &["inode"],
        &[
            col("inode", Int64),
            col("max_space", Int64),
            col("max_inodes", Int64),
            col("used_space", Int64),
            col("used_inodes", Int64),
        ],
        &[],
    ),
    table(
        "user_group_quota",
        &["qtype", "qkey"],
        &[
            col("qtype", Int32),
            col("qkey", Int64),
            col("max_space", Int64),
            col("max_inodes", Int64),
            col("used_space", Int64),
            col("used_inodes", Int64),
        ],
        &[],
    ),
    table(
        "dir_stats",
        &["inode"],
        &[
            col("inode", Int64),
            col("data_length", Int64),
            col("used_space", Int64),
            col("used_inodes", Int64),
        ],
        &[],
    ),
    table("detached_node", &["inode"], &[col("inode", Int64), col("added", Int64)], &[]),
    table(
        "acl",
        &["id"],
        &[
            col("id", Serial32),
            null("owner", Int32),
            null("group", Int32),
            null("mask", Int32),
            null("other", Int32),
            null("named_users", Bytes),
            null("named_groups", Bytes),
        ],
        &[],
    ),
    table("delegation_token", &["id"], &[col("id", Serial32), null("token", Bytes)], &[]),
    table("change_log", &["id"], &[col("id", Serial64), col("entry", Text)], &[]),
];

/// Columns of `node` that early releases did not have.
pub(super) const LATE_COLUMNS: &[&str] =
    &["atimensec", "mtimensec", "ctimensec", "access_acl_id", "default_acl_id", "tier_id"];

/// How a database words a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wording {
    /// Around names.
    pub(super) quote: char,
    pub(super) type_of: fn(Kind) -> String,
    /// Between type and NULL of a column that numbers rows and is the whole primary key.
    pub(super) serial_key: &'static str,
}

impl Wording {
    fn quoted(&self, name: &str) -> String {
        format!("{0}{name}{0}", self.quote)
    }

    pub(super) fn column(&self, table: &Table, column: &Column) -> String {
        let mut text = format!("{} {}", self.quoted(column.name), (self.type_of)(column.kind));
        if table.primary == [column.name] {
            text += match column.kind {
                Serial64 | Serial32 => self.serial_key,
                _ => " PRIMARY KEY",
            };
        }
        if column.has_default {
            text += " DEFAULT 0";
        }
        text + if column.is_null { " NULL" } else { " NOT NULL" }
    }

    /// `prefix` is the volume's, `jfs_` or `jfs_P_`.
    pub(super) fn table(&self, prefix: &str, table: &Table) -> String {
        let mut columns: Vec<String> =
            table.columns.iter().map(|column| self.column(table, column)).collect();
        if table.primary.len() > 1 {
            columns.push(format!("PRIMARY KEY ( {} )", self.list(table.primary)));
        }
        format!("CREATE TABLE {} ({})", self.quoted(&format!("{prefix}{}", table.name)), columns.join(", "))
    }

    fn list(&self, names: &[&str]) -> String {
        names.iter().map(|name| self.quoted(name)).collect::<Vec<_>>().join(",")
    }

    /// Names and statements of a table's indexes.
    pub(super) fn indexes(&self, prefix: &str, table: &Table) -> Vec<(String, String)> {
        let index = |(short, columns, is_unique): &(&str, &[&str], bool)| {
            let (word, kind) = if *is_unique { ("UNIQUE INDEX", "UQE") } else { ("INDEX", "IDX") };
            let name = format!("{kind}_{prefix}{}_{short}", table.name);
            let on = self.quoted(&format!("{prefix}{}", table.name));
            let text = format!("CREATE {word} {} ON {on} ({})", self.quoted(&name), self.list(columns));
            (name, text)
        };
        table.indexes.iter().map(index).collect()
    }
}
