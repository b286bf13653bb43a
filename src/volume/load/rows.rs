//! What a load hands to the engine, and the numbers it adds up on the way. Documents are read by a thread of their own;
//! batches of rows cross to the one that writes.

use juicefs_meta::engines::packed::AclRecord;
use juicefs_meta::format::Format;
use juicefs_meta::port::{Counters, Item};
use juicefs_meta::types::SliceId;
use juicefs_meta::{Ino, Slice};
use roaring::RoaringTreemap;
use std::collections::HashMap;
use tokio::sync::mpsc;

use crate::error::{Error, Result};

/// Rows of a batch.
const ROWS: usize = 5_000;
/// Slices of a batch.
const SLICES: usize = 50_000;

/// Rows to write, then what has to be changed of rows written before.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub rows: Vec<Item>,
    /// Further names of files: the file and the directory.
    pub links: Vec<(Ino, Ino)>,
    /// Further references to slices.
    pub shared: Vec<(SliceId, u32)>,
    /// Entries of the document, for the progress.
    pub entries: u64,
    slices: usize,
}

/// What a document says of the volume as a whole.
#[derive(Debug)]
pub(super) struct Volume {
    pub format: Format,
    pub counters: Counters,
    pub last_acl: u32,
}

/// Collects rows and sends them on; says when the other side has given up.
pub(super) struct Rows {
    batch: Batch,
    to: mpsc::Sender<Batch>,
    /// Slices that some row refers to: about a bit each.
    slices: RoaringTreemap,
    rules: HashMap<AclRecord, u32>,
    last_acl: u32,
}

impl Rows {
    pub(super) fn new(to: mpsc::Sender<Batch>) -> Self {
        Self {
            batch: Batch::default(),
            to,
            slices: RoaringTreemap::new(),
            rules: HashMap::new(),
            last_acl: 0,
        }
    }

    pub(super) fn last_acl(&self) -> u32 {
        self.last_acl
    }

    pub(super) fn last_slice(&self) -> SliceId {
        self.slices.max().unwrap_or(0)
    }

    /// # Errors
    /// The writing side has ended; its own error says why.
    pub(super) fn add(&mut self, item: Item) -> Result<()> {
        if let Item::Chunk { slices, .. } = &item {
            self.batch.slices += slices.len();
        }
        self.batch.rows.push(item);
        self.send_if_full()
    }

    pub(super) fn entry(&mut self) {
        self.batch.entries += 1;
    }

    pub(super) fn link(&mut self, ino: Ino, parent: Ino) -> Result<()> {
        self.batch.links.push((ino, parent));
        self.send_if_full()
    }

    /// Counts the references of a list of slices that nothing else counts.
    pub(super) fn count_references(&mut self, slices: &[Slice]) -> Result<()> {
        for slice in slices.iter().filter(|slice| slice.id > 0) {
            if self.slices.insert(slice.id) {
                self.add(Item::SliceRefs { id: slice.id, size: slice.size, refs: 1 })?;
            } else {
                self.batch.shared.push((slice.id, slice.size));
            }
        }
        self.send_if_full()
    }

    /// A slice whose references the document counts, or names without counting when there is one.
    pub(super) fn references(&mut self, id: SliceId, size: u32, counted: Option<i64>) -> Result<()> {
        let is_new = id > 0 && self.slices.insert(id);
        match counted {
            Some(refs) if id > 0 => self.add(Item::SliceRefs { id, size, refs }),
            None if is_new => self.add(Item::SliceRefs { id, size, refs: 1 }),
            _ => Ok(()),
        }
    }

    /// The number of a rule; equal rules share one.
    pub(super) fn rule(&mut self, rule: AclRecord) -> Result<u32> {
        if let Some(id) = self.rules.get(&rule) {
            return Ok(*id);
        }
        self.last_acl += 1;
        self.rules.insert(rule.clone(), self.last_acl);
        self.add(Item::Acl { id: self.last_acl, rule })?;
        Ok(self.last_acl)
    }

    /// A rule whose number the document gives.
    pub(super) fn numbered_rule(&mut self, id: u32, rule: AclRecord) -> Result<()> {
        self.last_acl = self.last_acl.max(id);
        self.add(Item::Acl { id, rule })
    }

    fn send_if_full(&mut self) -> Result<()> {
        let batch = &self.batch;
        let is_full = batch.rows.len() >= ROWS || batch.links.len() >= ROWS || batch.slices >= SLICES;
        if is_full || batch.shared.len() >= SLICES { self.send() } else { Ok(()) }
    }

    pub(super) fn send(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        self.to.blocking_send(batch).map_err(|_| Error::BadRequest("the load broke off".to_owned()))
    }
}
