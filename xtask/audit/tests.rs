//! A sound volume, broken once per check: each break is named.

use super::checks;
use super::snapshot::{DIRECTORY, DirStat, Edge, FILE, Node, ROOT, SYMLINK, Slice, Snapshot, TRASH};
use std::collections::BTreeMap;

/// `/dir/file` (one slice of 5000 bytes), `/dir/link` -> `file`, `/hard` and `/dir/hard` are one file.
fn sound() -> Snapshot {
    let node = |kind, nlink, length, parent| Node { kind, nlink, length, parent };
    let edge = |parent, name: &str, ino, kind| Edge { parent, name: name.into(), ino, kind };
    let mut snapshot = Snapshot {
        implicit_refs: 1,
        parents: Some(BTreeMap::from([(5, BTreeMap::from([(1, 1), (2, 1)]))])),
        used_space: 4096 + 8192 + 4096 + 4096,
        used_inodes: 4,
        next_ino: 1025,
        next_slice: 4097,
        ..Snapshot::default()
    };
    snapshot.nodes.extend([
        (ROOT, node(DIRECTORY, 3, 4096, 1)),
        (TRASH, node(DIRECTORY, 2, 4096, 1)),
        (2, node(DIRECTORY, 2, 4096, ROOT)),
        (3, node(FILE, 1, 5000, 2)),
        (4, node(SYMLINK, 1, 4, 2)),
        (5, node(FILE, 2, 0, 0)),
    ]);
    snapshot.edges = vec![
        edge(ROOT, "dir", 2, DIRECTORY),
        edge(2, "file", 3, FILE),
        edge(2, "link", 4, SYMLINK),
        edge(2, "hard", 5, FILE),
        edge(ROOT, "hard", 5, FILE),
    ];
    snapshot.symlinks.insert(4, b"file".to_vec());
    snapshot.chunks.insert((3, 0), vec![Slice { pos: 0, id: 7, size: 5000, off: 0, len: 5000 }]);
    snapshot.dir_stats.insert(2, DirStat { length: 5000, space: 8192 + 4096 + 4096, inodes: 3 });
    snapshot
}

#[track_caller]
fn broken(name: &str, damage: impl FnOnce(&mut Snapshot)) {
    let mut snapshot = sound();
    damage(&mut snapshot);
    let findings = checks::all(&snapshot);
    assert!(findings.iter().any(|finding| finding.starts_with(name)), "{name} is not among {findings:?}");
}

#[test]
fn what_a_replaced_directory_leaves_is_no_finding() {
    let mut snapshot = sound();
    snapshot.dir_stats.insert(99, DirStat::default());
    assert_eq!(checks::all(&snapshot), Vec::<String>::new());
}

#[test]
fn a_sound_volume_has_no_findings() {
    assert_eq!(checks::all(&sound()), Vec::<String>::new());
}

#[test]
fn every_break_is_named() {
    broken("undecodable", |volume| volume.undecodable.push("node i9".into()));
    broken("dangling-entry", |volume| {
        volume.nodes.remove(&3);
    });
    broken("dangling-parent", |volume| {
        volume.nodes.remove(&2);
    });
    broken("entry-type", |volume| volume.edges[1].kind = SYMLINK);
    broken("orphan", |volume| {
        volume.edges.remove(1);
    });
    broken("island", |volume| {
        volume.edges.remove(0);
    });
    broken("nlink", |volume| volume.nodes.get_mut(&ROOT).expect("root").nlink = 2);
    broken("nlink", |volume| volume.nodes.get_mut(&5).expect("hard").nlink = 1);
    broken("parent:", |volume| volume.nodes.get_mut(&3).expect("file").parent = 1);
    broken("parent:", |volume| volume.nodes.get_mut(&2).expect("dir").parent = 0);
    broken("parent-refs", |volume| volume.parents = Some(BTreeMap::new()));
    broken("symlink", |volume| {
        volume.symlinks.remove(&4);
    });
    broken("symlink", |volume| {
        volume.symlinks.insert(4, b"longer".to_vec());
    });
    broken("xattr", |volume| {
        volume.xattrs.insert(99);
    });
    broken("symlink", |volume| {
        volume.symlinks.insert(99, b"left".to_vec());
    });
    broken("used-space", |volume| volume.used_space += 4096);
    broken("used-inodes", |volume| volume.used_inodes -= 1);
    broken("quota", |volume| {
        volume.dir_quotas.insert(1, (4096, 77));
    });
    broken("dir-stat", |volume| volume.dir_stats.get_mut(&2).expect("dir").inodes = 9);
    broken("dir-stat", |volume| {
        volume.dir_stats.insert(99, DirStat { inodes: 1, ..DirStat::default() });
    });
    broken("slice-bounds", |volume| volume.chunks.get_mut(&(3, 0)).expect("chunk")[0].off = 1);
    broken("slice-bounds", |volume| volume.chunks.get_mut(&(3, 0)).expect("chunk")[0].pos = 1 << 26);
    broken("slice-size", |volume| {
        volume.chunks.insert((5, 0), vec![Slice { pos: 0, id: 7, size: 9, off: 0, len: 9 }]);
    });
    broken("slice-refs", |volume| {
        volume.refs.insert(7, (5000, 2));
    });
    broken("slice-refs", |volume| {
        volume.refs.insert(8, (5000, 2));
    });
    broken("slice-refs", |volume| volume.delayed.push((7, 5000)));
    broken("chunk-owner", |volume| {
        volume.chunks.insert((99, 0), Vec::new());
    });
    broken("chunk-owner", |volume| {
        volume.chunks.insert((2, 0), Vec::new());
    });
    broken("deleted-file", |volume| {
        volume.deleted_files.insert(3);
    });
    broken("next-inode", |volume| volume.next_ino = 5);
    broken("next-slice", |volume| volume.next_slice = 7);
}

#[test]
fn trees_that_nothing_reaches_are_named_once_each() {
    let mut snapshot = sound();
    let mut directory = |ino, parent, entry: bool| {
        snapshot.nodes.insert(ino, Node { kind: DIRECTORY, nlink: 2, length: 4096, parent });
        if entry {
            snapshot.edges.push(Edge { parent, name: b"d".to_vec(), ino, kind: DIRECTORY });
        }
    };
    // 10 -> 11 -> 12 -> 10 with 13 below 11; 20 in nothing with 21 below; 30 taken apart from the tree, with 31 below.
    for (ino, parent) in [(10, 12), (11, 10), (12, 11), (13, 11), (21, 20), (31, 30)] {
        directory(ino, parent, true);
    }
    directory(20, 1, false);
    directory(30, 1, false);
    snapshot.detached.insert(30);
    let findings = checks::all(&snapshot);
    let named =
        |name: &str| -> Vec<&String> { findings.iter().filter(|found| found.starts_with(name)).collect() };
    assert_eq!(
        named("cycle"),
        ["cycle: directories [10, 12, 11] lie in one another; with what is below them 4 can't be reached"]
    );
    assert_eq!(
        named("island"),
        ["island: directory 20 lies in none; with what is below it 2 can't be reached"]
    );
}

#[test]
fn in_sql_every_slice_has_its_record() {
    let mut snapshot = sound();
    snapshot.implicit_refs = 0;
    assert!(checks::all(&snapshot).iter().any(|finding| finding.starts_with("slice-refs")));
    snapshot.refs.insert(7, (5000, 1));
    assert_eq!(checks::all(&snapshot), Vec::<String>::new());
}
