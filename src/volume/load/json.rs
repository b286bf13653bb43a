//! The JSON document (format 12.1), member by member as it streams by. What a load rebuilds rather than takes over:
//! links, usage, statistics and quota usage, numbers of ACLs, references of slices. Held at any time: the directories
//! on the way down, a bit for each inode and slice, the quotas, the owners that have usage, and the different ACLs.

use std::collections::BTreeMap;
use std::io::Read;

use bytes::Bytes;
use juicefs_meta::engines::packed::AclRecord;
use juicefs_meta::format::Format;
use juicefs_meta::port::{Counters, Item, QuotaKind, QuotaRow};
use juicefs_meta::types::CHUNK_BYTES;
use juicefs_meta::{Attr, DirStat, Edge, Ino, Kind, Name, Slice, Time, Usage};
use roaring::RoaringTreemap;
use struson::reader::{JsonReader, JsonStreamReader, ReaderSettings, ValueType};
use tokio::sync::mpsc;

use super::rows::{Batch, Rows, Volume};
use super::source::Source;
use crate::dump::json::{kind_of, unescaped};
use crate::error::{Error, Result};

/// Reads the whole document and sends its rows on.
pub(super) fn read(source: Source, to: mpsc::Sender<Batch>) -> Result<Volume> {
    let settings = ReaderSettings { max_nesting_depth: None, ..ReaderSettings::default() };
    let json = JsonStreamReader::new_custom(source.into_reader(), settings);
    Document { json, tree: Tree::new(Rows::new(to)) }.read()
}

/// A directory whose entries are being read.
struct Level {
    ino: Ino,
    parent: Ino,
    attr: Attr,
    subdirs: u32,
    stat: DirStat,
    /// Of everything below.
    below: Usage,
    last: Vec<u8>,
}

/// Members of a node's object as far as they were read.
#[derive(Default)]
struct Node {
    ino: Ino,
    attr: Option<Attr>,
    target: Option<Vec<u8>>,
    /// The file was there before, under another name.
    is_known: bool,
}

/// What is known of the volume so far.
struct Tree {
    rows: Rows,
    format: Option<Format>,
    counters: Counters,
    quotas: BTreeMap<(QuotaKind, u64), (i64, i64)>,
    owners: BTreeMap<(QuotaKind, u64), Usage>,
    seen: RoaringTreemap,
    usage: Usage,
    last_ino: u64,
    last_trash: u64,
    has_root: bool,
    has_trash: bool,
}

impl Tree {
    fn new(rows: Rows) -> Self {
        Self {
            rows,
            format: None,
            counters: Counters::default(),
            quotas: BTreeMap::new(),
            owners: BTreeMap::new(),
            seen: RoaringTreemap::new(),
            usage: Usage::default(),
            last_ino: Ino::ROOT.0,
            last_trash: 0,
            has_root: false,
            has_trash: false,
        }
    }

    fn has_stats(&self) -> bool {
        self.format.as_ref().is_some_and(|format| format.dir_stats)
    }

    /// A node that is met for the first time, with all that counts it.
    fn count(&mut self, ino: Ino, attr: &Attr) {
        if ino.is_trash() {
            self.last_trash = self.last_trash.max(ino.0 - Ino::TRASH.0);
        } else {
            self.last_ino = self.last_ino.max(ino.0);
        }
        if ino == Ino::ROOT || ino == Ino::TRASH {
            return;
        }
        let space = attr.space().cast_signed();
        self.usage.space += space;
        self.usage.inodes += 1;
        if self.format.as_ref().is_some_and(|format| format.user_group_quota) {
            for owner in [(QuotaKind::User, u64::from(attr.uid)), (QuotaKind::Group, u64::from(attr.gid))] {
                let used = self.owners.entry(owner).or_default();
                used.space += space;
                used.inodes += 1;
            }
        }
    }

    /// The rows at the end, and what the document says of the whole.
    fn finish(mut self) -> Result<Volume> {
        let Some(format) = self.format.take() else {
            return Err(Error::BadDump("it has no Setting: is it a dump?".to_owned()));
        };
        if !self.has_root {
            return Err(Error::BadDump("it has no FSTree: is it whole?".to_owned()));
        }
        if format.has_trash() && !self.has_trash {
            let now = crate::format::now();
            let attr = Attr::new(Kind::Directory, 0o555, 0, 0, Ino::ROOT, now);
            self.rows.add(Item::Node { ino: Ino::TRASH, attr })?;
        }
        let limits = self.quotas.iter().filter(|((kind, _), _)| *kind != QuotaKind::Directory);
        let limits: Vec<_> = limits.map(|(key, limits)| (*key, *limits)).collect();
        for (key, limits) in limits {
            let used = self.owners.remove(&key).unwrap_or_default();
            self.quota(key, limits, used)?;
        }
        for (key, used) in std::mem::take(&mut self.owners) {
            self.quota(key, (-1, -1), used)?;
        }
        self.rows.send()?;
        let counters = Counters {
            usage: self.usage,
            // What the document counts may be further: of what is gone, blocks may still be there.
            next_inode: self.counters.next_inode.max(self.last_ino.saturating_add(1)).max(2),
            next_slice: self.counters.next_slice.max(self.rows.last_slice().saturating_add(1)),
            last_session: self.counters.last_session,
            last_trash: self.counters.last_trash.max(self.last_trash),
        };
        Ok(Volume { format, counters, last_acl: self.rows.last_acl() })
    }

    fn quota(&mut self, (kind, key): (QuotaKind, u64), limits: (i64, i64), used: Usage) -> Result<()> {
        let (space_max, inodes_max) = limits;
        self.rows.add(Item::Quota(QuotaRow { kind, key, space_max, inodes_max, used }))
    }
}

struct Document<R: Read> {
    json: JsonStreamReader<R>,
    tree: Tree,
}

/// What the JSON library says, place included.
fn json(cause: impl std::fmt::Display) -> Error {
    Error::BadDump(cause.to_string())
}

impl<R: Read> Document<R> {
    fn wrong<T>(&self, cause: &str) -> Result<T> {
        Err(Error::BadDump(format!("{cause}, before {}", self.json.current_position(true))))
    }

    fn next_name(&mut self) -> Result<Option<String>> {
        if self.json.has_next().map_err(json)? {
            self.json.next_name_owned().map(Some).map_err(json)
        } else {
            self.json.end_object().map_err(json)?;
            Ok(None)
        }
    }

    fn begin_object(&mut self) -> Result<()> {
        self.json.begin_object().map_err(json)
    }

    /// Begins a list; false for `null`.
    fn begin_list(&mut self) -> Result<bool> {
        if self.json.peek().map_err(json)? == ValueType::Null {
            self.json.next_null().map_err(json)?;
            return Ok(false);
        }
        self.json.begin_array().map_err(json)?;
        Ok(true)
    }

    fn next_element(&mut self) -> Result<bool> {
        if self.json.has_next().map_err(json)? {
            return Ok(true);
        }
        self.json.end_array().map_err(json)?;
        Ok(false)
    }

    fn skip(&mut self) -> Result<()> {
        self.json.skip_value().map_err(json)
    }

    fn text(&mut self) -> Result<String> {
        self.json.next_string().map_err(json)
    }

    fn number<T: std::str::FromStr>(&mut self) -> Result<T> {
        let digits = self.json.next_number_as_string().map_err(json)?;
        match digits.parse() {
            Ok(number) => Ok(number),
            Err(_) => self.wrong(&format!("{digits} is no number that fits")),
        }
    }

    fn read(mut self) -> Result<Volume> {
        self.begin_object()?;
        while let Some(member) = self.next_name()? {
            match member.as_str() {
                "Setting" => self.setting()?,
                "Counters" => self.counters()?,
                "DelFiles" => self.deleted_files()?,
                "Quotas" => self.quotas(QuotaKind::Directory)?,
                "UserQuotas" => self.quotas(QuotaKind::User)?,
                "GroupQuotas" => self.quotas(QuotaKind::Group)?,
                "FSTree" | "Trash" if self.tree.format.is_none() => {
                    return self.wrong("the tree comes before the Setting");
                }
                "FSTree" if self.tree.has_root => return self.wrong("a second FSTree"),
                "Trash" if self.tree.has_trash => return self.wrong("a second Trash"),
                "FSTree" => {
                    self.tree.has_root = true;
                    self.tree(Ino::ROOT)?;
                }
                "Trash" => {
                    self.tree.has_trash = true;
                    self.tree(Ino::TRASH)?;
                }
                // Sustained inodes have neither attributes nor data in the document, and their sessions are gone.
                _ => self.skip()?,
            }
        }
        self.json.consume_trailing_whitespace().map_err(json)?;
        self.tree.finish()
    }

    fn setting(&mut self) -> Result<()> {
        let value: serde_json::Value = self.json.deserialize_next().map_err(json)?;
        let format = Format::parse(&value.to_string())?;
        if format.name.is_empty() || format.uuid.is_empty() {
            return self.wrong("a Setting without Name or UUID");
        }
        format.check_version()?;
        self.tree.format = Some(format);
        Ok(())
    }

    fn counters(&mut self) -> Result<()> {
        self.begin_object()?;
        while let Some(name) = self.next_name()? {
            let number: i64 = self.number()?;
            let Ok(number) = u64::try_from(number) else { continue };
            match name.as_str() {
                "nextInodes" => self.tree.counters.next_inode = number,
                "nextChunk" => self.tree.counters.next_slice = number,
                "nextSession" => self.tree.counters.last_session = number,
                "nextTrash" => self.tree.counters.last_trash = number,
                _ => {}
            }
        }
        Ok(())
    }

    fn deleted_files(&mut self) -> Result<()> {
        if !self.begin_list()? {
            return Ok(());
        }
        while self.next_element()? {
            let (mut ino, mut length, mut deleted_at) = (Ino(0), 0, 0);
            self.begin_object()?;
            while let Some(name) = self.next_name()? {
                match name.as_str() {
                    "inode" => ino = Ino(self.number()?),
                    "length" => length = self.number()?,
                    "expire" => deleted_at = self.number()?,
                    _ => self.skip()?,
                }
            }
            self.tree.last_ino = self.tree.last_ino.max(if ino.is_trash() { 0 } else { ino.0 });
            self.tree.rows.add(Item::DeletedFile { ino, length, deleted_at })?;
        }
        Ok(())
    }

    fn quotas(&mut self, kind: QuotaKind) -> Result<()> {
        if self.tree.has_root {
            return self.wrong("quotas come after the tree");
        }
        self.begin_object()?;
        while let Some(key) = self.next_name()? {
            let Ok(key) = key.parse() else { return self.wrong(&format!("a quota of {key:?}")) };
            let (mut space, mut inodes) = (-1, -1);
            self.begin_object()?;
            while let Some(name) = self.next_name()? {
                match name.as_str() {
                    "maxSpace" => space = self.number()?,
                    "maxInodes" => inodes = self.number()?,
                    _ => self.skip()?,
                }
            }
            self.tree.quotas.insert((kind, key), (space, inodes));
        }
        Ok(())
    }

    /// A whole tree, without recursion: however deep it is.
    fn tree(&mut self, top: Ino) -> Result<()> {
        let mut levels: Vec<Level> = Vec::new();
        let mut node = Node::default();
        let mut name = Vec::new();
        self.begin_object()?;
        loop {
            // Members of the node that is open.
            let parent =
                levels.last().map_or(if top == Ino::TRASH { Ino::ROOT } else { top }, |level| level.ino);
            let is_top = levels.is_empty();
            let opened = self.members(&mut node, is_top.then_some(top), parent)?;
            match (node.attr, opened) {
                (None, _) => return self.wrong("a node without attr"),
                (Some(attr), true) => {
                    if attr.kind != Kind::Directory {
                        return self.wrong("entries of something that is no directory");
                    }
                    levels.push(Level {
                        ino: node.ino,
                        parent,
                        attr,
                        subdirs: 0,
                        stat: DirStat::default(),
                        below: Usage::default(),
                        last: Vec::new(),
                    });
                    if !is_top {
                        self.named(&mut levels, &name, node.ino, &attr, true)?;
                    }
                }
                (Some(attr), false) if is_top => {
                    return match attr.kind {
                        Kind::Directory => self.directory(level_of(node.ino, parent, attr)),
                        _ => self.wrong("the tree begins with something that is no directory"),
                    };
                }
                (Some(attr), false) => {
                    self.named(&mut levels, &name, node.ino, &attr, false)?;
                    if attr.kind == Kind::Directory {
                        self.directory(level_of(node.ino, parent, attr))?;
                    } else if node.is_known {
                        self.tree.rows.link(node.ino, parent)?;
                    } else {
                        self.leaf(&node, attr, parent)?;
                    }
                }
            }
            // On to the next node, out of as many directories as end here.
            loop {
                if let Some(next) = self.next_name()? {
                    name = unescaped(&next);
                    node = Node::default();
                    self.begin_object()?;
                    break;
                }
                let Some(level) = levels.pop() else { return Ok(()) };
                if let Some(above) = levels.last_mut() {
                    above.below.space += level.below.space;
                    above.below.inodes += level.below.inodes;
                }
                self.directory(level)?;
                // Members behind the entries.
                while self.next_name()?.is_some() {
                    self.skip()?;
                }
                if levels.is_empty() {
                    return Ok(());
                }
            }
        }
    }

    /// Reads members up to the end of the object (false), or up to the beginning of its entries (true).
    fn members(&mut self, node: &mut Node, top: Option<Ino>, parent: Ino) -> Result<bool> {
        while let Some(member) = self.next_name()? {
            if member == "attr" {
                self.attr(node, top, parent)?;
                continue;
            }
            let Some(attr) = &mut node.attr else {
                return self.wrong(&format!("{member} comes before attr"));
            };
            match member.as_str() {
                "entries" => {
                    self.begin_object()?;
                    return Ok(true);
                }
                _ if node.is_known => self.skip()?,
                "symlink" => node.target = Some(unescaped(&self.text()?)),
                "xattrs" => self.xattrs(node.ino)?,
                "posix_acl_access" => {
                    let rule = self.acl()?;
                    attr.access_acl = self.tree.rows.rule(rule)?;
                }
                "posix_acl_default" => {
                    let rule = self.acl()?;
                    attr.default_acl = self.tree.rows.rule(rule)?;
                }
                "chunks" => self.chunks(node.ino)?,
                _ => self.skip()?,
            }
        }
        Ok(false)
    }

    fn attr(&mut self, node: &mut Node, top: Option<Ino>, parent: Ino) -> Result<()> {
        let mut attr = Attr::new(Kind::File, 0, 0, 0, parent, Time::default());
        let (mut ino, mut kind) = (0_u64, None);
        self.begin_object()?;
        while let Some(name) = self.next_name()? {
            match name.as_str() {
                "inode" => ino = self.number()?,
                "flags" => attr.flags = self.number()?,
                "type" => {
                    let name = self.text()?;
                    kind = kind_of(&name);
                    if kind.is_none() {
                        return self.wrong(&format!("a node of type {name:?}"));
                    }
                }
                "mode" => attr.mode = self.number::<u16>()? & 0o7777,
                "uid" => attr.uid = self.number()?,
                "gid" => attr.gid = self.number()?,
                "atime" => attr.atime.sec = self.number()?,
                "mtime" => attr.mtime.sec = self.number()?,
                "ctime" => attr.ctime.sec = self.number()?,
                "atimensec" => attr.atime.nsec = self.nanoseconds()?,
                "mtimensec" => attr.mtime.nsec = self.nanoseconds()?,
                "ctimensec" => attr.ctime.nsec = self.nanoseconds()?,
                "nlink" => attr.nlink = self.number()?,
                "length" => attr.length = self.number()?,
                "rdev" => attr.rdev = self.number()?,
                "tier" => attr.tier = self.number()?,
                _ => self.skip()?,
            }
        }
        let Some(kind) = kind else { return self.wrong("an attr without type") };
        if ino == 0 {
            return self.wrong("an attr without inode");
        }
        attr.kind = kind;
        // A dump of a directory loads with that directory as the root.
        let ino = top.unwrap_or(Ino(ino));
        if top.is_none() && (ino == Ino::ROOT || ino == Ino::TRASH) {
            return self.wrong(&format!("inode {ino} below itself"));
        }
        node.is_known = !self.tree.seen.insert(ino.0);
        if node.is_known && (attr.kind == Kind::Directory || attr.nlink < 2) {
            return self.wrong(&format!("inode {ino} is there twice"));
        }
        node.ino = ino;
        node.attr = Some(attr);
        Ok(())
    }

    fn nanoseconds(&mut self) -> Result<u32> {
        let nsec: u32 = self.number()?;
        if nsec < 1_000_000_000 { Ok(nsec) } else { self.wrong(&format!("{nsec} nanoseconds")) }
    }

    fn xattrs(&mut self, ino: Ino) -> Result<()> {
        if !self.begin_list()? {
            return Ok(());
        }
        while self.next_element()? {
            let (mut name, mut value) = (String::new(), Vec::new());
            self.begin_object()?;
            while let Some(member) = self.next_name()? {
                match member.as_str() {
                    "name" => name = self.text()?,
                    "value" => value = unescaped(&self.text()?),
                    _ => self.skip()?,
                }
            }
            let (name, value) = (Bytes::from(name), Bytes::from(value));
            self.tree.rows.add(Item::Xattr { ino, name, value })?;
        }
        Ok(())
    }

    fn acl(&mut self) -> Result<AclRecord> {
        let mut rule = AclRecord {
            owner: 0,
            group: 0,
            mask: 0,
            other: 0,
            named_users: Vec::new(),
            named_groups: Vec::new(),
        };
        self.begin_object()?;
        while let Some(name) = self.next_name()? {
            match name.as_str() {
                "owner" => rule.owner = self.number()?,
                "group" => rule.group = self.number()?,
                "mask" => rule.mask = self.number()?,
                "other" => rule.other = self.number()?,
                "users" => rule.named_users = self.named_permissions()?,
                "groups" => rule.named_groups = self.named_permissions()?,
                _ => self.skip()?,
            }
        }
        Ok(rule)
    }

    fn named_permissions(&mut self) -> Result<Vec<(u32, u16)>> {
        let mut named = Vec::new();
        if !self.begin_list()? {
            return Ok(named);
        }
        while self.next_element()? {
            let (mut id, mut bits) = (0, 0);
            self.begin_object()?;
            while let Some(name) = self.next_name()? {
                match name.as_str() {
                    "id" => id = self.number()?,
                    "perm" => bits = self.number()?,
                    _ => self.skip()?,
                }
            }
            named.push((id, bits));
        }
        Ok(named)
    }

    fn chunks(&mut self, ino: Ino) -> Result<()> {
        if !self.begin_list()? {
            return Ok(());
        }
        while self.next_element()? {
            let (mut indx, mut slices) = (0, Vec::new());
            self.begin_object()?;
            while let Some(name) = self.next_name()? {
                match name.as_str() {
                    "index" => indx = self.number()?,
                    "slices" => slices = self.slices()?,
                    _ => self.skip()?,
                }
            }
            self.tree.rows.count_references(&slices)?;
            self.tree.rows.add(Item::Chunk { ino, indx, slices })?;
        }
        Ok(())
    }

    fn slices(&mut self) -> Result<Vec<Slice>> {
        let mut slices = Vec::new();
        if !self.begin_list()? {
            return Ok(slices);
        }
        while self.next_element()? {
            let mut slice = Slice::default();
            self.begin_object()?;
            while let Some(name) = self.next_name()? {
                match name.as_str() {
                    // The old name.
                    "chunkid" | "id" => slice.id = self.number()?,
                    "pos" => slice.pos = self.number()?,
                    "size" => slice.size = self.number()?,
                    "off" => slice.off = self.number()?,
                    "len" => slice.len = self.number()?,
                    _ => self.skip()?,
                }
            }
            let Slice { pos, id, size, off, len } = slice;
            let is_in_chunk = u64::from(pos) + u64::from(len) <= CHUNK_BYTES;
            if !is_in_chunk || id != 0 && u64::from(off) + u64::from(len) > u64::from(size) {
                return self.wrong(&format!("slice {id} goes beyond its chunk or itself"));
            }
            slices.push(slice);
        }
        Ok(slices)
    }

    /// A name of the directory that is open. `is_open`: it is a directory of its own that was just opened.
    fn named(
        &mut self,
        levels: &mut [Level],
        name: &[u8],
        ino: Ino,
        attr: &Attr,
        is_open: bool,
    ) -> Result<()> {
        let above = levels.len().checked_sub(if is_open { 2 } else { 1 });
        let Some(level) = above.and_then(|at| levels.get_mut(at)) else { return Ok(()) };
        if level.last == name {
            let name = name.escape_ascii();
            return self.wrong(&format!("{name} is there twice in inode {}", level.ino));
        }
        let name = match Name::new(name.to_vec()) {
            Ok(name) => name,
            Err(_) => return self.wrong(&format!("{} is no name", name.escape_ascii())),
        };
        level.last.clear();
        level.last.extend_from_slice(name.as_bytes());
        let space = attr.space().cast_signed();
        level.stat.inodes += 1;
        level.stat.space += space;
        level.below.inodes += 1;
        level.below.space += space;
        match attr.kind {
            Kind::Directory => level.subdirs = level.subdirs.saturating_add(1),
            Kind::File => level.stat.length = level.stat.length.saturating_add_unsigned(attr.length),
            _ => {}
        }
        let parent = level.ino;
        self.tree.rows.entry();
        self.tree.rows.add(Item::Edge { parent, name, edge: Edge { ino, kind: attr.kind } })
    }

    /// Anything but a directory, met for the first time. Its other names are counted as they come.
    fn leaf(&mut self, node: &Node, mut attr: Attr, parent: Ino) -> Result<()> {
        attr.nlink = 1;
        attr.parent = parent;
        let ino = node.ino;
        match (attr.kind, &node.target) {
            (Kind::Symlink, Some(target)) => {
                attr.length = target.len() as u64;
                self.tree.rows.add(Item::Symlink { ino, target: target.clone().into() })?;
            }
            (Kind::Symlink, None) => return self.wrong(&format!("symlink {ino} without its target")),
            (Kind::File, _) => {}
            _ => attr.length = 0,
        }
        self.tree.count(ino, &attr);
        self.tree.rows.add(Item::Node { ino, attr })
    }

    /// A directory all of whose entries were read.
    fn directory(&mut self, level: Level) -> Result<()> {
        let Level { ino, parent, mut attr, subdirs, stat, below, .. } = level;
        attr.parent = parent;
        attr.length = 4096;
        attr.nlink = if ino.is_trash() { 2 } else { subdirs.saturating_add(2) };
        self.tree.count(ino, &attr);
        if self.tree.has_stats() && ino != Ino::TRASH {
            self.tree.rows.add(Item::DirStat { ino, stat })?;
        }
        let quota = (QuotaKind::Directory, ino.0);
        if let Some(limits) = self.tree.quotas.get(&quota).copied() {
            self.tree.quota(quota, limits, below)?;
        }
        self.tree.rows.add(Item::Node { ino, attr })
    }
}

fn level_of(ino: Ino, parent: Ino, attr: Attr) -> Level {
    Level {
        ino,
        parent,
        attr,
        subdirs: 0,
        stat: DirStat::default(),
        below: Usage::default(),
        last: Vec::new(),
    }
}
