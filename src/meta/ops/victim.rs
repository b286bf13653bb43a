//! What becomes of a node that loses a name: unlink, rmdir and rename over it say the same thing here.

use juicefs_base::Errno;

use crate::error::Result;
use crate::meta::Meta;
use crate::port::{Change, Get, Got, Hold};
use crate::trash;
use crate::txn::Txn;
use crate::types::{Attr, DirStat, Edge, Ino, Kind, Name, Time, Usage, flags};
use crate::usage::{negated, share_of};

/// A name that goes away, and where its node may go instead of vanishing.
pub(super) struct Victim<'a> {
    pub(super) parent: Ino,
    pub(super) name: &'a Name,
    pub(super) edge: Edge,
    /// The hourly directory; `None` = for good.
    pub(super) trash: Option<Ino>,
    /// The session that asks, 0 without one.
    pub(super) sid: u64,
}

/// What the database says of a victim.
pub(super) struct Found {
    pub(super) node: Option<Attr>,
    pub(super) has_children: bool,
    trash: Option<(Ino, Name)>,
    /// Somebody else may have it open.
    has_others: bool,
}

/// What became of a node that lost a name, as the change log tells it.
#[derive(Default)]
pub(super) struct Fate {
    /// The directory of the trash that has it now.
    pub(super) trash: Option<Ino>,
    /// It has no name any more and stays until its last close, here or elsewhere.
    pub(super) is_open: bool,
}

impl Victim<'_> {
    /// The rows to read; [`Self::found`] takes their answers in this order.
    pub(super) fn gets(&self, gets: &mut Vec<Get>, now: Time) {
        let ino = self.edge.ino;
        gets.push(Get::Node { ino, hold: Hold::Update });
        if self.asks_for_others() {
            gets.push(Get::OtherSession { sid: self.sid, at: now.sec });
        }
        if self.edge.kind == Kind::Directory {
            gets.push(Get::HasChildren { ino });
        }
        if let Some(trash) = self.trash {
            // The directory must be there at the commit; a name in it is looked for without holding all of it.
            gets.push(Get::Node { ino: trash, hold: Hold::Guard });
            gets.push(Get::Edge { parent: trash, name: self.trash_name(), hold: Hold::Peek });
        }
    }

    /// # Errors
    /// ESTALE when the trash directory is gone.
    pub(super) fn found(&self, answers: &mut impl Iterator<Item = Got>) -> Result<Found> {
        let node = node(answers.next());
        let has_others = self.asks_for_others() && matches!(answers.next(), Some(Got::Flag(true)));
        let has_children =
            self.edge.kind == Kind::Directory && matches!(answers.next(), Some(Got::Flag(true)));
        let mut trash = None;
        if let Some(directory) = self.trash {
            let is_there = node_is_there(answers.next());
            let is_free = matches!(answers.next(), Some(Got::Edge(None)));
            let skips = node.is_some_and(|node| node.flags & flags::SKIP_TRASH != 0);
            if !is_there {
                return Err(Errno::ESTALE.into());
            }
            // The same link was removed in this hour already: this one goes for good.
            trash = (is_free && !skips).then(|| (directory, self.trash_name()));
        }
        Ok(Found { node, has_children, trash, has_others })
    }

    /// Only a session can keep a file for others.
    fn asks_for_others(&self) -> bool {
        self.edge.kind == Kind::File && self.sid != 0
    }

    fn trash_name(&self) -> Name {
        trash::entry_name(self.parent, self.edge.ino, self.name)
    }

    /// Says what happens to the node, and which it is; the entry itself is the caller's. Its
    /// parent loses its share.
    pub(super) async fn remove(&self, meta: &Meta, txn: &mut Txn<'_>, found: Found) -> Result<Fate> {
        let Self { parent, edge, sid, .. } = *self;
        let ino = edge.ino;
        if edge.kind == Kind::Directory {
            // One that lies in the trash keeps its statistics: another client may still add to them.
            txn.change(if found.trash.is_none() {
                Change::DeleteDirRecords { ino }
            } else {
                Change::DeleteDirQuota { ino }
            });
        }
        let Some(node) = found.node else {
            let share = DirStat { length: 0, space: -4096, inodes: -1 };
            txn.charge_name(parent, share, Usage::default()).await?;
            return Ok(Fate::default());
        };
        let mut now = Attr { ctime: txn.now(), ..node };
        txn.charge_name(parent, negated(share_of(&node)), Usage::default()).await?;
        if let Some((directory, name)) = found.trash {
            if node.parent.0 > 0 {
                now.parent = directory;
            } else {
                txn.change(Change::AddParentRef { ino, parent: directory, delta: 1 });
                txn.change(Change::AddParentRef { ino, parent, delta: -1 });
            }
            txn.update_node(ino, &node, &now);
            txn.change(Change::InsertEdge { parent: directory, name, edge });
            txn.charge_name(directory, share_of(&node), Usage::default()).await?;
            return Ok(Fate { trash: Some(directory), is_open: false });
        }
        let is_linked = node.parent.0 == 0;
        if node.kind != Kind::Directory {
            now.nlink = node.nlink.saturating_sub(1);
            if now.nlink > 0 {
                txn.update_node(ino, &node, &now);
                if is_linked {
                    txn.change(Change::AddParentRef { ino, parent, delta: -1 });
                }
                return Ok(Fate::default());
            }
        }
        if node.kind == Kind::File {
            txn.hold_removal(ino).await;
        }
        let is_kept = node.kind == Kind::File
            && found.has_others
            && meta.kept.has_room()
            && meta.is_among_its_kind().await?;
        let is_open = is_kept || node.kind == Kind::File && sid != 0 && meta.open_files.is_open(ino);
        if is_open {
            txn.update_node(ino, &node, &now);
            txn.change(Change::InsertSustained { sid, ino });
            txn.after().sustained.push(ino);
            if is_kept {
                txn.after().kept.push(ino);
            }
        } else {
            if node.kind == Kind::File {
                let (length, deleted_at) = (node.length, txn.now().sec);
                txn.change(Change::InsertDeletedFile { ino, length, deleted_at });
                txn.after().deleted_files.push((ino, length));
            }
            if node.kind == Kind::Symlink {
                txn.change(Change::DeleteSymlink { ino });
            }
            txn.change(Change::DeleteNode { ino });
            txn.charge_node(&node, -Usage::of(&node));
        }
        txn.change(Change::DeleteXattrs { ino });
        if is_linked {
            txn.change(Change::DeleteParentRefs { ino });
        }
        Ok(Fate { trash: None, is_open })
    }
}

pub(super) fn node(got: Option<Got>) -> Option<Attr> {
    match got {
        Some(Got::Node(attr)) => attr,
        _ => None,
    }
}

fn node_is_there(got: Option<Got>) -> bool {
    node(got).is_some()
}
