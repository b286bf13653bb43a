//! `dump`: a volume's metadata as one document, in memory that does not grow with the volume.

pub(crate) mod binary;
pub(crate) mod json;
mod output;

use juicefs_meta::engines;
use juicefs_meta::port::Engine;
use juicefs_meta::url::MetaUrl;

pub use output::{Packing, Target};

use crate::error::Result;
use crate::progress::Progress;
use crate::storage::load_format;
use output::Output;

/// What goes into a dump.
#[derive(Clone, Debug, Default)]
pub struct DumpRequest {
    /// Only this directory and what is below it; JSON only.
    pub subdir: Option<String>,
    /// Keys of the object store stay as they are stored.
    pub keep_secrets: bool,
    /// JSON only.
    pub skip_trash: bool,
    /// The binary document instead of JSON.
    pub binary: bool,
}

/// Writes the metadata of the volume at `url` to `target`. What can't be read is left out with a warning; returns how
/// many entries that were.
///
/// # Errors
/// An engine that does not answer, a database without a volume, a target that can't be written.
pub async fn dump(
    url: &MetaUrl,
    request: &DumpRequest,
    target: Target,
    progress: &dyn Progress,
) -> Result<u64> {
    let engine = engines::open(url).await?;
    dump_engine(engine.as_ref(), request, target, progress).await
}

/// [`dump`] for who has the engine open.
///
/// # Errors
/// As [`dump`].
pub async fn dump_engine(
    engine: &dyn Engine,
    request: &DumpRequest,
    target: Target,
    progress: &dyn Progress,
) -> Result<u64> {
    let format = load_format(engine).await?;
    let mut out = Output::start(target);
    let left_out = if request.binary {
        binary::write(engine, &format, request, &mut out, progress).await?
    } else {
        json::write(engine, &format, request, &mut out, progress).await?
    };
    out.finish().await?;
    Ok(left_out)
}
