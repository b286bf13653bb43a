//! The debts of a process on disk, so that the next one pays them if this one is killed: a line when one is made, a line
//! when it is paid. A file belongs to who holds its lock; files of the dead are taken over.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::Side;
use super::debts::Due;

/// A file is begun anew when nothing is owed and it has grown to this.
const ROTATED_BYTES: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    path: PathBuf,
    bytes: u64,
}

impl Journal {
    /// A journal of this process's own in `dir`, and what the dead left there.
    pub(super) fn open(dir: &Path) -> io::Result<(Self, HashMap<String, Due>)> {
        std::fs::create_dir_all(dir)?;
        let mut left = HashMap::new();
        let mut taken = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "journal") {
                continue;
            }
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            // Somebody lives who pays them.
            if file.try_lock().is_err() {
                continue;
            }
            read(&file, &mut left)?;
            taken.push((path, file));
        }
        let path = dir.join(format!("{}-{:08x}.journal", std::process::id(), rand::random::<u32>()));
        let file = OpenOptions::new().create_new(true).append(true).open(&path)?;
        file.try_lock().map_err(io::Error::from)?;
        let mut journal = Self { file, path, bytes: 0 };
        for (key, due) in &left {
            journal.owe(key, *due)?;
        }
        for (path, file) in taken {
            std::fs::remove_file(path)?;
            drop(file);
        }
        Ok((journal, left))
    }

    pub(super) fn owe(&mut self, key: &str, due: Due) -> io::Result<()> {
        let word = match due {
            Due::Copy(Side::First) => "copy1",
            Due::Copy(Side::Second) => "copy2",
            Due::Deletion(Side::First) => "delete1",
            Due::Deletion(Side::Second) => "delete2",
        };
        self.write(&format!("{word} {key}\n"))
    }

    pub(super) fn paid(&mut self, key: &str, nothing_left: bool) -> io::Result<()> {
        if nothing_left && self.bytes >= ROTATED_BYTES {
            self.bytes = 0;
            return self.file.set_len(0);
        }
        self.write(&format!("paid {key}\n"))
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        self.bytes += line.len() as u64;
        self.file.write_all(line.as_bytes())
    }

    /// Nothing is owed any more: the file goes.
    pub(super) fn remove(&self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

/// A line that was cut by a crash was of a write that nobody was told of.
fn read(mut file: &File, left: &mut HashMap<String, Due>) -> io::Result<()> {
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        let Some((word, key)) = line.split_once(' ') else { continue };
        let due = match word {
            "copy1" => Due::Copy(Side::First),
            "copy2" => Due::Copy(Side::Second),
            "delete1" => Due::Deletion(Side::First),
            "delete2" => Due::Deletion(Side::Second),
            "paid" => {
                left.remove(key);
                continue;
            }
            _ => continue,
        };
        left.insert(key.to_owned(), due);
    }
    Ok(())
}
