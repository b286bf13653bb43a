//! Typed questions: a row, or a tuple of rows, and the shape of the answers.

use crate::error::{Error, Result};
use crate::lock::{Holder, LockKind, RangeLock};
use crate::port::{Get, Got, Hold};
use crate::types::{Attr, DirStat, Edge, Ino, Name, Slice, SliceId};

/// Rows asked for together: one, or a tuple of up to six.
pub trait Rows: Send + Sync {
    type Values: Send;
    type Gets: AsRef<[Get]> + Send + Sync;
    fn gets(&self) -> Self::Gets;
    /// # Errors
    /// [`Error::Corrupt`] when an engine answers another question.
    fn values(got: Vec<Got>) -> Result<Self::Values>;
}

/// One row and the shape of its answer.
pub trait Row: Send + Sync {
    type Value: Send;
    fn get(&self) -> Get;
    fn value(got: Got) -> Option<Self::Value>;
}

macro_rules! row {
    ($(#[$doc:meta])* $name:ident$(<$life:lifetime>)?($($field:ident: $type:ty),*) -> $value:ty, $get:expr, $pattern:pat => $result:expr) => {
        $(#[$doc])*
        pub struct $name$(<$life>)?($(pub $type),*);
        impl$(<$life>)? Row for $name$(<$life>)? {
            type Value = $value;
            fn get(&self) -> Get {
                let Self($($field),*) = self;
                $get
            }
            fn value(got: Got) -> Option<$value> {
                match got {
                    $pattern => Some($result),
                    _ => None,
                }
            }
        }
    };
}

row!(NodeOf(ino: Ino, hold: Hold) -> Option<Attr>, Get::Node { ino: *ino, hold: *hold }, Got::Node(attr) => attr);
row!(EdgeOf<'a>(parent: Ino, name: &'a Name, hold: Hold) -> Option<Edge>,
    Get::Edge { parent: *parent, name: (*name).clone(), hold: *hold }, Got::Edge(edge) => edge);
row!(ParentsOf(ino: Ino) -> Vec<(Ino, i64)>, Get::Parents { ino: *ino }, Got::Parents(parents) => parents);
row!(SymlinkOf(ino: Ino) -> Option<bytes::Bytes>, Get::Symlink { ino: *ino }, Got::Bytes(target) => target);
row!(XattrOf<'a>(ino: Ino, name: &'a bytes::Bytes, hold: Hold) -> Option<bytes::Bytes>,
    Get::Xattr { ino: *ino, name: (*name).clone(), hold: *hold }, Got::Bytes(value) => value);
row!(XattrNamesOf(ino: Ino) -> Vec<bytes::Bytes>, Get::XattrNames { ino: *ino }, Got::Names(names) => names);
row!(ChunkOf(ino: Ino, indx: u32, hold: Hold) -> Vec<Slice>,
    Get::Chunk { ino: *ino, indx: *indx, hold: *hold }, Got::Slices(slices) => slices);
row!(AppendTarget(ino: Ino, indx: u32) -> (), Get::AppendTarget { ino: *ino, indx: *indx }, Got::Ready => ());
row!(DirStatOf(ino: Ino) -> Option<DirStat>, Get::DirStat { ino: *ino }, Got::DirStat(stat) => stat);
row!(DelayedSlicesOf(id: SliceId, deleted_at: i64) -> Option<Vec<(SliceId, u32)>>,
    Get::DelayedSlices { id: *id, deleted_at: *deleted_at }, Got::SlicePairs(pairs) => pairs);

row!(FlocksOf(ino: Ino) -> Vec<(Holder, LockKind)>, Get::Flocks { ino: *ino }, Got::Flocks(locks) => locks);
row!(RangeLocksOf(ino: Ino) -> Vec<(Holder, Vec<RangeLock>)>,
    Get::RangeLocks { ino: *ino }, Got::RangeLocks(locks) => locks);

fn answer<R: Row>(got: Option<Got>) -> Result<R::Value> {
    got.and_then(R::value).ok_or_else(|| Error::Corrupt {
        record: "answer".to_owned(),
        cause: "the engine answered another question".to_owned(),
    })
}

macro_rules! rows {
    ($count:literal: $($row:ident $index:tt),+) => {
        impl<$($row: Row),+> Rows for ($($row,)+) {
            type Values = ($($row::Value,)+);
            type Gets = [Get; $count];
            fn gets(&self) -> Self::Gets {
                [$(self.$index.get()),+]
            }
            fn values(got: Vec<Got>) -> Result<Self::Values> {
                let mut got = got.into_iter();
                Ok(($(answer::<$row>(got.next())?,)+))
            }
        }
    };
}

rows!(1: A 0);
rows!(2: A 0, B 1);
rows!(3: A 0, B 1, C 2);
rows!(4: A 0, B 1, C 2, D 3);
rows!(5: A 0, B 1, C 2, D 3, E 4);
rows!(6: A 0, B 1, C 2, D 3, E 4, F 5);
