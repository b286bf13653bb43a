//! What etcd must do beside the suite that all engines share, each against a real one.

mod doubt;
mod large;
mod refusals;
pub(crate) mod server;

use std::sync::Arc;

use crate::engines::kv::etcd;
use crate::error::Result;
use crate::port::{Change, Engine, Get, Got, Hold, NewVolume};
use crate::types::{Attr, Ino, Kind, Slice, Time};

fn volume() -> NewVolume {
    let at = Time { sec: 1_795_000_000, nsec: 0 };
    let root = Attr::new(Kind::Directory, 0o777, 0, 0, Ino::ROOT, at);
    NewVolume { setting: "{\n\"Name\": \"vol\"\n}".to_owned(), root, trash: None }
}

async fn open(port: u16, rest: &str) -> Result<Arc<dyn Engine>> {
    etcd::open(&server::url(&format!("etcd://127.0.0.1:{port}{rest}"))).await
}

/// Appends a slice as the operations do; the length of the list.
async fn append(engine: &dyn Engine, id: u64) -> Result<u32> {
    let mut attempt = engine.begin(0).await?;
    let gets =
        [Get::Node { ino: Ino::ROOT, hold: Hold::Update }, Get::AppendTarget { ino: Ino::ROOT, indx: 0 }];
    let got = attempt.read(&gets).await?;
    let [Got::Node(Some(was)), Got::Ready] = got[..] else { panic!("{got:?}") };
    let slice = Slice { pos: 0, id, size: 100, off: 0, len: 100 };
    let changes = [
        Change::AppendSlice { ino: Ino::ROOT, indx: 0, slice, only_existing: false },
        Change::TrackSlice { id, size: 100 },
        Change::UpdateNode { ino: Ino::ROOT, was, now: Attr { length: was.length + 100, ..was } },
        Change::AddUsage { space: 4096, inodes: 0 },
    ];
    let receipt = attempt.commit(&changes).await?;
    Ok(receipt.slices_after_append[0])
}

/// What [`append`] has added to the root's length.
async fn length(engine: &dyn Engine) -> u64 {
    let got = engine.read(&[Get::Node { ino: Ino::ROOT, hold: Hold::Peek }]).await.expect("reads");
    let [Got::Node(Some(attr))] = got[..] else { panic!("{got:?}") };
    attr.length - 4096
}
