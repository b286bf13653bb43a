//! Where a dump comes from, unpacked.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use juicefs_object::Encryption;

use crate::error::{Error, Result};

/// A document to read, whatever it was packed with.
pub struct Source {
    reader: Box<dyn Read + Send>,
    /// Of the unpacked document, space left out; nothing for an empty one.
    first: Option<u8>,
}

impl Source {
    /// # Errors
    /// A file that can't be opened or read.
    pub fn file(path: &Path) -> Result<Self> {
        let about = |cause: std::io::Error| Error::BadRequest(format!("{}: {cause}", path.display()));
        Self::reader(File::open(path).map_err(about)?).map_err(about)
    }

    /// An object of an encrypted volume as it lies in the bucket. It is one sealed piece, so all of it is held.
    ///
    /// # Errors
    /// As [`Self::file`]; a key that can't be opened or is another volume's.
    pub fn sealed_file(path: &Path, encryption: &Encryption) -> Result<Self> {
        let about = |cause: std::io::Error| Error::BadRequest(format!("{}: {cause}", path.display()));
        let sealed = std::fs::read(path).map_err(about)?;
        let body = juicefs_object::unsealed(encryption, sealed.into(), &path.to_string_lossy())?;
        Self::reader(std::io::Cursor::new(body)).map_err(about)
    }

    /// Compressed or not: the first bytes say it.
    ///
    /// # Errors
    /// A reader that fails at once.
    pub fn reader(reader: impl Read + Send + 'static) -> std::io::Result<Self> {
        let mut reader = BufReader::with_capacity(256 * 1024, reader);
        let mut reader: Box<dyn BufRead + Send> = match reader.fill_buf()? {
            [0x1f, 0x8b, ..] => Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(reader))),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(BufReader::new(zstd::Decoder::with_buffer(reader)?)),
            _ => Box::new(reader),
        };
        let first = reader.fill_buf()?.iter().copied().find(|byte| !byte.is_ascii_whitespace());
        Ok(Self { reader, first })
    }

    /// # Errors
    /// [`Error::BadRequest`] for a document of the other kind than it is said to be.
    pub(super) fn check_kind(&self, is_binary: bool) -> Result<()> {
        match (self.first, is_binary) {
            (Some(b'{'), true) => Err(Error::BadRequest(
                "the dump is a JSON document, not a binary one: leave out --binary".to_owned(),
            )),
            (Some(first), false) if first != b'{' => Err(Error::BadRequest(
                "the dump is no JSON document: add --binary if it was made with `dump --binary`".to_owned(),
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn into_reader(self) -> Box<dyn Read + Send> {
        self.reader
    }
}
