//! Files without a name: sessions adopt the ones that they hold open, and let go of them.
//!
//! A file without a name lives as long as any session's set holds it. Adopting writes the node, so that whoever
//! deletes it in the same moment has to look again.

use std::sync::atomic::Ordering;

use crate::change_log::{Entry, set};
use crate::error::Result;
use crate::meta::Meta;
use crate::port::{Change, Get, Got, Hold};
use crate::txn::{NodeOf, Operation, Txn};
use crate::types::{Attr, Ino, Kind, Time, Usage};

use super::victim::node;

/// Questions of one letting go.
const GETS_MAX: usize = 4096;
/// Files let go together.
const INOS_MAX: usize = 64;
/// Open files whose nodes are looked at together.
const NODES_MAX: usize = 256;

impl Meta {
    /// Takes files out of a session's set; those that no other set holds become deleted files. What this process has
    /// open goes over to its own session, unless it ends (`even_open`).
    ///
    /// # Errors
    /// As the engine's.
    pub(crate) async fn let_go(&self, sid: u64, inos: &[Ino], even_open: bool) -> Result<()> {
        if inos.is_empty() {
            return Ok(());
        }
        let others: Vec<u64> =
            self.sessions().await?.into_iter().map(|row| row.sid).filter(|&other| other != sid).collect();
        let together = (GETS_MAX / (others.len() + 2)).clamp(1, INOS_MAX);
        for inos in inos.chunks(together) {
            self.transact(&LetGo { meta: self, sid, inos, others: &others, even_open }).await?;
        }
        Ok(())
    }

    /// Makes this session sustain a file without a name that it has open; false when the file is gone.
    pub(crate) async fn adopt(&self, ino: Ino) -> Result<bool> {
        let sid = self.sid.load(Ordering::Acquire);
        if sid == 0 {
            return Ok(true);
        }
        self.transact(&Adopt { sid, ino }).await
    }

    /// Adopts open files whose last name another client took.
    pub(crate) async fn adopt_open_files(&self) -> Result<()> {
        for inos in self.open_files.with_names().chunks(NODES_MAX) {
            let nodes = self.ask(|engine| engine.nodes(inos)).await?;
            for (&ino, found) in inos.iter().zip(nodes) {
                let is_lost = match found {
                    Ok(Some(attr)) if attr.kind == Kind::File && attr.nlink == 0 => !self.adopt(ino).await?,
                    Ok(found) => found.is_none(),
                    Err(damage) => return Err(damage.into()),
                };
                if is_lost && self.open_files.lose(ino) {
                    tracing::warn!(%ino, "an open file was deleted by another client; its handles fail with ESTALE");
                }
            }
        }
        Ok(())
    }

    /// Whether every client that is alive is of this kind. A stock one goes on writing to a file that has lost its name, and
    /// counts that in the directory that the file was in: beside it, files go with their last name, as they do there.
    pub(crate) async fn is_among_its_kind(&self) -> Result<bool> {
        if let Some(known) = self.kept.is_among_its_kind() {
            return Ok(known);
        }
        let (at, now_sec) = (std::time::Instant::now(), Time::now().sec);
        let rows = self.sessions().await?;
        let is_so = rows.iter().filter(|row| row.expires_at >= now_sec).all(crate::session::is_of_our_kind);
        self.kept.saw_company(at, is_so);
        Ok(is_so)
    }

    /// Lets go of files that were kept for others and that nobody can still adopt.
    pub(crate) async fn release_kept(&self, sid: u64) -> Result<()> {
        if self.kept.is_empty() {
            return Ok(());
        }
        let rows = self.sessions().await?;
        let due = self.kept.due(&rows, sid, Time::now().sec);
        let closed: Vec<Ino> = due.into_iter().filter(|&ino| !self.open_files.is_open(ino)).collect();
        if let Err(error) = self.let_go(sid, &closed, false).await {
            // What is gone already is passed over the next time.
            closed.into_iter().for_each(|ino| self.kept.keep(ino));
            return Err(error);
        }
        Ok(())
    }
}

struct LetGo<'a> {
    meta: &'a Meta,
    sid: u64,
    inos: &'a [Ino],
    /// All other sessions. One that begins later opens nothing that has no name.
    others: &'a [u64],
    even_open: bool,
}

impl Operation for LetGo<'_> {
    type Output = ();
    const NAME: &'static str = "delete_sustained";
    const FLUSHES: u32 = 2;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [self.inos.first().copied(), None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<()> {
        let Self { meta, sid, inos, others, even_open } = *self;
        let own = meta.session_id();
        let mut gets: Vec<Get> = inos.iter().map(|&ino| Get::Node { ino, hold: Hold::Update }).collect();
        for &ino in inos {
            gets.push(Get::Sustained { sid, ino });
            gets.extend(others.iter().map(|&sid| Get::Sustained { sid, ino }));
        }
        let mut answers = txn.read_all(&gets).await?;
        let nodes: Vec<Option<Attr>> = inos.iter().map(|_| node(answers.next())).collect();
        for (&ino, node) in inos.iter().zip(nodes) {
            let is_sustained = answers.next() == Some(Got::Flag(true));
            // All of them are taken, so that the next file's come next.
            let holders = answers.by_ref().take(others.len()).filter(|got| *got == Got::Flag(true)).count();
            let is_open = !even_open && meta.open_files.is_open(ino);
            if !is_sustained || is_open && sid == own {
                continue;
            }
            txn.change(Change::DeleteSustained { sid, ino });
            txn.log(&Entry::DelSustained { sid, ino });
            let Some(node) = node.filter(|node| node.nlink == 0) else { continue };
            if holders > 0 {
                continue;
            }
            if is_open && own != 0 {
                txn.change(Change::InsertSustained { sid: own, ino });
                txn.after().sustained.push(ino);
                continue;
            }
            let (length, deleted_at) = (node.length, txn.now().sec);
            txn.change(Change::InsertDeletedFile { ino, length, deleted_at });
            txn.change(Change::DeleteNode { ino });
            txn.charge_node(&node, -Usage::of(&node));
            txn.after().deleted_files.push((ino, length));
        }
        Ok(())
    }
}

struct Adopt {
    sid: u64,
    ino: Ino,
}

impl Operation for Adopt {
    type Output = bool;
    const NAME: &'static str = "adopt";
    const FLUSHES: u32 = 2;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [Some(self.ino), None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<bool> {
        let Self { sid, ino } = *self;
        let (node,) = txn.read((NodeOf(ino, Hold::Update),)).await?;
        let Some(node) = node else { return Ok(false) };
        if node.nlink > 0 {
            return Ok(true);
        }
        txn.change(Change::InsertSustained { sid, ino });
        // Whoever deletes the node now conflicts: the sets alone are not held on every engine.
        let touched = Attr { atime: txn.now(), ..node };
        txn.update_node(ino, &node, &touched);
        txn.log(&Entry::SetAttr { ino, set: set::ATIME_NOW, clears_sugid: false, now: &touched });
        txn.after().sustained.push(ino);
        Ok(true)
    }
}
