//! Against a real redis-server; the suite that all engines share is in `crate::conformance`.

mod cost;
mod doubt;
mod failover;
mod interop;
mod records;
mod refusals;
pub(crate) mod server;
mod storm;

use crate::port::{Change, Engine, Get, Got, Hold, NewVolume};
use crate::types::{Attr, Edge, Ino, Kind, Name, Slice, Time};

fn name(text: &str) -> Name {
    Name::new(text.to_owned()).expect("a name")
}

fn attr(kind: Kind, parent: Ino) -> Attr {
    Attr::new(kind, 0o755, 1000, 100, parent, Time { sec: 1_795_000_000, nsec: 5 })
}

fn slice(id: u64, len: u32) -> Slice {
    Slice { pos: 0, id, size: len, off: 0, len }
}

fn volume() -> NewVolume {
    let at = Time { sec: 1_795_000_000, nsec: 0 };
    NewVolume {
        setting: SETTING.to_owned(),
        root: Attr::new(Kind::Directory, 0o777, 0, 0, Ino::ROOT, at),
        trash: Some(Attr::new(Kind::Directory, 0o555, 0, 0, Ino::ROOT, at)),
    }
}

/// As the peer's `format` writes it (format 1.2).
const SETTING: &str = "{\n\"Name\": \"vola\",\n\"UUID\": \"51c45a61-2647-47ed-84b5-c14e9f92a47c\",\n\"Storage\": \"file\",\n\"Tiers\": {\n\"0\": {\n\"ID\": 0,\n\"StorageClass\": \"\",\n\"Tag\": \"\"\n}\n},\n\"Bucket\": \"/tmp/juicefs-meta-tests/\",\n\"BlockSize\": 4096,\n\"Compression\": \"none\",\n\"EncryptAlgo\": \"aes256gcm-rsa\",\n\"TrashDays\": 1,\n\"MetaVersion\": 1,\n\"MinClientVersion\": \"1.1.0-A\",\n\"DirStats\": true,\n\"EnableACL\": false\n}";

/// Creates an empty file as the operations do: two flushes.
async fn create(engine: &dyn Engine, parent: Ino, file: &Name, ino: Ino) -> crate::Result<()> {
    let mut attempt = engine.begin(0).await?;
    let gets = [
        Get::Node { ino: parent, hold: Hold::Touch },
        Get::Edge { parent, name: file.clone(), hold: Hold::Guard },
    ];
    let got = attempt.read(&gets).await?;
    let [Got::Node(Some(was)), Got::Edge(None)] = got[..] else { panic!("{got:?}") };
    let edge = Edge { ino, kind: Kind::File };
    let changes = [
        Change::InsertNode { ino, attr: attr(Kind::File, parent) },
        Change::InsertEdge { parent, name: file.clone(), edge },
        Change::UpdateNode { ino: parent, was, now: Attr { mtime: Time { sec: 9, nsec: 9 }, ..was } },
        Change::AddUsage { space: 4096, inodes: 1 },
    ];
    attempt.commit(&changes).await.map(drop)
}

/// Appends a slice as the operations do; the length of the list.
async fn append(engine: &dyn Engine, ino: Ino, id: u64) -> crate::Result<u32> {
    let mut attempt = engine.begin(0).await?;
    let gets = [Get::Node { ino, hold: Hold::Update }, Get::AppendTarget { ino, indx: 0 }];
    let got = attempt.read(&gets).await?;
    let [Got::Node(Some(was)), Got::Ready] = got[..] else { panic!("{got:?}") };
    let changes = [
        Change::AppendSlice { ino, indx: 0, slice: slice(id, 100), only_existing: false },
        Change::UpdateNode { ino, was, now: Attr { length: was.length + 100, ..was } },
    ];
    let receipt = attempt.commit(&changes).await?;
    Ok(receipt.slices_after_append[0])
}
