//! Rows that an attempt holds, checked and locked inside its commit. A row that was there is found by all that was
//! read of it and locked; of one that was not there, nothing may be found.
//!
//! Locks come in one order for everybody: nodes by number, then the rest. What must be absent is looked for when the
//! locks have made the others wait. Touched directories are locked where they are changed, behind the names in them, as
//! the peer does: the other way round both would wait for each other.

use super::driver::Command;
use crate::engines::packed;
use crate::engines::sql::quota;
use crate::engines::sql::rows::split_time;
use crate::engines::sql::statement::{Statement, Value, statement};
use crate::lock::LockKind;
use crate::port::{Change, Get, Got, Hold};
use crate::types::{Attr, Edge, Ino, Kind};

/// The commands that keep what was held true until the commit.
pub(super) struct Holds {
    /// Before the changes.
    pub(super) before: Vec<Command>,
    /// Each before the change of its node, or behind all changes.
    pub(super) touches: Vec<(Ino, Command)>,
}

impl Holds {
    pub(super) fn new(held: &[(Get, Got)], changes: &[Change]) -> Self {
        let mut checks = Checks::default();
        for (get, got) in held {
            checks.add(get, got, changes);
        }
        checks.locks.sort_by_key(|(rank, _)| *rank);
        // Two reads of one row in one attempt need one check.
        checks.locks.dedup_by(|(_, one), (_, other)| one == other);
        checks.touches.sort_by_key(|(ino, _)| *ino);
        checks.touches.dedup();
        let before = checks.locks.into_iter().map(|(_, command)| command).chain(checks.absences);
        Self { before: before.collect(), touches: checks.touches }
    }
}

#[derive(Default)]
struct Checks {
    /// By table and number.
    locks: Vec<((u8, u64), Command)>,
    absences: Vec<Command>,
    touches: Vec<(Ino, Command)>,
}

impl Checks {
    fn lock(&mut self, rank: u8, number: u64, statement: Statement) {
        self.locks.push(((rank, number), Command::one(statement)));
    }

    fn absent(&mut self, statement: Statement) {
        self.absences.push(Command::none(statement));
    }

    /// The node that stands for what is not there yet, if there is one.
    fn gate(&mut self, ino: Ino) {
        let lock = statement!("SELECT 1 FROM jfs_node WHERE inode = ?1 FOR UPDATE", ino);
        self.locks.push(((0, ino.0), Command::any(lock)));
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each question")]
    fn add(&mut self, get: &Get, got: &Got, changes: &[Change]) {
        match (get, got) {
            (Get::Node { ino, hold: hold @ Hold::Touch }, Got::Node(Some(was))) if was.kind == Kind::Directory => {
                self.touches.push((*ino, Command::one(same_node(*ino, was, *hold, changes))));
            }
            (Get::Node { ino, hold }, Got::Node(Some(was))) => {
                self.lock(0, ino.0, same_node(*ino, was, *hold, changes));
            }
            (Get::Node { ino, .. }, _) => {
                self.absent(statement!("SELECT 1 FROM jfs_node WHERE inode = ?1", *ino));
            }
            (Get::Edge { parent, name, .. }, Got::Edge(Some(Edge { ino, kind }))) => self.lock(
                1,
                parent.0,
                statement!(
                    "SELECT 1 FROM jfs_edge WHERE parent = ?1 AND name = ?2 AND inode = ?3 AND type = ?4 FOR UPDATE",
                    *parent,
                    name,
                    *ino,
                    kind.code()
                ),
            ),
            (Get::Edge { parent, name, .. }, _) => {
                // The unique index speaks for a name that is made now.
                let is_made = changes.iter().any(|change| {
                    matches!(change, Change::InsertEdge { parent: at, name: made, .. } if at == parent && made == name)
                });
                if !is_made {
                    self.absent(statement!("SELECT 1 FROM jfs_edge WHERE parent = ?1 AND name = ?2", *parent, name));
                }
            }
            (Get::HasChildren { ino }, got) => {
                let child = statement!("SELECT 1 FROM jfs_edge WHERE parent = ?1 LIMIT 1", *ino);
                if *got == Got::Flag(true) {
                    self.absences.push(Command::one(child));
                } else {
                    self.absent(child);
                }
            }
            (Get::Xattr { ino, name, .. }, Got::Bytes(was)) => {
                let name = Value::Text(name.to_vec());
                match was {
                    Some(value) => self.lock(
                        2,
                        ino.0,
                        statement!(
                            "SELECT 1 FROM jfs_xattr WHERE inode = ?1 AND name = ?2 AND value = ?3 FOR UPDATE",
                            *ino,
                            name,
                            &value[..]
                        ),
                    ),
                    None => {
                        self.gate(*ino);
                        self.absent(statement!("SELECT 1 FROM jfs_xattr WHERE inode = ?1 AND name = ?2", *ino, name));
                    }
                }
            }
            (Get::Chunk { ino, indx, .. }, Got::Slices(was)) if was.is_empty() => self.absent(statement!(
                "SELECT 1 FROM jfs_chunk WHERE inode = ?1 AND indx = ?2 AND octet_length(slices) > 0",
                *ino,
                *indx
            )),
            (Get::Chunk { ino, indx, .. }, Got::Slices(was)) => self.lock(
                3,
                ino.0,
                statement!(
                    "SELECT 1 FROM jfs_chunk WHERE inode = ?1 AND indx = ?2 AND slices = ?3 FOR UPDATE",
                    *ino,
                    *indx,
                    packed::encode_slices(was)
                ),
            ),
            // Whoever makes or removes a chunk changes the node, too, which the asker holds.
            (Get::Chunks { ino, first, last }, Got::Indexes(was)) => self.absent(statement!(
                "SELECT 1 FROM (SELECT count(*) AS n, coalesce(sum(indx), 0) AS s FROM jfs_chunk \
                 WHERE inode = ?1 AND indx BETWEEN ?2 AND ?3) c WHERE c.n <> ?4 OR c.s <> ?5",
                *ino,
                u64::from(*first),
                u64::from(*last),
                was.len() as u64,
                was.iter().map(|indx| u64::from(*indx)).sum::<u64>()
            )),
            (Get::Session { sid }, Got::Session(Some(row))) => {
                let text = if row.info.is_empty() {
                    "SELECT 1 FROM jfs_session2 WHERE sid = ?1 AND expire = ?2 \
                     AND coalesce(octet_length(info), 0) = 0 FOR UPDATE"
                } else {
                    "SELECT 1 FROM jfs_session2 WHERE sid = ?1 AND expire = ?2 AND info = ?3 FOR UPDATE"
                };
                let mut statement = statement!(text, *sid, row.expires_at);
                if !row.info.is_empty() {
                    statement.values.push(Value::from(&row.info[..]));
                }
                self.lock(4, *sid, statement);
            }
            (Get::Session { sid }, _) => {
                self.absent(statement!("SELECT 1 FROM jfs_session2 WHERE sid = ?1", *sid));
            }
            (Get::DeletedFile { ino, length }, Got::Flag(true)) => self.lock(
                5,
                ino.0,
                statement!("SELECT 1 FROM jfs_delfile WHERE inode = ?1 AND length = ?2 FOR UPDATE", *ino, *length),
            ),
            (Get::DeletedFile { ino, length }, _) => {
                self.absent(statement!("SELECT 1 FROM jfs_delfile WHERE inode = ?1 AND length = ?2", *ino, *length));
            }
            (Get::Sustained { sid, ino }, Got::Flag(true)) => self.lock(
                6,
                ino.0,
                statement!("SELECT 1 FROM jfs_sustained WHERE sid = ?1 AND inode = ?2 FOR UPDATE", *sid, *ino),
            ),
            (Get::Sustained { sid, ino }, _) => {
                self.absent(statement!("SELECT 1 FROM jfs_sustained WHERE sid = ?1 AND inode = ?2", *sid, *ino));
            }
            (Get::Flocks { ino }, Got::Flocks(was)) => {
                self.gate(*ino);
                for (holder, kind) in was {
                    let code = if *kind == LockKind::Shared { b'R' } else { b'W' };
                    let row = statement!(
                        "SELECT 1 FROM jfs_flock WHERE inode = ?1 AND sid = ?2 AND owner = ?3 AND ltype = ?4 FOR UPDATE",
                        *ino,
                        holder.sid,
                        holder.owner,
                        code
                    );
                    self.lock(7, ino.0, row);
                }
                self.absent(statement!(
                    "SELECT 1 FROM (SELECT count(*) AS n FROM jfs_flock WHERE inode = ?1) c WHERE c.n <> ?2",
                    *ino,
                    was.len() as u64
                ));
            }
            (Get::RangeLocks { ino }, Got::RangeLocks(was)) => {
                self.gate(*ino);
                for (holder, locks) in was {
                    let row = statement!(
                        "SELECT 1 FROM jfs_plock WHERE inode = ?1 AND sid = ?2 AND owner = ?3 AND records = ?4 FOR UPDATE",
                        *ino,
                        holder.sid,
                        holder.owner,
                        packed::encode_range_locks(locks)
                    );
                    self.lock(8, ino.0, row);
                }
                self.absent(statement!(
                    "SELECT 1 FROM (SELECT count(*) AS n FROM jfs_plock WHERE inode = ?1) c WHERE c.n <> ?2",
                    *ino,
                    was.len() as u64
                ));
            }
            (Get::Side { name }, Got::Bytes(Some(was))) => self.lock(
                9,
                0,
                statement!("SELECT 1 FROM jfs_rs_record WHERE name = ?1 AND value = ?2 FOR UPDATE", &name[..], &was[..]),
            ),
            (Get::Side { name }, _) => {
                self.absent(statement!("SELECT 1 FROM jfs_rs_record WHERE name = ?1", &name[..]));
            }
            // Of a missing one nothing is held: the row that others make is one without limits, or they read the same.
            (Get::Quota { key, .. }, Got::Quota(Some(was))) => self.lock(11, *key, quota::same_limits(was)),
            (Get::DelayedSlices { id, deleted_at }, Got::SlicePairs(Some(was))) => self.lock(
                10,
                *id,
                statement!(
                    "SELECT 1 FROM jfs_delslices WHERE chunkid = ?1 AND deleted = ?2 AND slices = ?3 FOR UPDATE",
                    *id,
                    *deleted_at,
                    packed::encode_slice_pairs(was)
                ),
            ),
            (Get::DelayedSlices { id, deleted_at }, _) => self.absent(statement!(
                "SELECT 1 FROM jfs_delslices WHERE chunkid = ?1 AND deleted = ?2",
                *id,
                *deleted_at
            )),
            // Hints, which nothing holds (`Get::hold`), and answers to other questions.
            (
                Get::Parents { .. }
                | Get::Symlink { .. }
                | Get::XattrNames { .. }
                | Get::AppendTarget { .. }
                | Get::OtherSession { .. }
                | Get::DirStat { .. }
                | Get::Quota { .. }
                | Get::Xattr { .. }
                | Get::Chunk { .. }
                | Get::Chunks { .. }
                | Get::Flocks { .. }
                | Get::RangeLocks { .. },
                _,
            ) => {}
        }
    }
}

/// Finds the node when it is as it was. A touched directory may have been moved by amounts that commute with ours.
fn same_node(ino: Ino, was: &Attr, hold: Hold, changes: &[Change]) -> Statement {
    use std::fmt::Write;
    let mut text = "SELECT 1 FROM jfs_node WHERE inode = ?1".to_owned();
    let mut values = vec![Value::from(ino)];
    let mut is = |column: &str, value: Value| {
        values.push(value);
        let _ = write!(text, " AND {column} = ?{}", values.len());
    };
    is("type", was.kind.code().into());
    is("flags", was.flags.into());
    is("mode % 4096", was.mode.into());
    is("uid", was.uid.into());
    is("gid", was.gid.into());
    is("length", was.length.into());
    is("coalesce(rdev, 0)", was.rdev.into());
    is("coalesce(parent, 0)", was.parent.into());
    is("coalesce(access_acl_id, 0)", was.access_acl.into());
    is("coalesce(default_acl_id, 0)", was.default_acl.into());
    is("coalesce(tier_id, 0)", was.tier.into());
    if hold != Hold::Touch || was.kind != Kind::Directory {
        is("nlink", was.nlink.into());
        for (columns, time) in [
            (["atime", "atimensec"], was.atime),
            (["mtime", "mtimensec"], was.mtime),
            (["ctime", "ctimensec"], was.ctime),
        ] {
            let (micros, nanos) = split_time(time);
            is(columns[0], micros.into());
            is(columns[1], nanos.into());
        }
    }
    text += match (hold, fate(ino, changes)) {
        (_, Fate::Deleted) | (Hold::Update, _) | (Hold::Guard, Fate::Written) => " FOR UPDATE",
        (Hold::Guard, Fate::Kept) => " FOR SHARE",
        (Hold::Touch | Hold::Peek, Fate::Written) => " FOR NO KEY UPDATE",
        (Hold::Touch | Hold::Peek, Fate::Kept) => " FOR KEY SHARE",
    };
    Statement { text: text.into(), values }
}

enum Fate {
    Kept,
    Written,
    Deleted,
}

fn fate(node: Ino, changes: &[Change]) -> Fate {
    if changes.iter().any(|change| matches!(change, Change::DeleteNode { ino } if *ino == node)) {
        return Fate::Deleted;
    }
    match changes.iter().any(|change| matches!(change, Change::UpdateNode { ino, .. } if *ino == node)) {
        true => Fate::Written,
        false => Fate::Kept,
    }
}
