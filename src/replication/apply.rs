//! Batches into the mirror: rows and the cursor in one transaction, guarded by the mirror's own record.

use juicefs_meta::mirror::{MirrorRecord, SIDE};
use juicefs_meta::port::{Change, Engine, Get, Got, Mirrored};

use crate::error::{Error, Result};

/// The row at the mirror that makes `got` true, the source's answer to `get`.
pub(crate) fn row(get: &Get, got: Got) -> Option<Change> {
    Some(match (get, got) {
        (Get::Node { ino, .. }, Got::Node(attr)) => Change::Mirror(Mirrored::Node { ino: *ino, attr }),
        (Get::Edge { parent, name, .. }, Got::Edge(edge)) => {
            Change::Mirror(Mirrored::Edge { parent: *parent, name: name.clone(), edge })
        }
        (Get::Chunk { ino, indx, .. }, Got::Slices(slices)) => {
            Change::Mirror(Mirrored::Slices { ino: *ino, indx: *indx, slices })
        }
        (Get::Symlink { ino }, Got::Bytes(Some(target))) => {
            Change::Mirror(Mirrored::Symlink { ino: *ino, target })
        }
        (Get::Parents { ino }, Got::Parents(parents)) => {
            Change::Mirror(Mirrored::Parents { ino: *ino, parents })
        }
        (Get::Xattr { ino, name, .. }, Got::Bytes(Some(value))) => {
            Change::SetXattr { ino: *ino, name: name.clone(), value }
        }
        (Get::Xattr { ino, name, .. }, Got::Bytes(None)) => {
            Change::DeleteXattr { ino: *ino, name: name.clone() }
        }
        // A symlink that is gone goes with its node.
        _ => return None,
    })
}

/// Nodes that are gone last: they take their attributes, parents and target along.
pub(crate) fn rows(gets: &[Get], answers: Vec<Got>) -> Vec<Change> {
    let mut changes: Vec<Change> = gets.iter().zip(answers).filter_map(|(get, got)| row(get, got)).collect();
    let is_removal = |change: &Change| matches!(change, Change::Mirror(Mirrored::Node { attr: None, .. }));
    changes.sort_by_key(is_removal);
    changes
}

/// Writes `changes` and the record that says so.
///
/// # Errors
/// [`Error::Overtaken`] when the record is not `was` any more; as the engine's.
pub(crate) async fn commit(
    mirror: &dyn Engine,
    was: &MirrorRecord,
    now: &MirrorRecord,
    mut changes: Vec<Change>,
) -> Result<()> {
    let mut attempt = mirror.begin(0).await?;
    let got = attempt.read(&[Get::Side { name: SIDE.to_owned() }]).await?;
    if !matches!(&got[..], [Got::Bytes(Some(value))] if MirrorRecord::parse(value)? == *was) {
        return Err(Error::Overtaken);
    }
    if now != was {
        changes.push(Change::PutSide { name: SIDE.to_owned(), value: now.to_value() });
    }
    if !changes.is_empty() {
        attempt.commit(&changes).await?;
    }
    Ok(())
}
