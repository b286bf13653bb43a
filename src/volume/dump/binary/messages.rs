//! The messages of the binary document (format 12.2), in protobuf.

use std::collections::BTreeMap;

use prost::Message;

/// Of the footer, and at the end of the segments.
pub(crate) const MAGIC: u32 = 0x0074_7083;
pub(crate) const VERSION: u32 = 1;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Setting {
    #[prost(bytes = "bytes", tag = "1")]
    pub data: bytes::Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Counter {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(int64, tag = "2")]
    pub value: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Sustained {
    #[prost(uint64, tag = "1")]
    pub sid: u64,
    #[prost(uint64, repeated, tag = "2")]
    pub inodes: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DelFile {
    #[prost(uint64, tag = "1")]
    pub inode: u64,
    #[prost(uint64, tag = "2")]
    pub length: u64,
    #[prost(int64, tag = "3")]
    pub expire: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SliceRef {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(uint32, tag = "2")]
    pub size: u32,
    #[prost(int64, tag = "3")]
    pub refs: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Acl {
    #[prost(uint32, tag = "1")]
    pub id: u32,
    #[prost(bytes = "bytes", tag = "2")]
    pub data: bytes::Bytes,
}

/// The name is a string in the format; as bytes it is read whatever it holds.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Xattr {
    #[prost(uint64, tag = "1")]
    pub inode: u64,
    #[prost(bytes = "bytes", tag = "2")]
    pub name: bytes::Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    pub value: bytes::Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Quota {
    #[prost(uint64, tag = "1")]
    pub key: u64,
    #[prost(int64, tag = "2")]
    pub max_space: i64,
    #[prost(int64, tag = "3")]
    pub max_inodes: i64,
    #[prost(int64, tag = "4")]
    pub used_space: i64,
    #[prost(int64, tag = "5")]
    pub used_inodes: i64,
    #[prost(uint32, tag = "6")]
    pub kind: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Stat {
    #[prost(uint64, tag = "1")]
    pub inode: u64,
    #[prost(int64, tag = "2")]
    pub data_length: i64,
    #[prost(int64, tag = "3")]
    pub used_space: i64,
    #[prost(int64, tag = "4")]
    pub used_inodes: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Node {
    #[prost(uint64, tag = "1")]
    pub inode: u64,
    #[prost(bytes = "bytes", tag = "2")]
    pub data: bytes::Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Edge {
    #[prost(uint64, tag = "1")]
    pub parent: u64,
    #[prost(uint64, tag = "2")]
    pub inode: u64,
    #[prost(bytes = "bytes", tag = "3")]
    pub name: bytes::Bytes,
    #[prost(uint32, tag = "4")]
    pub kind: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Parent {
    #[prost(uint64, tag = "1")]
    pub inode: u64,
    #[prost(uint64, tag = "2")]
    pub parent: u64,
    #[prost(int64, tag = "3")]
    pub count: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Chunk {
    #[prost(uint64, tag = "1")]
    pub inode: u64,
    #[prost(uint32, tag = "2")]
    pub index: u32,
    #[prost(bytes = "bytes", tag = "3")]
    pub slices: bytes::Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Symlink {
    #[prost(uint64, tag = "1")]
    pub inode: u64,
    #[prost(bytes = "bytes", tag = "2")]
    pub target: bytes::Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Batch {
    #[prost(message, repeated, tag = "1")]
    pub nodes: Vec<Node>,
    #[prost(message, repeated, tag = "2")]
    pub edges: Vec<Edge>,
    #[prost(message, repeated, tag = "3")]
    pub chunks: Vec<Chunk>,
    #[prost(message, repeated, tag = "4")]
    pub slice_refs: Vec<SliceRef>,
    #[prost(message, repeated, tag = "5")]
    pub xattrs: Vec<Xattr>,
    #[prost(message, repeated, tag = "6")]
    pub parents: Vec<Parent>,
    #[prost(message, repeated, tag = "7")]
    pub symlinks: Vec<Symlink>,
    #[prost(message, repeated, tag = "8")]
    pub sustained: Vec<Sustained>,
    #[prost(message, repeated, tag = "9")]
    pub delfiles: Vec<DelFile>,
    #[prost(message, repeated, tag = "10")]
    pub dir_stats: Vec<Stat>,
    #[prost(message, repeated, tag = "11")]
    pub quotas: Vec<Quota>,
    #[prost(message, repeated, tag = "12")]
    pub acls: Vec<Acl>,
    #[prost(message, repeated, tag = "13")]
    pub counters: Vec<Counter>,
    #[prost(message, repeated, tag = "15")]
    pub user_quotas: Vec<Quota>,
    #[prost(message, repeated, tag = "16")]
    pub group_quotas: Vec<Quota>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Footer {
    #[prost(uint32, tag = "1")]
    pub magic: u32,
    #[prost(uint32, tag = "2")]
    pub version: u32,
    #[prost(btree_map = "string, message", tag = "3")]
    pub segments: BTreeMap<String, SegmentInfo>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SegmentInfo {
    /// From the start of the file.
    #[prost(uint64, repeated, tag = "1")]
    pub offsets: Vec<u64>,
    #[prost(uint64, tag = "2")]
    pub count: u64,
}

/// What a segment holds; the numbers are the format's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Segment {
    Format = 1,
    Counter = 2,
    Node = 3,
    Edge = 4,
    Chunk = 5,
    SliceRef = 6,
    Symlink = 7,
    Sustained = 8,
    DelFile = 9,
    Xattr = 10,
    Acl = 11,
    Stat = 12,
    Quota = 13,
    Parent = 14,
    ChangeLog = 15,
}

impl Segment {
    pub(crate) const ALL: [Self; 15] = [
        Self::Format,
        Self::Counter,
        Self::Node,
        Self::Edge,
        Self::Chunk,
        Self::SliceRef,
        Self::Symlink,
        Self::Sustained,
        Self::DelFile,
        Self::Xattr,
        Self::Acl,
        Self::Stat,
        Self::Quota,
        Self::Parent,
        Self::ChangeLog,
    ];

    pub(crate) fn of(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|segment| *segment as u32 == code)
    }

    /// As the footer calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::Counter => "counter",
            Self::Node => "node",
            Self::Edge => "edge",
            Self::Chunk => "chunk",
            Self::SliceRef => "sliceRef",
            Self::Symlink => "symlink",
            Self::Sustained => "sustained",
            Self::DelFile => "delFile",
            Self::Xattr => "xattr",
            Self::Acl => "acl",
            Self::Stat => "stat",
            Self::Quota => "quota",
            Self::Parent => "parent",
            Self::ChangeLog => "changeLog",
        }
    }
}
