//! Names move, replace each other, or change places.

use juicefs_base::Errno;

use super::victim::{Victim, node};
use crate::change_log::Entry;
use crate::error::Result;
use crate::meta::Meta;
use crate::port::{Change, Get, Got, Hold, QuotaKind};
use crate::request::{NewNode, RenameFlags};
use crate::rules;
use crate::tree::TreeProgress;
use crate::txn::{NodeOf, Operation, OrNoEntry, Txn};
use crate::types::{Attr, Caller, Edge, Ino, Kind, Name, Usage, flags};
use crate::usage::{negated, share_of};

/// Levels above a place that are looked at; a path of the kernel has 2048 names at most.
const DEPTH_MAX: usize = 4096;

impl Meta {
    /// Moves a name; what it replaces goes the way of an unlinked node. Answers the moved node. Two names of one
    /// file stay as they are. With a whiteout a character device 0:0 takes the old name.
    ///
    /// # Errors
    /// ENOENT, EEXIST, EISDIR, ENOTDIR, ENOTEMPTY, EPERM, EACCES, EINVAL, EDQUOT, ENOSPC for a whiteout, EROFS.
    pub async fn rename(
        &self,
        caller: &Caller,
        src: Ino,
        src_name: &Name,
        dst: Ino,
        dst_name: &Name,
        how: RenameFlags,
    ) -> Result<(Ino, Attr)> {
        self.check_writable()?;
        let exchanges = how.has(RenameFlags::EXCHANGE);
        let others = RenameFlags::NOREPLACE.0 | RenameFlags::WHITEOUT.0;
        let known = others | RenameFlags::EXCHANGE.0 | RenameFlags::RESTORE.0;
        if how.0 & !known != 0 || (exchanges && how.0 & others != 0) {
            return Err(Errno::EINVAL.into());
        }
        let (src, dst) = (self.stored(src), self.stored(dst));
        Self::check_not_trash_root(src, src_name)?;
        Self::check_may_add(dst, dst_name)?;
        let leaves = how.has(RenameFlags::WHITEOUT);
        if src.is_trash() && (caller.uid != 0 || exchanges || leaves) {
            return Err(Errno::EPERM.into());
        }
        let mut whiteout = None;
        if leaves {
            whiteout = Some(Ino(self.number(|meta| &meta.inode_numbers).await?));
        }
        let below = self.below_moved((src, src_name), (dst, dst_name), exchanges).await?;
        let renamed = self.transact_with_trash(dst, |trash| Rename {
            meta: self,
            caller,
            src,
            src_name,
            dst,
            dst_name,
            how,
            whiteout,
            // Nobody loses a name in an exchange.
            trash: if exchanges { None } else { trash },
            below,
        });
        let renamed = renamed.await;
        if src != dst {
            self.quotas.forget_parents();
        }
        renamed
    }

    /// What moves from quotas to others with directories: usage below the one that is renamed, and below the one it
    /// changes places with. Nothing where both places have the same quotas.
    async fn below_moved(
        &self,
        (src, src_name): (Ino, &Name),
        (dst, dst_name): (Ino, &Name),
        exchanges: bool,
    ) -> Result<[Usage; 2]> {
        let mut below = [Usage::default(); 2];
        if src == dst
            || !self.has_dir_quotas()
            || self.quotas_above(src).await? == self.quotas_above(dst).await?
        {
            return Ok(below);
        }
        let sides = [Some((src, src_name)), exchanges.then_some((dst, dst_name))];
        for (usage, (parent, name)) in below.iter_mut().zip(sides.into_iter().flatten()) {
            let found = self.ask(|engine| engine.lookup(parent, name)).await?;
            let Some((Edge { ino, kind: Kind::Directory }, _)) = found else { continue };
            // Its own quota has the sum at hand.
            *usage = match self.quotas.get((QuotaKind::Directory, ino.0)) {
                Some(quota) => quota.used,
                None => self.usage_below(ino, &TreeProgress::default()).await?,
            };
        }
        Ok(below)
    }
}

struct Rename<'a> {
    meta: &'a Meta,
    caller: &'a Caller,
    src: Ino,
    src_name: &'a Name,
    dst: Ino,
    dst_name: &'a Name,
    how: RenameFlags,
    /// The number of what stays under the old name.
    whiteout: Option<Ino>,
    trash: Option<Ino>,
    /// What quotas move by, below the directory that is moved and below the one it is exchanged with.
    below: [Usage; 2],
}

/// What the names of a rename stand for.
struct Sides {
    src: Attr,
    dst: Attr,
    edge: Edge,
    node: Attr,
}

impl Operation for Rename<'_> {
    type Output = (Ino, Attr);
    const NAME: &'static str = "rename";
    const FLUSHES: u32 = 3;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [Some(self.src), Some(self.dst)]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<(Ino, Attr)> {
        let Self { caller, src, src_name, dst, dst_name, how, .. } = *self;
        let mut answers = txn
            .read_all(&[
                Get::Node { ino: src, hold: Hold::Touch },
                Get::Node { ino: dst, hold: Hold::Touch },
                Get::Edge { parent: src, name: src_name.clone(), hold: Hold::Guard },
                Get::Edge { parent: dst, name: dst_name.clone(), hold: Hold::Guard },
            ])
            .await?;
        let src_node = node(answers.next()).or_no_entry()?;
        let dst_node = node(answers.next()).or_no_entry()?;
        if src_node.kind != Kind::Directory || dst_node.kind != Kind::Directory {
            return Err(Errno::ENOTDIR.into());
        }
        if dst_node.parent.is_trash() && !how.has(RenameFlags::RESTORE) {
            return Err(Errno::ENOENT.into());
        }
        rules::check(caller, &src_node, rules::EXECUTE)?;
        rules::check(caller, &dst_node, rules::EXECUTE)?;
        let edge = edge(answers.next()).or_no_entry()?;
        let replaced = self::edge(answers.next());
        if how.has(RenameFlags::EXCHANGE) && replaced.is_none() {
            return Err(Errno::ENOENT.into());
        }
        if how.has(RenameFlags::NOREPLACE) && replaced.is_some() {
            return Err(Errno::EEXIST.into());
        }
        if edge.ino == dst || edge.ino == dst_node.parent {
            return Err(Errno::EPERM.into());
        }
        self.check_tree(txn, (edge, &src_node), (replaced, &dst_node)).await?;

        let mut gets = vec![Get::Node { ino: edge.ino, hold: Hold::Update }];
        let sid = self.meta.session_id();
        let victim =
            replaced.map(|edge| Victim { parent: dst, name: dst_name, edge, trash: self.trash, sid });
        if let Some(victim) = victim.as_ref().filter(|victim| victim.edge.ino != edge.ino) {
            victim.gets(&mut gets, txn.now());
        }
        let mut answers = txn.read_all(&gets).await?;
        let moved = node(answers.next()).or_no_entry()?;
        let sides = Sides { src: src_node, dst: dst_node, edge, node: moved };
        self.check_node(&sides)?;
        let Some(victim) = victim else {
            rules::check_add(caller, &sides.dst)?;
            let now = self.shift(txn, &sides, None).await?;
            self.charge_move(txn, (src, dst), &sides.node, self.below[0]).await?;
            self.log(txn, edge.ino, None, self.trash);
            return Ok((edge.ino, now));
        };
        if victim.edge.ino == edge.ino {
            return Ok((edge.ino, moved));
        }
        let found = victim.found(&mut answers)?;
        let lost = found.node.as_ref().unwrap_or(&sides.dst);
        rules::check_remove(caller, &sides.dst, lost)?;
        if how.has(RenameFlags::EXCHANGE) {
            let other = found.node.or_no_entry()?;
            let now = self.exchange(txn, &sides, victim.edge, &other)?;
            self.charge_exchange(txn, &sides.node, &other).await?;
            self.log(txn, edge.ino, Some(victim.edge.ino), None);
            return Ok((edge.ino, now));
        }
        match (edge.kind, victim.edge.kind) {
            (Kind::Directory, Kind::Directory) if found.has_children => return Err(Errno::ENOTEMPTY.into()),
            (Kind::Directory, Kind::Directory) => {}
            (Kind::Directory, _) => return Err(Errno::ENOTDIR.into()),
            (_, Kind::Directory) => return Err(Errno::EISDIR.into()),
            _ => {}
        }
        let now = self.shift(txn, &sides, Some(victim.edge)).await?;
        let fate = victim.remove(self.meta, txn, found).await?;
        self.charge_move(txn, (src, dst), &sides.node, self.below[0]).await?;
        self.log(txn, edge.ino, Some(victim.edge.ino), fate.trash);
        Ok((edge.ino, now))
    }
}

/// A directory may not move below itself. The kernel looks, but only at the tree as this mount last saw it: another
/// client may have moved the place meanwhile. Every directory up to the root is held, so that two such moves conflict.
/// Costs a flush a level.
///
/// # Errors
/// EINVAL when `at`, a directory above the new place, is `moved` or lies below it; ELOOP in a tree without an end.
async fn check_not_below(txn: &mut Txn<'_>, moved: Ino, mut at: Ino) -> Result<()> {
    for _ in 0..DEPTH_MAX {
        if at == moved {
            return Err(Errno::EINVAL.into());
        }
        if at == Ino::ROOT || at.is_trash() {
            return Ok(());
        }
        let (node,) = txn.read((NodeOf(at, Hold::Guard),)).await?;
        at = node.or_no_entry()?.parent;
    }
    Err(Errno::ELOOP.into())
}

fn edge(got: Option<Got>) -> Option<Edge> {
    match got {
        Some(Got::Edge(edge)) => edge,
        _ => None,
    }
}

impl Rename<'_> {
    /// `trash` is the hourly directory also where nothing was replaced, as in the peer's lines.
    fn log(&self, txn: &mut Txn<'_>, ino: Ino, replaced: Option<Ino>, trash: Option<Ino>) {
        let Self { src, src_name, dst, dst_name, how, .. } = *self;
        // What stays behind has a line of its own.
        let flags = how.0 & !RenameFlags::WHITEOUT.0;
        txn.log(&Entry::Move { src, src_name, dst, dst_name, flags, replaced, trash, ino });
        if let Some(ino) = self.whiteout {
            txn.log(&Entry::Create {
                parent: src,
                name: src_name,
                uid: self.caller.uid,
                gid: self.caller.gid,
                kind: Kind::CharDevice,
                mode: 0,
                umask: 0,
                target: &[],
                updates_parent: false,
                ino,
            });
        }
    }

    /// Neither what moves nor what comes back in exchange may end up below itself.
    async fn check_tree(
        &self,
        txn: &mut Txn<'_>,
        (edge, src): (Edge, &Attr),
        (replaced, dst): (Option<Edge>, &Attr),
    ) -> Result<()> {
        if self.src == self.dst {
            return Ok(());
        }
        if edge.kind == Kind::Directory {
            check_not_below(txn, edge.ino, dst.parent).await?;
        }
        let is_exchange = self.how.has(RenameFlags::EXCHANGE);
        match replaced.filter(|other| is_exchange && other.kind == Kind::Directory) {
            Some(other) => check_not_below(txn, other.ino, src.parent).await,
            None => Ok(()),
        }
    }

    /// Whether the moved node may leave its directory, and change its parent.
    fn check_node(&self, sides: &Sides) -> Result<()> {
        rules::check_remove(self.caller, &sides.src, &sides.node)?;
        if sides.edge.kind == Kind::Directory && self.src != self.dst {
            rules::check(self.caller, &sides.node, rules::WRITE)?;
        }
        Ok(())
    }

    /// Both directories after `gone` sub-directories left src and `come` came to dst.
    fn touch_directories(&self, txn: &mut Txn<'_>, sides: &Sides, gone: i32, come: i32) {
        let touch = self.meta.touch(txn);
        if self.src == self.dst {
            txn.update_node(self.dst, &sides.dst, &touch.directory(&sides.dst, come - gone));
            return;
        }
        if !self.src.is_trash() {
            txn.update_node(self.src, &sides.src, &touch.directory(&sides.src, -gone));
        }
        txn.update_node(self.dst, &sides.dst, &touch.directory(&sides.dst, come));
    }

    /// A name's share leaves one directory for another.
    async fn charge_move(
        &self,
        txn: &mut Txn<'_>,
        (from, to): (Ino, Ino),
        node: &Attr,
        below: Usage,
    ) -> Result<()> {
        if from == to {
            return Ok(());
        }
        let share = share_of(node);
        txn.charge_name(from, negated(share), -below).await?;
        txn.charge_name(to, share, below).await
    }

    /// Both leave before either arrives.
    async fn charge_exchange(&self, txn: &mut Txn<'_>, node: &Attr, other: &Attr) -> Result<()> {
        let (src, dst) = (self.src, self.dst);
        if src == dst {
            return Ok(());
        }
        let ([below, other_below], [share, other_share]) = (self.below, [share_of(node), share_of(other)]);
        txn.charge_name(src, negated(share), -below).await?;
        txn.charge_name(dst, negated(other_share), -other_below).await?;
        txn.charge_name(dst, share, below).await?;
        txn.charge_name(src, other_share, other_below).await
    }

    /// The node under its new name; its record and parents follow.
    fn relocate(&self, txn: &mut Txn<'_>, ino: Ino, was: &Attr, from: Ino, to: Ino) -> Attr {
        let now = rules::moved(was, to, txn.now());
        txn.update_node(ino, was, &now);
        if from != to && was.kind != Kind::Directory && was.parent.0 == 0 {
            txn.change(Change::AddParentRef { ino, parent: to, delta: 1 });
            txn.change(Change::AddParentRef { ino, parent: from, delta: -1 });
        }
        now
    }

    async fn shift(&self, txn: &mut Txn<'_>, sides: &Sides, replaced: Option<Edge>) -> Result<Attr> {
        let Sides { edge, node, .. } = sides;
        self.leave(txn, sides).await?;
        let name = self.dst_name.clone();
        txn.change(match replaced {
            Some(was) => Change::UpdateEdge { parent: self.dst, name, was, now: *edge },
            None => Change::InsertEdge { parent: self.dst, name, edge: *edge },
        });
        let moves = i32::from(edge.kind == Kind::Directory);
        let replaces = i32::from(replaced.is_some_and(|edge| edge.kind == Kind::Directory));
        self.touch_directories(txn, sides, moves, moves - replaces);
        Ok(self.relocate(txn, edge.ino, node, self.src, self.dst))
    }

    /// The old name goes, or a whiteout takes it.
    async fn leave(&self, txn: &mut Txn<'_>, Sides { src, edge: was, .. }: &Sides) -> Result<()> {
        let (parent, name, was) = (self.src, self.src_name.clone(), *was);
        let Some(ino) = self.whiteout else {
            txn.change(Change::DeleteEdge { parent, name, was });
            return Ok(());
        };
        let device = NewNode { kind: Kind::CharDevice, ..NewNode::file(0, 0) };
        let attr = rules::born(self.caller, parent, src, &device, txn.now());
        txn.change(Change::InsertNode { ino, attr });
        txn.change(Change::UpdateEdge { parent, name, was, now: Edge { ino, kind: device.kind } });
        txn.ask_room(&attr, Usage::of(&attr))?;
        txn.charge_name(parent, share_of(&attr), Usage::default()).await?;
        txn.charge_node(&attr, Usage::of(&attr));
        Ok(())
    }

    fn exchange(&self, txn: &mut Txn<'_>, sides: &Sides, other_edge: Edge, other: &Attr) -> Result<Attr> {
        let Sides { edge, node, .. } = sides;
        if other_edge.ino == self.src || other_edge.ino == sides.src.parent {
            return Err(Errno::EPERM.into());
        }
        if other_edge.kind == Kind::Directory && self.src != self.dst {
            rules::check(self.caller, other, rules::WRITE)?;
        }
        if (sides.src.flags | sides.dst.flags) & flags::IMMUTABLE != 0 {
            return Err(Errno::EPERM.into());
        }
        let (src_name, dst_name) = (self.src_name.clone(), self.dst_name.clone());
        txn.change(Change::UpdateEdge { parent: self.src, name: src_name, was: *edge, now: other_edge });
        txn.change(Change::UpdateEdge { parent: self.dst, name: dst_name, was: other_edge, now: *edge });
        let gone = i32::from(edge.kind == Kind::Directory) - i32::from(other_edge.kind == Kind::Directory);
        self.touch_directories(txn, sides, gone, gone);
        self.relocate(txn, other_edge.ino, other, self.dst, self.src);
        Ok(self.relocate(txn, edge.ino, node, self.src, self.dst))
    }
}
