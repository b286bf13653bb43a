//! Random operations against a tree that fits a page.

use std::collections::BTreeMap;

use juicefs_base::Errno;
use proptest::prelude::*;

use super::{Volume, name, root};
use crate::error::{Error, Result};
use crate::request::{NewNode, OpenFlags, RenameFlags};
use crate::types::{Ino, Kind};

#[derive(Clone, Debug)]
pub(super) enum Op {
    Make { dir: usize, name: u8, kind: Kind },
    Unlink { dir: usize, name: u8 },
    Rmdir { dir: usize, name: u8 },
    Rename { from: usize, name: u8, to: usize, new: u8, how: u32 },
    Link { dir: usize, name: u8, to: usize, new: u8 },
    Write { dir: usize, name: u8, off: u32, len: u32 },
    Truncate { dir: usize, name: u8, length: u32 },
    Open { dir: usize, name: u8 },
    Close { open: usize },
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    let at = || (0usize..6, 0u8..4);
    let kind = prop_oneof![Just(Kind::File), Just(Kind::Directory), Just(Kind::Symlink)];
    prop_oneof![
        4 => (at(), kind).prop_map(|((dir, name), kind)| Op::Make { dir, name, kind }),
        2 => at().prop_map(|(dir, name)| Op::Unlink { dir, name }),
        1 => at().prop_map(|(dir, name)| Op::Rmdir { dir, name }),
        3 => (at(), at(), 0u32..3).prop_map(|((from, name), (to, new), how)| Op::Rename { from, name, to, new, how }),
        2 => (at(), at()).prop_map(|((dir, name), (to, new))| Op::Link { dir, name, to, new }),
        1 => (at(), 0u32..10_000, 1u32..10_000).prop_map(|((dir, name), off, len)| Op::Write { dir, name, off, len }),
        1 => (at(), 0u32..10_000).prop_map(|((dir, name), length)| Op::Truncate { dir, name, length }),
        1 => at().prop_map(|(dir, name)| Op::Open { dir, name }),
        1 => (0usize..4).prop_map(|open| Op::Close { open }),
    ]
}

/// The reference: directories are maps, a file is its kind and length.
#[derive(Default)]
struct Tree {
    dirs: BTreeMap<Ino, BTreeMap<u8, Ino>>,
    leaves: BTreeMap<Ino, (Kind, u64)>,
    open: Vec<Ino>,
}

impl Tree {
    fn dir(&self, number: usize) -> Ino {
        *self.dirs.keys().nth(number % self.dirs.len()).expect("the root stays")
    }

    fn get(&self, dir: Ino, name: u8) -> Option<Ino> {
        self.dirs[&dir].get(&name).copied()
    }

    fn links(&self, ino: Ino) -> usize {
        self.dirs.values().flat_map(|names| names.values()).filter(|held| **held == ino).count()
    }

    /// Whether `dir` is `top` or lies below it.
    fn lies_in(&self, dir: Ino, top: Ino) -> bool {
        dir == top
            || self
                .dirs
                .iter()
                .any(|(up, names)| names.values().any(|held| *held == dir) && self.lies_in(*up, top))
    }

    fn remove(&mut self, dir: Ino, name: u8) {
        let ino = self.dirs.get_mut(&dir).and_then(|names| names.remove(&name)).expect("it was found");
        self.dirs.remove(&ino);
    }

    fn rename(&mut self, from: Ino, name: u8, to: Ino, new: u8, how: u32) -> Result<(), Errno> {
        let ino = self.get(from, name).ok_or(Errno::ENOENT)?;
        let held = self.get(to, new);
        match (how, held) {
            (2, None) => return Err(Errno::ENOENT),
            (1, Some(_)) => return Err(Errno::EEXIST),
            (_, Some(held)) if held == ino => return Ok(()),
            _ => {}
        }
        if let Some(held) = held.filter(|_| how != 2) {
            match (self.dirs.contains_key(&ino), self.dirs.get(&held)) {
                (true, None) => return Err(Errno::ENOTDIR),
                (false, Some(_)) => return Err(Errno::EISDIR),
                (true, Some(names)) if !names.is_empty() => return Err(Errno::ENOTEMPTY),
                _ => self.remove(to, new),
            }
        }
        let ino = self.dirs.get_mut(&from).and_then(|names| names.remove(&name)).unwrap_or(ino);
        if let Some(held) = held.filter(|_| how == 2) {
            self.dirs.get_mut(&from).expect("there").insert(name, held);
        }
        self.dirs.get_mut(&to).expect("there").insert(new, ino);
        Ok(())
    }
}

fn text(name: u8) -> crate::Name {
    self::name(&format!("n{name}"))
}

/// The same on the volume and on the tree, and whether both answered alike.
#[expect(clippy::too_many_lines, reason = "one arm an operation")]
async fn apply(volume: &Volume, tree: &mut Tree, op: &Op) {
    let meta = &volume.meta;
    let caller = root();
    let (real, expected): (Result<()>, Result<(), Errno>) = match *op {
        Op::Make { dir, name, kind } => {
            let dir = tree.dir(dir);
            let new = match kind {
                Kind::Symlink => NewNode::symlink("target"),
                kind => NewNode { kind, ..NewNode::file(0o755, 0) },
            };
            let made = meta.mknod(&caller, dir, &text(name), &new).await;
            let expected = if tree.get(dir, name).is_some() { Err(Errno::EEXIST) } else { Ok(()) };
            if let Ok((ino, attr)) = &made {
                tree.dirs.get_mut(&dir).unwrap().insert(name, *ino);
                if kind == Kind::Directory {
                    tree.dirs.insert(*ino, BTreeMap::new());
                } else {
                    tree.leaves.insert(*ino, (kind, attr.length));
                }
            }
            (made.map(|_| ()), expected)
        }
        Op::Unlink { dir, name } => {
            let dir = tree.dir(dir);
            let expected = match tree.get(dir, name) {
                None => Err(Errno::ENOENT),
                Some(ino) if tree.dirs.contains_key(&ino) => Err(Errno::EPERM),
                Some(_) => {
                    tree.remove(dir, name);
                    Ok(())
                }
            };
            (meta.unlink(&caller, dir, &text(name)).await, expected)
        }
        Op::Rmdir { dir, name } => {
            let dir = tree.dir(dir);
            let expected = match tree.get(dir, name).map(|ino| tree.dirs.get(&ino)) {
                None => Err(Errno::ENOENT),
                Some(None) => Err(Errno::ENOTDIR),
                Some(Some(names)) if !names.is_empty() => Err(Errno::ENOTEMPTY),
                Some(Some(_)) => {
                    tree.remove(dir, name);
                    Ok(())
                }
            };
            (meta.rmdir(&caller, dir, &text(name)).await, expected)
        }
        Op::Rename { from, name, to, new, how } => {
            let (from, to) = (tree.dir(from), tree.dir(to));
            // The kernel keeps directories out of themselves.
            let is_loop = |moved: Option<Ino>, dir| moved.is_some_and(|moved| tree.lies_in(dir, moved));
            if is_loop(tree.get(from, name), to) || (how == 2 && is_loop(tree.get(to, new), from)) {
                return;
            }
            let expected = tree.rename(from, name, to, new, how);
            let real = meta.rename(&caller, from, &text(name), to, &text(new), RenameFlags(how)).await;
            (real.map(|_| ()), expected)
        }
        Op::Link { dir, name, to, new } => {
            let (dir, to) = (tree.dir(dir), tree.dir(to));
            let Some(ino) = tree.get(dir, name) else { return };
            let expected = if tree.dirs.contains_key(&ino) {
                Err(Errno::EPERM)
            } else if tree.get(to, new).is_some() {
                Err(Errno::EEXIST)
            } else {
                tree.dirs.get_mut(&to).unwrap().insert(new, ino);
                Ok(())
            };
            (meta.link(&caller, ino, to, &text(new)).await.map(|_| ()), expected)
        }
        Op::Write { dir, name, off, len } => {
            let Some(ino) = tree.get(tree.dir(dir), name) else { return };
            let end = u64::from(off) + u64::from(len);
            let expected = match tree.leaves.get_mut(&ino) {
                Some((Kind::File, length)) => {
                    *length = end.max(*length);
                    Ok(())
                }
                _ => Err(Errno::EPERM),
            };
            (volume.write(ino, u64::from(off), len).await.map(|_| ()), expected)
        }
        Op::Truncate { dir, name, length } => {
            let Some(ino) = tree.get(tree.dir(dir), name) else { return };
            let expected = match tree.leaves.get_mut(&ino) {
                Some((Kind::File, held)) => {
                    *held = u64::from(length);
                    Ok(())
                }
                _ => Err(Errno::EPERM),
            };
            (meta.truncate(&caller, ino, u64::from(length), false).await.map(|_| ()), expected)
        }
        Op::Open { dir, name } => {
            let Some(ino) = tree.get(tree.dir(dir), name) else { return };
            if !matches!(tree.leaves.get(&ino), Some((Kind::File, _))) {
                return;
            }
            tree.open.push(ino);
            (meta.open_file(&caller, ino, OpenFlags(libc::O_RDWR)).await.map(|_| ()), Ok(()))
        }
        Op::Close { open } => {
            if tree.open.is_empty() {
                return;
            }
            let ino = tree.open.swap_remove(open % tree.open.len());
            (meta.close_file(ino).await, Ok(()))
        }
    };
    let real = real.map_err(|error| match error {
        Error::Errno(errno) => errno,
        other => panic!("{op:?}: {other}"),
    });
    assert_eq!(real, expected, "{op:?}");
}

/// The volume's names, kinds, lengths and links are the tree's.
async fn compare(volume: &Volume, tree: &Tree) {
    for (dir, names) in &tree.dirs {
        let entries = volume.meta.readdir(&root(), *dir, true).await.unwrap();
        let real: BTreeMap<_, _> = entries.iter().map(|entry| (entry.name.clone(), entry.edge.ino)).collect();
        let expected: BTreeMap<_, _> = names.iter().map(|(name, ino)| (text(*name), *ino)).collect();
        assert_eq!(real, expected, "entries of {dir}");
        for entry in entries {
            let attr = entry.attr.expect("every entry has a node");
            if let Some((kind, length)) = tree.leaves.get(&entry.edge.ino) {
                assert_eq!((attr.kind, attr.length), (*kind, *length));
                if !volume.meta.format().has_trash() {
                    assert_eq!(attr.nlink as usize, tree.links(entry.edge.ino));
                }
            } else {
                assert_eq!(attr.kind, Kind::Directory);
            }
        }
    }
    for ino in &tree.open {
        assert_eq!(volume.attr(*ino).await.length, tree.leaves[ino].1, "open files stay");
    }
}

/// One volume after the operations, compared and checked.
pub(super) async fn check(volume: &Volume, ops: &[Op]) {
    let mut tree = Tree::default();
    tree.dirs.insert(Ino::ROOT, BTreeMap::new());
    for (number, op) in ops.iter().enumerate() {
        apply(volume, &mut tree, op).await;
        if volume.meta.format().user_group_quota && number % 16 == 8 {
            super::quota::watch(volume, tree.dirs.keys().copied()).await;
        }
        if number % 16 == 0 {
            volume.audit().await;
        }
    }
    compare(volume, &tree).await;
    volume.audit().await;
    for ino in std::mem::take(&mut tree.open) {
        volume.meta.close_file(ino).await.unwrap();
    }
    volume.audit().await;
}

fn run(volume: impl Future<Output = Volume>, ops: &[Op]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { check(&volume.await, ops).await });
}

/// Cases of one run: `normally`, or as many as `make soak ROW=model` asks for.
fn cases(normally: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(normally)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(150), ..ProptestConfig::default() })]

    #[test]
    fn a_volume_is_a_tree(ops in prop::collection::vec(op(), 1..80)) {
        run(Volume::new(), &ops);
    }

    #[test]
    fn a_volume_with_trash_is_a_tree(ops in prop::collection::vec(op(), 1..80)) {
        run(Volume::with_trash(), &ops);
    }

    #[test]
    fn quotas_know_what_a_tree_holds(ops in prop::collection::vec(op(), 1..80), trash_days in 0..2_u32) {
        run(Volume::with(|format| {
            format.user_group_quota = true;
            format.trash_days = trash_days;
        }), &ops);
    }
}
