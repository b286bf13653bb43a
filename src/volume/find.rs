//! Whether a database holds a volume, for who must know before it does anything.

use juicefs_meta::engines;
use juicefs_meta::format::Format;
use juicefs_meta::url::MetaUrl;

use crate::error::Result;

/// The volume's setting, or nothing if the database holds none. Nothing is written.
///
/// # Errors
/// An engine that does not answer, a setting that does not parse or is of a newer version.
pub async fn find_format(url: &MetaUrl) -> Result<Option<Format>> {
    let engine = engines::open(url).await?;
    let Some(text) = engine.setting().await? else { return Ok(None) };
    let format = Format::parse(&text)?;
    format.check_version()?;
    Ok(Some(format))
}
