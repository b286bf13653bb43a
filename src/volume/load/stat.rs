//! What is in a binary dump, without loading it.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use prost::Message;

use super::binary::{SEGMENT_BYTES_MAX, Segments};
use crate::dump::binary::messages::{Batch, Footer, MAGIC, Setting};
use crate::error::{Error, Result};

/// The segments of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentStat {
    pub name: String,
    /// Rows.
    pub count: u64,
    /// From the start of the file.
    pub offsets: Vec<u64>,
}

/// The document's version and its segments by name.
///
/// # Errors
/// A file that can't be read or has no footer.
pub fn segments(path: &Path) -> Result<(u32, Vec<SegmentStat>)> {
    let about = |cause: std::io::Error| Error::BadRequest(format!("{}: {cause}", path.display()));
    let mut file = File::open(path).map_err(about)?;
    let length = file.metadata().map_err(about)?.len();
    let no_footer = || Error::BadDump("it has no footer: is it a whole binary dump?".to_owned());
    let tail_at = length.checked_sub(8).ok_or_else(no_footer)?;
    file.seek(SeekFrom::Start(tail_at)).map_err(about)?;
    let mut tail = [0; 8];
    file.read_exact(&mut tail).map_err(about)?;
    let footer_bytes = u64::from_be_bytes(tail);
    let footer_at = tail_at.checked_sub(footer_bytes).filter(|_| footer_bytes <= SEGMENT_BYTES_MAX);
    file.seek(SeekFrom::Start(footer_at.ok_or_else(no_footer)?)).map_err(about)?;
    let mut body = Vec::new();
    file.take(footer_bytes).read_to_end(&mut body).map_err(about)?;
    let footer = Footer::decode(&body[..]).map_err(|_| no_footer())?;
    if footer.magic != MAGIC {
        return Err(no_footer());
    }
    let stat = |(name, info): (String, crate::dump::binary::messages::SegmentInfo)| SegmentStat {
        name,
        count: info.count,
        offsets: info.offsets,
    };
    Ok((footer.version, footer.segments.into_iter().map(stat).collect()))
}

/// The rows of the segment at `offset`, for people to read.
///
/// # Errors
/// A file that can't be read, a place where no segment begins.
pub fn segment_text(path: &Path, offset: u64) -> Result<String> {
    let about = |cause: std::io::Error| Error::BadRequest(format!("{}: {cause}", path.display()));
    let mut file = File::open(path).map_err(about)?;
    file.seek(SeekFrom::Start(offset)).map_err(about)?;
    let Some((segment, _, body)) = Segments::new(BufReader::new(file)).next()? else {
        return Err(Error::BadRequest(format!("no segment begins at byte {offset}: --offset -1 lists them")));
    };
    if segment == crate::dump::binary::messages::Segment::Format {
        let setting = Setting::decode(&body[..]).map_err(|cause| Error::BadDump(cause.to_string()))?;
        return Ok(String::from_utf8_lossy(&setting.data).into_owned());
    }
    let batch = Batch::decode(&body[..]).map_err(|cause| Error::BadDump(cause.to_string()))?;
    Ok(format!("{}: {batch:#?}", segment.name()))
}
