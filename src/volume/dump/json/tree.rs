//! A directory and all that is below it, entry by entry in the order of their names. Held at any time: one batch of
//! entries for each directory on the way down, and where the engine does not list in order, the names of those.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use juicefs_meta::engines::packed::AclRecord;
use juicefs_meta::port::{Engine, Get, Got, Hold, Item, Scan};
use juicefs_meta::types::CHUNK_BYTES;
use juicefs_meta::{Attr, Edge, Ino, Kind, Name, Slice};

use super::text;
use crate::dump::output::Output;
use crate::error::Result;
use crate::progress::Progress;

/// Entries whose records are read together.
const BATCH: usize = 256;
/// Chunks of a file that are read with its attributes.
const FIRST_CHUNKS: u32 = 4;
/// Chunk indexes that are asked about together.
const INDEXES: u32 = 1 << 20;
/// Chunks read together.
const CHUNKS: usize = 256;

/// What is known of a node before it is written.
struct Node {
    name: Name,
    ino: Ino,
    attr: Attr,
    target: Option<Bytes>,
    xattrs: Vec<(Bytes, Bytes)>,
    /// Of the first indexes.
    chunks: Vec<(u32, Vec<Slice>)>,
}

impl Node {
    fn new(name: Name, ino: Ino, attr: Attr) -> Self {
        Self { name, ino, attr, target: None, xattrs: Vec::new(), chunks: Vec::new() }
    }

    /// Number of chunks that the length asks for.
    fn chunks_total(&self) -> u32 {
        if self.attr.kind != Kind::File {
            return 0;
        }
        u32::try_from(self.attr.length.div_ceil(CHUNK_BYTES)).unwrap_or(u32::MAX)
    }
}

/// A directory under way.
struct Level<'e> {
    entries: BoxStream<'e, Result<(Name, Edge)>>,
    ready: VecDeque<Node>,
    is_first: bool,
    indent: usize,
}

/// A new line and its indentation.
fn line(text: &mut String, indent: usize) {
    let _ = write!(text, "\n{:indent$}", "");
}

/// Writes trees.
pub(super) struct Trees<'e> {
    engine: &'e dyn Engine,
    rules: HashMap<u32, AclRecord>,
    progress: &'e dyn Progress,
    /// Entries that had to be left out.
    pub(super) left_out: u64,
}

impl<'e> Trees<'e> {
    pub(super) async fn new(engine: &'e dyn Engine, progress: &'e dyn Progress) -> Result<Self> {
        let mut rules = HashMap::new();
        let mut items = engine.scan(Scan::Acls);
        while let Some(item) = items.try_next().await? {
            match item {
                Item::Acl { id, rule } => {
                    rules.insert(id, rule);
                }
                Item::Damaged(damage) => tracing::warn!("{damage}; nodes with this ACL are dumped without"),
                _ => {}
            }
        }
        drop(items);
        Ok(Self { engine, rules, progress, left_out: 0 })
    }

    /// Writes `"title": {...}` as a member of the document.
    pub(super) async fn write(&mut self, out: &mut Output, title: &str, top: Ino, attr: Attr) -> Result<()> {
        let mut text = format!("  \"{title}\": {{");
        let mut top = [Node::new(Name::from_record(Bytes::new()), top, attr)];
        self.describe(&mut top).await?;
        let [top] = top;
        self.fields(out, &mut text, &top, 4).await?;
        let mut levels = vec![self.open(&mut text, &top, 2).await?];
        while let Some(level) = levels.last_mut() {
            if level.ready.is_empty() {
                level.ready = self.next_batch(&mut level.entries).await?;
            }
            match level.ready.pop_front() {
                None => {
                    let indent = level.indent;
                    line(&mut text, indent + 2);
                    text.push('}');
                    line(&mut text, indent);
                    text.push('}');
                    levels.pop();
                }
                Some(node) => {
                    self.progress.advance(1);
                    if !std::mem::take(&mut level.is_first) {
                        text.push(',');
                    }
                    let indent = level.indent + 4;
                    line(&mut text, indent);
                    let _ = write!(text, "\"{}\": {{", text::escaped(node.name.as_bytes()));
                    self.fields(out, &mut text, &node, indent + 2).await?;
                    if node.attr.kind == Kind::Directory {
                        levels.push(self.open(&mut text, &node, indent).await?);
                    } else {
                        line(&mut text, indent);
                        text.push('}');
                    }
                }
            }
            out.put(text.as_bytes()).await?;
            text.clear();
        }
        Ok(())
    }

    /// Begins a directory's entries.
    async fn open(&mut self, text: &mut String, node: &Node, indent: usize) -> Result<Level<'e>> {
        text.push(',');
        line(text, indent + 2);
        text.push_str("\"entries\": {");
        let entries = self.entries(node.ino).await?;
        Ok(Level { entries, ready: VecDeque::new(), is_first: true, indent })
    }

    /// Names in the order of their bytes.
    async fn entries(&mut self, parent: Ino) -> Result<BoxStream<'e, Result<(Name, Edge)>>> {
        let entry = move |item| async move {
            match item {
                Item::Entry { name, edge } => Ok(Some((name, edge))),
                Item::DamagedEntry { name, damage } => {
                    tracing::warn!("{damage}; the dump is without {name} of inode {parent}");
                    Ok(None)
                }
                _ => Ok(None),
            }
        };
        let listed = self.engine.scan(Scan::Entries { parent }).map_err(crate::error::Error::from);
        let listed = listed.try_filter_map(entry);
        if self.engine.lists_names_in_order() {
            return Ok(listed.boxed());
        }
        let mut all: Vec<(Name, Edge)> = listed.try_collect().await?;
        all.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Ok(stream::iter(all.into_iter().map(Ok)).boxed())
    }

    /// Empty at the end of the directory.
    async fn next_batch(
        &mut self,
        entries: &mut BoxStream<'e, Result<(Name, Edge)>>,
    ) -> Result<VecDeque<Node>> {
        loop {
            let mut batch = Vec::with_capacity(BATCH);
            while batch.len() < BATCH
                && let Some(entry) = entries.try_next().await?
            {
                batch.push(entry);
            }
            if batch.is_empty() {
                return Ok(VecDeque::new());
            }
            let inos: Vec<Ino> = batch.iter().map(|(_, edge)| edge.ino).collect();
            let mut nodes = Vec::with_capacity(batch.len());
            for ((name, edge), attr) in batch.into_iter().zip(self.engine.nodes(&inos).await?) {
                match attr {
                    Ok(Some(attr)) => nodes.push(Node::new(name, edge.ino, attr)),
                    Ok(None) => {
                        tracing::warn!(
                            "inode {} of {name} has no attributes: the dump is without it",
                            edge.ino
                        );
                        self.left_out += 1;
                    }
                    Err(damage) => {
                        tracing::warn!("{damage}; the dump is without {name}");
                        self.left_out += 1;
                    }
                }
            }
            if !nodes.is_empty() {
                self.describe(&mut nodes).await?;
                return Ok(nodes.into());
            }
        }
    }

    /// Fetches what belongs to the nodes, in two flushes.
    async fn describe(&self, nodes: &mut [Node]) -> Result<()> {
        let mut gets = Vec::new();
        let mut about = Vec::new();
        for (at, node) in nodes.iter().enumerate() {
            let ino = node.ino;
            let mut ask = |get| {
                gets.push(get);
                about.push(at);
            };
            ask(Get::XattrNames { ino });
            if node.attr.kind == Kind::Symlink {
                ask(Get::Symlink { ino });
            }
            for indx in 0..node.chunks_total().min(FIRST_CHUNKS) {
                ask(Get::Chunk { ino, indx, hold: Hold::Peek });
            }
        }
        let mut named = Vec::new();
        for ((get, got), at) in gets.iter().zip(self.engine.read(&gets).await?).zip(about) {
            match (get, got) {
                (Get::XattrNames { .. }, Got::Names(names)) => {
                    named.extend(names.into_iter().map(|name| (at, name)));
                }
                (Get::Symlink { .. }, Got::Bytes(target)) => nodes[at].target = target,
                (Get::Chunk { indx, .. }, Got::Slices(slices)) if !slices.is_empty() => {
                    nodes[at].chunks.push((*indx, slices));
                }
                _ => {}
            }
        }
        let get = |(at, name): &(usize, Bytes)| Get::Xattr {
            ino: nodes[*at].ino,
            name: name.clone(),
            hold: Hold::Peek,
        };
        let gets: Vec<Get> = named.iter().map(get).collect();
        if gets.is_empty() {
            return Ok(());
        }
        for ((at, name), got) in named.into_iter().zip(self.engine.read(&gets).await?) {
            if let Got::Bytes(Some(value)) = got {
                nodes[at].xattrs.push((name, value));
            }
        }
        Ok(())
    }

    /// All members of a node but its entries.
    async fn fields(&self, out: &mut Output, text: &mut String, node: &Node, indent: usize) -> Result<()> {
        line(text, indent);
        text.push_str("\"attr\": ");
        text::attr(text, node.ino, &node.attr);
        if let Some(target) = &node.target {
            text.push(',');
            line(text, indent);
            let _ = write!(text, "\"symlink\": \"{}\"", text::escaped(target));
        }
        if !node.xattrs.is_empty() {
            text.push(',');
            line(text, indent);
            text.push_str("\"xattrs\": [");
            for (at, (name, value)) in node.xattrs.iter().enumerate() {
                if at > 0 {
                    text.push(',');
                }
                text::xattr(text, name, value);
            }
            text.push(']');
        }
        for (member, id) in
            [("posix_acl_access", node.attr.access_acl), ("posix_acl_default", node.attr.default_acl)]
        {
            match self.rules.get(&id) {
                Some(rule) if id != 0 => {
                    text.push(',');
                    line(text, indent);
                    let _ = write!(text, "\"{member}\": ");
                    text::acl(text, rule);
                }
                None if id != 0 => tracing::warn!("inode {} has ACL {id}, which is not there", node.ino),
                _ => {}
            }
        }
        self.chunks(out, text, node, indent).await
    }

    /// One chunk stands behind its title, several each in a line.
    async fn chunks(&self, out: &mut Output, text: &mut String, node: &Node, indent: usize) -> Result<()> {
        let mut rest = self.later_chunks(node);
        let mut first = node.chunks.iter().cloned();
        let mut waiting = None;
        let mut count = 0;
        loop {
            let next = match first.next() {
                Some(chunk) => Some(chunk),
                None => rest.try_next().await?,
            };
            let Some((indx, slices)) = std::mem::replace(&mut waiting, next) else {
                if waiting.is_some() {
                    continue;
                }
                break;
            };
            if count == 0 {
                text.push(',');
                line(text, indent);
                text.push_str("\"chunks\": [");
            } else {
                text.push(',');
            }
            if count > 0 || waiting.is_some() {
                line(text, indent + 2);
            }
            text::chunk(text, indx, &slices);
            count += 1;
            if text.len() > 64 * 1024 {
                out.put(text.as_bytes()).await?;
                text.clear();
            }
        }
        if count > 1 {
            line(text, indent);
        }
        if count > 0 {
            text.push(']');
        }
        Ok(())
    }

    /// Chunks behind the first ones, a bounded number at a time.
    fn later_chunks(&self, node: &Node) -> BoxStream<'e, Result<(u32, Vec<Slice>)>> {
        let (engine, ino, total) = (self.engine, node.ino, node.chunks_total());
        if total <= FIRST_CHUNKS {
            return stream::empty().boxed();
        }
        let spans = (FIRST_CHUNKS..total).step_by(INDEXES as usize);
        let spans = spans.map(move |first| (first, first.saturating_add(INDEXES).min(total) - 1));
        let indexes = stream::iter(spans).then(move |(first, last)| async move {
            let got = engine.read(&[Get::Chunks { ino, first, last }]).await?;
            let Some(Got::Indexes(indexes)) = got.into_iter().next() else { return Ok(Vec::new()) };
            Ok::<_, crate::error::Error>(indexes)
        });
        let batches = indexes.map_ok(|indexes| {
            let batches: Vec<Vec<u32>> = indexes.chunks(CHUNKS).map(<[u32]>::to_vec).collect();
            stream::iter(batches.into_iter().map(Ok::<_, crate::error::Error>))
        });
        let lists = batches.try_flatten().and_then(move |indexes| async move {
            let get = |indx: &u32| Get::Chunk { ino, indx: *indx, hold: Hold::Peek };
            let gets: Vec<Get> = indexes.iter().map(get).collect();
            let mut chunks = Vec::new();
            for (indx, got) in indexes.into_iter().zip(engine.read(&gets).await?) {
                if let Got::Slices(slices) = got
                    && !slices.is_empty()
                {
                    chunks.push(Ok((indx, slices)));
                }
            }
            Ok(stream::iter(chunks))
        });
        lists.try_flatten().boxed()
    }
}
