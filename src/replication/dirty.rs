//! What lines of a change log say to have changed, as questions to the source.

use std::collections::BTreeSet;

use bytes::Bytes;
use juicefs_meta::change_log::Line;
use juicefs_meta::port::{Get, Hold};
use juicefs_meta::trash::entry_name;
use juicefs_meta::types::{CHUNK_BYTES, Ino, Kind, Name};

/// Chunks that one line may say to have changed; longer ranges are copied like a subtree.
const CHUNKS_MAX: u64 = 4096;

/// Rows that changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dirty {
    nodes: BTreeSet<Ino>,
    edges: BTreeSet<(Ino, Name)>,
    chunks: BTreeSet<(Ino, u32)>,
    symlinks: BTreeSet<Ino>,
    parents: BTreeSet<Ino>,
    xattrs: BTreeSet<(Ino, Bytes)>,
    /// Everything from these inodes downwards changed: lines do not tell it one by one.
    pub(crate) subtrees: BTreeSet<Ino>,
    /// Lines that say nothing we know of: whatever they changed has to be looked for.
    pub(crate) is_unknown: bool,
}

impl Dirty {
    pub(crate) fn of(lines: &[(u64, Bytes)]) -> Self {
        let mut dirty = Self::default();
        for (version, line) in lines {
            let read = Line::parse(line).and_then(|line| dirty.note(&line));
            if read.is_none() {
                tracing::warn!(version, line = %line.escape_ascii(), "a line of the change log is not understood");
                dirty.is_unknown = true;
            }
        }
        dirty
    }

    /// In an order that depends on the rows alone.
    pub(crate) fn questions(&self) -> Vec<Get> {
        let hold = Hold::Peek;
        let edges = self.edges.iter().cloned();
        let nodes = self.nodes.iter().map(|&ino| Get::Node { ino, hold });
        nodes
            .chain(edges.map(|(parent, name)| Get::Edge { parent, name, hold }))
            .chain(self.chunks.iter().map(|&(ino, indx)| Get::Chunk { ino, indx, hold }))
            .chain(self.symlinks.iter().map(|&ino| Get::Symlink { ino }))
            .chain(self.parents.iter().map(|&ino| Get::Parents { ino }))
            .chain(self.xattrs.iter().cloned().map(|(ino, name)| Get::Xattr { ino, name, hold }))
            .collect()
    }

    /// `None`: the line is not understood.
    fn note(&mut self, line: &Line) -> Option<()> {
        let ino = |at| line.number_at(at).map(Ino);
        match &line.operation[..] {
            "CREATE" => {
                let made = Ino(line.result_at(0)?);
                self.named(ino(0)?, line.name_at(1)?, made);
                if line.number_at(4)? == u64::from(Kind::Symlink.code()) {
                    self.symlinks.insert(made);
                }
            }
            "UNLINK" | "RMDIR" => self.lost(ino(0)?, &line.name_at(1)?, ino(2)?, Ino(line.result_at(0)?)),
            "UNLINKBATCH" => {
                let trash = ino(line.arguments.len().checked_sub(2)?)?;
                for (nth, at) in (1..line.arguments.len() - 2).enumerate() {
                    self.lost(ino(0)?, &line.name_at(at)?, trash, Ino(line.result_at(nth)?));
                }
            }
            "MOVE" => {
                let moved = Ino(line.result_at(0)?);
                self.named(ino(0)?, line.name_at(1)?, moved);
                self.named(ino(2)?, line.name_at(3)?, moved);
                let replaced = ino(5)?;
                if replaced.0 != 0 {
                    self.lost(ino(2)?, &line.name_at(3)?, ino(6)?, replaced);
                }
            }
            "LINK" => self.named(ino(1)?, line.name_at(2)?, ino(0)?),
            "SETATTR" | "ACCESS" | "SETFACL" | "REPAIRDIR" => self.node(ino(0)?),
            "DELSUSTAINED" => self.node(ino(1)?),
            "TRUNCATE" | "FALLOCATE" | "COPYFILERANGE" | "WRITE" | "COMPACTCHUNK" | "DELCHUNK" => {
                self.note_data(line)?;
            }
            "SETXATTR" | "REMOVEXATTR" => {
                let name = Bytes::from(line.arguments.get(1)?.clone());
                self.xattrs.insert((ino(0)?, name));
                // Attributes of a node that is gone go with it.
                self.node(ino(0)?);
            }
            "CLONE" => {
                let made = Ino(line.result_at(0)?);
                self.named(ino(1)?, line.name_at(2)?, made);
                self.subtrees.insert(made);
            }
            "ATTACH" => {
                self.named(ino(1)?, line.name_at(2)?, ino(0)?);
                self.subtrees.insert(ino(0)?);
            }
            // Sessions, locks, numbers, sums, and what only who writes needs.
            "NEWSESSION"
            | "CLEANSESSION"
            | "INCR_COUNTER"
            | "SET"
            | "DELETESLICE"
            | "CLEANUP_DELAYED_SLICES"
            | "CLEANUP_TRASH_SLICES"
            | "FLOCK"
            | "SETLK"
            | "DIRSTAT"
            | "SETQUOTA"
            | "DELQUOTA"
            | "CLEANUP"
            | "INIT_ENABLE_DIRSTATS"
            | "INIT_ENABLE_USERGROUPQUOTA"
            | "STORETOKEN"
            | "UPDATETOKEN"
            | "DELETETOKENS" => {}
            _ => return None,
        }
        Some(())
    }

    /// Operations on what files hold.
    fn note_data(&mut self, line: &Line) -> Option<()> {
        let ino = |at| line.number_at(at).map(Ino);
        match &line.operation[..] {
            "TRUNCATE" => {
                let (from, to) = (line.number_at(1)?, line.number_at(2)?);
                self.written(ino(0)?, from.min(to), from.max(to));
            }
            "FALLOCATE" => {
                let off = line.number_at(1)?;
                self.written(ino(0)?, off, off.saturating_add(line.number_at(2)?));
            }
            "COPYFILERANGE" => {
                let off = line.number_at(3)?;
                self.written(ino(2)?, off, off.saturating_add(line.number_at(4)?));
            }
            "WRITE" => {
                self.node(ino(0)?);
                self.chunks.insert((ino(0)?, u32::try_from(line.number_at(1)?).ok()?));
            }
            "COMPACTCHUNK" | "DELCHUNK" => {
                self.chunks.insert((ino(0)?, u32::try_from(line.number_at(1)?).ok()?));
            }
            _ => return None,
        }
        Some(())
    }

    fn node(&mut self, ino: Ino) {
        self.nodes.insert(ino);
    }

    /// A directory's name and the node that comes, goes or stays under it.
    fn named(&mut self, parent: Ino, name: Name, ino: Ino) {
        self.node(parent);
        self.node(ino);
        self.parents.insert(ino);
        self.edges.insert((parent, name));
    }

    /// The node may be in the trash now.
    fn lost(&mut self, parent: Ino, name: &Name, trash: Ino, ino: Ino) {
        self.named(parent, name.clone(), ino);
        if trash.0 != 0 {
            self.named(trash, entry_name(parent, ino, name), ino);
        }
    }

    fn written(&mut self, ino: Ino, begin: u64, end: u64) {
        self.node(ino);
        let (first, last) = (begin / CHUNK_BYTES, end.max(1).saturating_sub(1) / CHUNK_BYTES);
        if last.saturating_sub(first) >= CHUNKS_MAX {
            self.subtrees.insert(ino);
            return;
        }
        let indexes = (first..=last).filter_map(|indx| u32::try_from(indx).ok());
        self.chunks.extend(indexes.map(|indx| (ino, indx)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn questions(line: &str) -> Vec<Get> {
        let line = Bytes::from(format!("1.000000000|{line}|(1,1)"));
        let dirty = Dirty::of(&[(1, line)]);
        assert!(!dirty.is_unknown);
        dirty.questions()
    }

    #[test]
    fn a_name_that_goes_to_the_trash_is_asked_for_there() {
        let asked = questions("UNLINK(2,a%2Cb,9223372032828243969,false,true):7");
        let edge = |parent, name: &'static str| Get::Edge {
            parent: Ino(parent),
            name: Name::new(Bytes::from_static(name.as_bytes())).expect("a name"),
            hold: Hold::Peek,
        };
        assert!(asked.contains(&edge(2, "a,b")));
        assert!(asked.contains(&edge(9_223_372_032_828_243_969, "2-7-a,b")));
        assert!(asked.contains(&Get::Node { ino: Ino(7), hold: Hold::Peek }));
    }

    #[test]
    fn a_range_names_its_chunks() {
        let chunks = |line| {
            let chunk = |get| if let Get::Chunk { indx, .. } = get { Some(indx) } else { None };
            questions(line).into_iter().filter_map(chunk).collect::<Vec<_>>()
        };
        assert_eq!(chunks("TRUNCATE(7,209715200,73400320,0)"), [1, 2, 3]);
        assert_eq!(chunks("FALLOCATE(7,0,67108864,3)"), [0]);
        assert_eq!(chunks("WRITE(7,5,0,3,10,1,2):1"), [5]);
    }

    #[test]
    fn what_is_not_understood_is_noted() {
        for line in ["NOVELTY(1)", "WRITE(x,0)", "CREATE(1,a,0,0,1,420,18,,linux,true)"] {
            let line = Bytes::from(format!("1.000000000|{line}|(1,1)"));
            assert!(Dirty::of(&[(1, line)]).is_unknown);
        }
    }
}
