//! Rows of a mirror's source. Each is put by itself and may be put again.

use super::changes::insert_node;
use super::statement::{Plan, statement};
use crate::engines::packed;
use crate::port::Mirrored;
use crate::types::{Ino, Slice};

impl Plan {
    pub(super) fn mirror(&mut self, row: &Mirrored) {
        match row {
            Mirrored::Node { ino, attr } => {
                self.any(statement!("DELETE FROM jfs_node WHERE inode = ?1", *ino));
                if let Some(attr) = attr {
                    return self.any(insert_node(*ino, attr));
                }
                self.any(statement!("DELETE FROM jfs_symlink WHERE inode = ?1", *ino));
                self.any(statement!("DELETE FROM jfs_xattr WHERE inode = ?1", *ino));
            }
            Mirrored::Edge { parent, name, edge: Some(edge) } => self.any(statement!(
                "INSERT INTO jfs_edge (parent, name, inode, type) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT (parent, name) DO UPDATE SET inode = excluded.inode, type = excluded.type",
                *parent,
                name,
                edge.ino,
                edge.kind.code()
            )),
            Mirrored::Edge { parent, name, edge: None } => {
                self.any(statement!("DELETE FROM jfs_edge WHERE parent = ?1 AND name = ?2", *parent, name));
            }
            Mirrored::Slices { ino, indx, slices } => self.mirror_slices(*ino, *indx, slices),
            Mirrored::Symlink { ino, target } => self.any(statement!(
                "INSERT INTO jfs_symlink (inode, target) VALUES (?1, ?2) \
                 ON CONFLICT (inode) DO UPDATE SET target = excluded.target",
                *ino,
                &target[..]
            )),
            // Edges are the parents here.
            Mirrored::Parents { .. } => {}
        }
    }

    /// A slice that was not known gets one reference; a mirror deletes nothing, so that nobody counts on them.
    fn mirror_slices(&mut self, ino: Ino, indx: u32, slices: &[Slice]) {
        if slices.is_empty() {
            return self.any(statement!("DELETE FROM jfs_chunk WHERE inode = ?1 AND indx = ?2", ino, indx));
        }
        self.any(statement!(
            "INSERT INTO jfs_chunk (inode, indx, slices) VALUES (?1, ?2, ?3) \
             ON CONFLICT (inode, indx) DO UPDATE SET slices = excluded.slices",
            ino,
            indx,
            packed::encode_slices(slices)
        ));
        for slice in slices.iter().filter(|slice| slice.id > 0) {
            self.any(statement!(
                "INSERT INTO jfs_chunk_ref (chunkid, size, refs) VALUES (?1, ?2, 1) ON CONFLICT (chunkid) DO NOTHING",
                slice.id,
                slice.size
            ));
        }
    }
}
