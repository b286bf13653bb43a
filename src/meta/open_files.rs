//! Which files this process holds open, and what it remembers of them meanwhile.
//!
//! A file counts as open from before its attributes are read until its last close. An open file whose last name
//! goes is *sustained*: its record lives until that close. While a file is open the slice lists of its chunks
//! are remembered; they are dropped by own changes, and when any reading of its attributes shows another mtime.

use std::collections::HashMap;
use std::sync::Arc;

use juicefs_base::sync::Mutex;

use crate::types::{Attr, Ino, Slice, Time};

const SHARDS: usize = 64;
/// Slice lists remembered per file; past it they are all dropped.
const CHUNKS_MAX: usize = 1024;

type Shard = Mutex<HashMap<Ino, OpenFile>>;

/// All open files of one mount.
pub(crate) struct OpenFiles {
    shards: Box<[Shard]>,
}

#[derive(Default)]
struct OpenFile {
    opens: u32,
    is_sustained: bool,
    /// It never had a name and may be given one.
    is_linkable: bool,
    /// Another client deleted it; said once.
    is_lost: bool,
    mtime: Option<Time>,
    chunks: HashMap<u32, Arc<[Slice]>>,
    /// Moves with every forgetting, so that a list read before it is not remembered after it.
    generation: u64,
}

impl Default for OpenFiles {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl OpenFiles {
    fn with<T>(&self, ino: Ino, act: impl FnOnce(Option<&mut OpenFile>) -> T) -> T {
        act(self.shards[ino.0 as usize % SHARDS].lock().get_mut(&ino))
    }

    pub(crate) fn open(&self, ino: Ino) {
        self.shards[ino.0 as usize % SHARDS].lock().entry(ino).or_default().opens += 1;
    }

    /// True when this was the last close of a sustained file: its record has to go now.
    pub(crate) fn close(&self, ino: Ino) -> bool {
        let mut shard = self.shards[ino.0 as usize % SHARDS].lock();
        let Some(file) = shard.get_mut(&ino) else { return false };
        file.opens -= 1;
        if file.opens > 0 {
            return false;
        }
        shard.remove(&ino).is_some_and(|file| file.is_sustained)
    }

    pub(crate) fn is_open(&self, ino: Ino) -> bool {
        self.with(ino, |file| file.is_some())
    }

    pub(crate) fn sustain(&self, ino: Ino) {
        self.with(ino, |file| {
            if let Some(file) = file {
                file.is_sustained = true;
            }
        });
    }

    pub(crate) fn make_linkable(&self, ino: Ino) {
        self.with(ino, |file| {
            if let Some(file) = file {
                file.is_linkable = true;
            }
        });
    }

    pub(crate) fn is_linkable(&self, ino: Ino) -> bool {
        self.with(ino, |file| file.is_some_and(|file| file.is_linkable))
    }

    /// The file has its first name now.
    pub(crate) fn named(&self, ino: Ino) {
        self.with(ino, |file| {
            if let Some(file) = file {
                (file.is_linkable, file.is_sustained) = (false, false);
            }
        });
    }

    pub(crate) fn is_sustained(&self, ino: Ino) -> bool {
        self.with(ino, |file| file.is_some_and(|file| file.is_sustained))
    }

    /// The file is gone; true when nobody has said so yet.
    pub(crate) fn lose(&self, ino: Ino) -> bool {
        self.with(ino, |file| file.is_some_and(|file| !std::mem::replace(&mut file.is_lost, true)))
    }

    /// Open files that are not sustained and have not been lost.
    pub(crate) fn with_names(&self) -> Vec<Ino> {
        self.list(|file| !file.is_sustained && !file.is_lost)
    }

    /// Sustained files, for a session that has to register them again.
    pub(crate) fn sustained(&self) -> Vec<Ino> {
        self.list(|file| file.is_sustained)
    }

    fn list(&self, is_asked: impl Fn(&OpenFile) -> bool) -> Vec<Ino> {
        let of_shard = |shard: &Shard| {
            shard.lock().iter().filter(|(_, file)| is_asked(file)).map(|(ino, _)| *ino).collect::<Vec<_>>()
        };
        self.shards.iter().flat_map(of_shard).collect()
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Attributes were read: another mtime than the last one means that somebody else changed the data.
    pub(crate) fn saw(&self, ino: Ino, attr: &Attr) {
        self.with(ino, |file| {
            if let Some(file) = file
                && file.mtime != Some(attr.mtime)
            {
                file.mtime = Some(attr.mtime);
                file.chunks.clear();
                file.generation += 1;
            }
        });
    }

    /// A commit of ours moved the mtime and changed one chunk; another mtime before it is somebody else's change.
    pub(crate) fn wrote(&self, ino: Ino, before: Time, attr: &Attr, indx: u32) {
        self.with(ino, |file| {
            if let Some(file) = file {
                if [Some(before), Some(attr.mtime)].contains(&file.mtime) {
                    file.chunks.remove(&indx);
                } else {
                    file.chunks.clear();
                }
                file.mtime = Some(attr.mtime);
                file.generation += 1;
            }
        });
    }

    pub(crate) fn forget_chunks(&self, ino: Ino) {
        self.with(ino, |file| {
            if let Some(file) = file {
                file.chunks.clear();
                file.generation += 1;
            }
        });
    }

    pub(crate) fn forget_chunk(&self, ino: Ino, indx: u32) {
        self.with(ino, |file| {
            if let Some(file) = file {
                file.chunks.remove(&indx);
                file.generation += 1;
            }
        });
    }

    /// The remembered list, and the generation to hand to [`Self::remember`]; `None` for a file that is not open.
    pub(crate) fn chunk(&self, ino: Ino, indx: u32) -> Option<(Option<Arc<[Slice]>>, u64)> {
        self.with(ino, |file| file.map(|file| (file.chunks.get(&indx).cloned(), file.generation)))
    }

    pub(crate) fn remember(&self, ino: Ino, indx: u32, slices: &Arc<[Slice]>, generation: u64) {
        self.with(ino, |file| {
            if let Some(file) = file
                && file.generation == generation
            {
                if file.chunks.len() >= CHUNKS_MAX {
                    file.chunks.clear();
                }
                file.chunks.insert(indx, Arc::clone(slices));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Kind;

    #[test]
    fn the_last_close_of_a_sustained_file_is_told() {
        let files = OpenFiles::default();
        files.open(Ino(5));
        files.open(Ino(5));
        files.sustain(Ino(5));
        assert_eq!(files.sustained(), [Ino(5)]);
        assert!(!files.close(Ino(5)));
        assert!(files.close(Ino(5)));
        assert!(!files.is_open(Ino(5)) && files.count() == 0);
    }

    #[test]
    fn a_list_read_before_a_change_is_not_remembered_after_it() {
        let files = OpenFiles::default();
        let slices: Arc<[Slice]> = Arc::new([Slice::default()]);
        let mut attr = Attr::new(Kind::File, 0, 0, 0, Ino::ROOT, Time::default());
        files.open(Ino(5));
        files.saw(Ino(5), &attr);
        let (_, generation) = files.chunk(Ino(5), 0).unwrap();
        files.remember(Ino(5), 0, &slices, generation);
        files.saw(Ino(5), &attr);
        assert!(files.chunk(Ino(5), 0).unwrap().0.is_some(), "the same mtime keeps lists");
        files.wrote(Ino(5), attr.mtime, &attr, 0);
        files.remember(Ino(5), 0, &slices, generation);
        let (list, generation) = files.chunk(Ino(5), 0).unwrap();
        assert!(list.is_none());
        files.remember(Ino(5), 0, &slices, generation);
        attr.mtime.sec = 7;
        files.saw(Ino(5), &attr);
        assert!(files.chunk(Ino(5), 0).unwrap().0.is_none(), "another mtime drops them");
    }
}
