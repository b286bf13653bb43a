//! What `info` shows of a node, in the peer's document.

use crate::core::Core;
use crate::error::Result;
use juicefs_meta::overlay;
use juicefs_meta::tree::{Summary, TreeProgress, TreeSummary};
use juicefs_meta::types::CHUNK_BYTES;
use juicefs_meta::{Attr, Caller, Holder, Ino, Kind, LockKind, RangeLock, Slice};
use serde::Serialize;
use serde_json::{Value, json};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ChunkLine {
    chunk_index: u64,
    id: u64,
    size: u32,
    off: u32,
    len: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ObjectLine {
    chunk_index: u64,
    key: String,
    size: u32,
    off: u32,
    len: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct FlockLine {
    sid: u64,
    owner: u64,
    #[serde(rename = "Type")]
    kind: char,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RangeLockLine {
    sid: u64,
    owner: u64,
    /// `F_RDLCK` or `F_WRLCK`.
    #[serde(rename = "Type")]
    kind: i32,
    pid: u32,
    start: u64,
    end: u64,
}

/// The document of a node that can't be shown.
pub(super) fn failed(ino: u64, reason: &str) -> Value {
    json!({
        "Ino": ino, "Failed": true, "Reason": reason, "Summary": sums(&Summary::default()), "Paths": null,
        "Chunks": null, "Objects": null, "PLocks": null, "FLocks": null,
        "Tier": { "ID": 0, "StorageClass": "", "Tag": "" }, "RestoreStatus": "",
    })
}

impl Core {
    pub(super) async fn info(
        &self,
        caller: &Caller,
        ino: Ino,
        recursive: bool,
        raw: bool,
        progress: &TreeProgress,
    ) -> Result<Value> {
        let attr = self.meta.reach(caller, ino).await?;
        let sum = self.meta.summarize(caller, ino, recursive, progress).await?;
        let (mut chunks, mut objects) = (Value::Null, Value::Null);
        if attr.kind == Kind::File {
            if raw {
                chunks = json!(self.chunk_lines(ino, &attr).await?);
            } else {
                objects = json!(self.object_lines(ino, &attr).await?);
            }
        }
        let (flocks, range_locks) =
            if attr.kind == Kind::File { self.lock_lines(ino).await? } else { Default::default() };
        // The peer asks the store for the class of the first object, which ours does not tell.
        let class =
            if objects.as_array().is_some_and(|objects| !objects.is_empty()) { "actual()" } else { "" };
        Ok(json!({
            "Ino": ino.0, "Failed": false, "Reason": "", "Summary": sums(&sum),
            "Paths": self.meta.paths(ino).await?, "Chunks": chunks, "Objects": objects, "PLocks": range_locks,
            "FLocks": flocks, "Tier": { "ID": attr.tier, "StorageClass": class, "Tag": "" }, "RestoreStatus": "",
        }))
    }

    async fn lock_lines(&self, ino: Ino) -> Result<(Vec<FlockLine>, Vec<RangeLockLine>)> {
        let (flocks, range_locks) = self.meta.locks_of(ino).await?;
        let flock = |(Holder { sid, owner }, kind): (Holder, LockKind)| {
            let kind = if kind == LockKind::Shared { 'R' } else { 'W' };
            FlockLine { sid, owner, kind }
        };
        let lines = |(Holder { sid, owner }, locks): (Holder, Vec<RangeLock>)| {
            locks.into_iter().map(move |RangeLock { kind, pid, start, end }| {
                let kind = if kind == LockKind::Shared { libc::F_RDLCK } else { libc::F_WRLCK };
                RangeLockLine { sid, owner, kind, pid, start, end }
            })
        };
        Ok((flocks.into_iter().map(flock).collect(), range_locks.into_iter().flat_map(lines).collect()))
    }

    /// What is visible of each chunk, holes too.
    async fn pieces_of(&self, ino: Ino, attr: &Attr) -> Result<Vec<(u64, Slice)>> {
        let mut pieces = Vec::new();
        for indx in 0..attr.length.div_ceil(CHUNK_BYTES) {
            let Ok(short) = u32::try_from(indx) else { break };
            let list = self.meta.fresh_chunk(ino, short).await?;
            let mut shown = overlay::build(&list);
            // As the peer shows it: where no record begins, the hole has a size.
            let is_gap = list.iter().filter(|slice| slice.len > 0).all(|slice| slice.pos > 0);
            if let Some(first) = shown.first_mut().filter(|_| is_gap) {
                first.size = first.len;
            }
            pieces.extend(shown.into_iter().map(|piece| (indx, piece)));
        }
        Ok(pieces)
    }

    async fn chunk_lines(&self, ino: Ino, attr: &Attr) -> Result<Vec<ChunkLine>> {
        let pieces = self.pieces_of(ino, attr).await?.into_iter();
        let line =
            |(chunk_index, Slice { id, size, off, len, .. })| ChunkLine { chunk_index, id, size, off, len };
        Ok(pieces.map(line).collect())
    }

    async fn object_lines(&self, ino: Ino, attr: &Attr) -> Result<Vec<ObjectLine>> {
        let (layout, volume) = (self.chunks.layout(), self.meta.format().name.clone());
        let mut lines = Vec::new();
        for (chunk_index, piece) in self.pieces_of(ino, attr).await? {
            if piece.id == 0 {
                let Slice { size, off, len, .. } = piece;
                lines.push(ObjectLine { chunk_index, key: String::new(), size, off, len });
                continue;
            }
            let (mut at, end) = (piece.off, piece.off.saturating_add(piece.len).min(piece.size));
            while at < end {
                let block = layout.block(piece.id, piece.size, at / layout.block_bytes);
                let off = at % layout.block_bytes;
                let len = (block.size - off).min(end - at);
                let key = format!("{volume}/{}", layout.key(block));
                lines.push(ObjectLine { chunk_index, key, size: block.size, off, len });
                at += len;
            }
        }
        Ok(lines)
    }
}

fn sums(sum: &Summary) -> Value {
    json!({ "Length": sum.length, "Size": sum.space, "Files": sum.files, "Dirs": sum.dirs })
}

/// A node of the document of `summary`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TreeLine {
    inode: u64,
    path: String,
    #[serde(rename = "Type")]
    kind: u8,
    size: u64,
    files: u64,
    dirs: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    children: Vec<TreeLine>,
}

impl From<TreeSummary> for TreeLine {
    fn from(TreeSummary { ino, path, kind, sum, children }: TreeSummary) -> Self {
        let children = children.into_iter().map(Self::from).collect();
        let Summary { space, files, dirs, .. } = sum;
        Self { inode: ino.0, path, kind: kind.code(), size: space, files, dirs, children }
    }
}

impl TreeLine {
    /// What a summary begins with: a directory to the tools, whatever it is.
    pub(super) fn top(tree: TreeSummary) -> Self {
        Self { kind: Kind::Directory.code(), ..tree.into() }
    }

    /// Of a node that can't be shown.
    pub(super) fn nothing(ino: u64) -> Self {
        let kind = Kind::Directory.code();
        Self { inode: ino, path: String::new(), kind, size: 0, files: 0, dirs: 0, children: Vec::new() }
    }
}
