//! What must be true between records. Each check is one function that names what it finds.

use std::collections::{BTreeMap, BTreeSet};

use super::snapshot::{DIRECTORY, DirStat, FILE, ROOT, SYMLINK, Snapshot, TRASH};

const CHUNK_BYTES: u64 = 1 << 26;

type Findings = Vec<String>;

/// What findings begin with.
#[cfg(test)]
pub const NAMES: &[&str] = &[
    "undecodable",
    "dangling-entry",
    "dangling-parent",
    "entry-type",
    "orphan",
    "cycle",
    "island",
    "nlink",
    "parent",
    "parent-refs",
    "symlink",
    "xattr",
    "used-space",
    "used-inodes",
    "dir-stat",
    "quota",
    "slice-bounds",
    "slice-size",
    "slice-refs",
    "chunk-owner",
    "deleted-file",
    "next-inode",
    "next-slice",
];

/// Every finding of every check.
pub fn all(snapshot: &Snapshot) -> Findings {
    let mut findings = snapshot.undecodable.iter().map(|record| format!("undecodable: {record}")).collect();
    for check in [
        entries_point_to_nodes,
        nodes_have_entries,
        directories_are_reached,
        link_counts,
        parents,
        symlink_targets,
        xattrs_have_owners,
        usage,
        dir_stats,
        quotas,
        slices_fit,
        slice_references,
        chunks_have_owners,
        deleted_files_are_gone,
        counters_are_ahead,
    ] {
        check(snapshot, &mut findings);
    }
    findings
}

fn shown(name: &[u8]) -> String {
    name.escape_ascii().to_string()
}

fn entries_point_to_nodes(snapshot: &Snapshot, findings: &mut Findings) {
    for edge in &snapshot.edges {
        let place = format!("entry {}/{}", edge.parent, shown(&edge.name));
        match snapshot.nodes.get(&edge.parent) {
            None => findings.push(format!("dangling-parent: {place} lies in a directory without a node")),
            Some(parent) if parent.kind != DIRECTORY => {
                findings.push(format!("dangling-parent: {place} lies in something that is no directory"));
            }
            Some(_) => {}
        }
        match snapshot.nodes.get(&edge.ino) {
            None => {
                findings.push(format!("dangling-entry: {place} points to inode {} without a node", edge.ino))
            }
            Some(node) if node.kind != edge.kind => {
                findings.push(format!("entry-type: {place} says type {}, the node {}", edge.kind, node.kind));
            }
            Some(_) => {}
        }
    }
}

fn links(snapshot: &Snapshot) -> BTreeMap<u64, Vec<u64>> {
    let mut links: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for edge in &snapshot.edges {
        links.entry(edge.ino).or_default().push(edge.parent);
    }
    links
}

fn nodes_have_entries(snapshot: &Snapshot, findings: &mut Findings) {
    let links = links(snapshot);
    for (ino, node) in &snapshot.nodes {
        let is_held = snapshot.sustained.contains(ino) || snapshot.detached.contains(ino);
        let is_top = matches!(*ino, ROOT | TRASH);
        if !links.contains_key(ino) && !is_held && !is_top {
            findings.push(format!(
                "orphan: inode {ino} (type {}) has no entry and nobody sustains it",
                node.kind
            ));
        }
    }
}

/// Every directory is found from the root, the trash or the top of a tree that is being removed. One finding per tree
/// that is not: either its directories lie in one another, or its top has no entry in a directory that exists.
fn directories_are_reached(snapshot: &Snapshot, findings: &mut Findings) {
    let is_directory = |ino: &u64| snapshot.nodes.get(ino).is_some_and(|node| node.kind == DIRECTORY);
    let mut inside: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let mut outside: BTreeMap<u64, u64> = BTreeMap::new();
    for edge in snapshot.edges.iter().filter(|edge| is_directory(&edge.ino) && is_directory(&edge.parent)) {
        inside.entry(edge.parent).or_default().push(edge.ino);
        outside.insert(edge.ino, edge.parent);
    }
    let mut unreached: BTreeSet<u64> = snapshot.nodes.keys().copied().filter(is_directory).collect();
    let mut next = vec![ROOT, TRASH];
    next.extend(&snapshot.detached);
    while let Some(ino) = next.pop() {
        if unreached.remove(&ino) {
            next.extend(inside.get(&ino).into_iter().flatten());
        }
    }
    let mut trees: BTreeMap<Top, u64> = BTreeMap::new();
    let mut tops: BTreeMap<u64, Top> = BTreeMap::new();
    for start in unreached {
        let mut path = vec![start];
        let top = loop {
            let last = path[path.len() - 1];
            if let Some(top) = tops.get(&last) {
                break top.clone();
            }
            match outside.get(&last) {
                None => break Top::Alone(last),
                Some(parent) => match path.iter().position(|ino| ino == parent) {
                    Some(begin) => break Top::Cycle(path[begin..].to_vec()),
                    None => path.push(*parent),
                },
            }
        };
        for ino in path {
            if tops.insert(ino, top.clone()).is_none() {
                *trees.entry(top.clone()).or_default() += 1;
            }
        }
    }
    for (top, count) in trees {
        findings.push(match top {
            Top::Cycle(inos) => format!(
                "cycle: directories {inos:?} lie in one another; with what is below them {count} can't be reached"
            ),
            Top::Alone(ino) => format!(
                "island: directory {ino} lies in none; with what is below it {count} can't be reached"
            ),
        });
    }
}

/// Where the way up from a directory ends that neither root nor trash hold.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Top {
    Alone(u64),
    Cycle(Vec<u64>),
}

fn link_counts(snapshot: &Snapshot, findings: &mut Findings) {
    let links = links(snapshot);
    let mut subdirectories: BTreeMap<u64, u32> = BTreeMap::new();
    for edge in snapshot.edges.iter().filter(|edge| edge.kind == DIRECTORY) {
        *subdirectories.entry(edge.parent).or_default() += 1;
    }
    for (ino, node) in &snapshot.nodes {
        let expected = if node.kind != DIRECTORY {
            links.get(ino).map_or(0, |parents| u32::try_from(parents.len()).unwrap_or(u32::MAX))
        } else if *ino >= TRASH {
            continue; // The trash does not keep its link counts.
        } else {
            2 + subdirectories.get(ino).copied().unwrap_or(0)
        };
        if node.nlink != expected && !snapshot.detached.contains(ino) {
            findings
                .push(format!("nlink: inode {ino} has nlink {}, its entries make {expected}", node.nlink));
        }
    }
}

fn parents(snapshot: &Snapshot, findings: &mut Findings) {
    for (ino, entry_parents) in links(snapshot) {
        let Some(node) = snapshot.nodes.get(&ino) else { continue };
        if node.kind == DIRECTORY && entry_parents.len() > 1 {
            findings.push(format!("parent: directory {ino} has {} entries", entry_parents.len()));
        }
        if node.parent > 0 {
            if entry_parents != [node.parent] {
                findings.push(format!(
                    "parent: inode {ino} names parent {}, its entries lie in {entry_parents:?}",
                    node.parent
                ));
            }
            continue;
        }
        if node.kind == DIRECTORY {
            findings.push(format!("parent: directory {ino} names no parent"));
        }
        let Some(recorded) = &snapshot.parents else { continue };
        let mut expected: BTreeMap<u64, i64> = BTreeMap::new();
        for parent in entry_parents {
            *expected.entry(parent).or_default() += 1;
        }
        let mut recorded = recorded.get(&ino).cloned().unwrap_or_default();
        recorded.retain(|_, count| *count > 0);
        if recorded != expected {
            findings.push(format!(
                "parent-refs: inode {ino} records {recorded:?}, its entries make {expected:?}"
            ));
        }
    }
}

fn symlink_targets(snapshot: &Snapshot, findings: &mut Findings) {
    for (ino, node) in snapshot.nodes.iter().filter(|(_, node)| node.kind == SYMLINK) {
        match snapshot.symlinks.get(ino) {
            None => findings.push(format!("symlink: inode {ino} has no target")),
            Some(target) if target.len() as u64 != node.length => {
                findings.push(format!(
                    "symlink: inode {ino} has length {}, its target {}",
                    node.length,
                    target.len()
                ));
            }
            Some(_) => {}
        }
    }
    for ino in snapshot.symlinks.keys().filter(|ino| !snapshot.nodes.contains_key(ino)) {
        findings.push(format!("symlink: a target is left of inode {ino}"));
    }
}

fn xattrs_have_owners(snapshot: &Snapshot, findings: &mut Findings) {
    for ino in snapshot.xattrs.iter().filter(|ino| !snapshot.nodes.contains_key(ino)) {
        findings.push(format!("xattr: extended attributes are left of inode {ino}"));
    }
}

fn usage(snapshot: &Snapshot, findings: &mut Findings) {
    let counted = snapshot.nodes.iter().filter(|(ino, _)| !matches!(**ino, ROOT | TRASH));
    let (space, inodes) =
        counted.fold((0, 0), |(space, inodes), (_, node)| (space + node.space(), inodes + 1));
    if snapshot.used_space != space {
        findings
            .push(format!("used-space: the counter says {}, the nodes make {space}", snapshot.used_space));
    }
    if snapshot.used_inodes != inodes {
        findings.push(format!("used-inodes: the counter says {}, there are {inodes}", snapshot.used_inodes));
    }
}

fn dir_stats(snapshot: &Snapshot, findings: &mut Findings) {
    let mut expected: BTreeMap<u64, DirStat> = BTreeMap::new();
    for edge in &snapshot.edges {
        let Some(node) = snapshot.nodes.get(&edge.ino) else { continue };
        let stat = expected.entry(edge.parent).or_default();
        stat.inodes += 1;
        stat.space += node.space();
        if node.kind == FILE {
            stat.length += i64::try_from(node.length).unwrap_or(i64::MAX);
        }
    }
    for (ino, stat) in &snapshot.dir_stats {
        if !snapshot.nodes.contains_key(ino) {
            // A directory that a rename replaced leaves zeros (format 3.6).
            if *stat != DirStat::default() {
                findings.push(format!("dir-stat: statistics {stat:?} are left of directory {ino}"));
            }
            continue;
        }
        let made = expected.get(ino).copied().unwrap_or_default();
        if *stat != made {
            findings.push(format!("dir-stat: directory {ino} records {stat:?}, its entries make {made:?}"));
        }
    }
}

/// A directory's quota counts every name below it; a file counts for each of its names.
fn quotas(snapshot: &Snapshot, findings: &mut Findings) {
    if snapshot.dir_quotas.is_empty() {
        return;
    }
    let mut entries: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for edge in &snapshot.edges {
        entries.entry(edge.parent).or_default().push(edge.ino);
    }
    for (top, used) in &snapshot.dir_quotas {
        let (mut below, mut waiting, mut seen) = ((0, 0), vec![*top], BTreeSet::new());
        while let Some(parent) = waiting.pop() {
            if !seen.insert(parent) {
                continue;
            }
            for ino in entries.get(&parent).into_iter().flatten() {
                let Some(node) = snapshot.nodes.get(ino) else { continue };
                below = (below.0 + node.space(), below.1 + 1);
                if node.kind == DIRECTORY {
                    waiting.push(*ino);
                }
            }
        }
        if *used != below {
            findings.push(format!(
                "quota: directory {top} records {} bytes and {} inodes, below it are {} and {}",
                used.0, used.1, below.0, below.1
            ));
        }
    }
}

fn slices_fit(snapshot: &Snapshot, findings: &mut Findings) {
    let mut sizes: BTreeMap<u64, u32> = BTreeMap::new();
    for ((ino, indx), slices) in &snapshot.chunks {
        for slice in slices {
            let place = format!("chunk {ino}/{indx}: {slice:?}");
            if u64::from(slice.pos) + u64::from(slice.len) > CHUNK_BYTES {
                findings.push(format!("slice-bounds: {place} leaves its chunk"));
            }
            if slice.id == 0 {
                continue;
            }
            if u64::from(slice.off) + u64::from(slice.len) > u64::from(slice.size) {
                findings.push(format!("slice-bounds: {place} leaves its slice"));
            }
            let size = *sizes.entry(slice.id).or_insert(slice.size);
            if size != slice.size {
                findings.push(format!("slice-size: {place}, elsewhere its size is {size}"));
            }
        }
    }
}

fn slice_references(snapshot: &Snapshot, findings: &mut Findings) {
    let mut expected: BTreeMap<u64, i64> = BTreeMap::new();
    for slice in snapshot.chunks.values().flatten().filter(|slice| slice.id > 0) {
        *expected.entry(slice.id).or_default() += 1;
    }
    for (id, _) in &snapshot.delayed {
        *expected.entry(*id).or_default() += 1;
    }
    for (id, count) in &expected {
        let recorded = snapshot.refs.get(id).map_or(snapshot.implicit_refs, |(_, refs)| *refs);
        if recorded != *count {
            findings.push(format!("slice-refs: slice {id} records {recorded} references, {count} exist"));
        }
    }
    for (id, (size, refs)) in &snapshot.refs {
        if *refs > 0 && !expected.contains_key(id) && (snapshot.implicit_refs == 0 || *refs > 1) {
            findings.push(format!(
                "slice-refs: slice {id} of {size} bytes records {refs} references, none exists"
            ));
        }
    }
}

fn chunks_have_owners(snapshot: &Snapshot, findings: &mut Findings) {
    for (ino, indx) in snapshot.chunks.keys() {
        match snapshot.nodes.get(ino) {
            Some(node) if node.kind == FILE => {}
            Some(_) => {
                findings.push(format!("chunk-owner: chunk {ino}/{indx} belongs to something that is no file"))
            }
            None if snapshot.deleted_files.contains(ino) => {}
            None => findings.push(format!("chunk-owner: chunk {ino}/{indx} belongs to nobody")),
        }
    }
}

fn deleted_files_are_gone(snapshot: &Snapshot, findings: &mut Findings) {
    for ino in snapshot.deleted_files.iter().filter(|ino| snapshot.nodes.contains_key(ino)) {
        findings.push(format!("deleted-file: inode {ino} waits for deletion and still has a node"));
    }
}

fn counters_are_ahead(snapshot: &Snapshot, findings: &mut Findings) {
    // The root has its number without being given it: a volume that nobody has mounted yet has no counter.
    let given = |ino: &u64| *ino > 1 && *ino < TRASH;
    let largest = snapshot.nodes.keys().copied().filter(given).max().unwrap_or(0);
    if i64::try_from(largest).unwrap_or(i64::MAX) >= snapshot.next_ino {
        findings
            .push(format!("next-inode: {} would be handed out, inode {largest} exists", snapshot.next_ino));
    }
    let largest = snapshot.chunks.values().flatten().map(|slice| slice.id).max().unwrap_or(0);
    if i64::try_from(largest).unwrap_or(i64::MAX) >= snapshot.next_slice {
        findings
            .push(format!("next-slice: {} would be handed out, slice {largest} exists", snapshot.next_slice));
    }
}
