//! Blocks in order of use, at most 44 bytes an entry beside the value: a dense array (so that a random one can be
//! picked), a list through it, and a table of array indices.

use crate::layout::BlockId;
use hashbrown::HashTable;

const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(crate) struct Lru<V> {
    nodes: Vec<Node<V>>,
    table: HashTable<u32>,
    newest: u32,
    oldest: u32,
}

#[derive(Debug)]
struct Node<V> {
    id: [u32; 2],
    indx: u32,
    size: u32,
    /// Towards the newest.
    newer: u32,
    older: u32,
    value: V,
}

impl<V> Node<V> {
    fn block(&self) -> BlockId {
        let [high, low] = self.id;
        BlockId { id: u64::from(high) << 32 | u64::from(low), indx: self.indx, size: self.size }
    }
}

/// A stable mix of a block's name; ids are sequential and not an attacker's choice.
pub(crate) fn hash(block: BlockId, seed: u64) -> u64 {
    let mut mixed = block.id ^ seed ^ u64::from(block.indx).rotate_left(40);
    for multiplier in [0xbf58_476d_1ce4_e5b9_u64, 0x94d0_49bb_1331_11eb] {
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(multiplier);
    }
    mixed ^ (mixed >> 31)
}

impl<V> Default for Lru<V> {
    fn default() -> Self {
        Self { nodes: Vec::new(), table: HashTable::new(), newest: NONE, oldest: NONE }
    }
}

impl<V> Lru<V> {
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Makes `block` the newest.
    pub(crate) fn get(&mut self, block: BlockId) -> Option<&mut V> {
        let at = self.find(block)?;
        if self.newest != at {
            self.unlink(at);
            self.link_newest(at);
        }
        Some(&mut self.nodes[at as usize].value)
    }

    pub(crate) fn contains(&self, block: BlockId) -> bool {
        self.find(block).is_some()
    }

    /// The value that was there before.
    pub(crate) fn insert(&mut self, block: BlockId, value: V) -> Option<V> {
        if let Some(there) = self.get(block) {
            return Some(std::mem::replace(there, value));
        }
        let at = u32::try_from(self.nodes.len()).ok().filter(|at| *at != NONE)?;
        let id = [(block.id >> 32) as u32, block.id as u32];
        self.nodes.push(Node { id, indx: block.indx, size: block.size, newer: NONE, older: NONE, value });
        let nodes = &self.nodes;
        self.table.insert_unique(hash(block, 0), at, |at| hash(nodes[*at as usize].block(), 0));
        self.link_newest(at);
        None
    }

    pub(crate) fn remove(&mut self, block: BlockId) -> Option<V> {
        let nodes = &self.nodes;
        let entry = self.table.find_entry(hash(block, 0), |at| nodes[*at as usize].block() == block).ok()?;
        let (at, _) = entry.remove();
        self.unlink(at);
        let last = (self.nodes.len() - 1) as u32;
        if last != at {
            let moved = self.nodes[last as usize].block();
            if let Some(there) = self.table.find_mut(hash(moved, 0), |other| *other == last) {
                *there = at;
            }
        }
        let removed = self.nodes.swap_remove(at as usize);
        if last != at {
            let (newer, older) = (self.nodes[at as usize].newer, self.nodes[at as usize].older);
            match newer {
                NONE => self.newest = at,
                newer => self.nodes[newer as usize].older = at,
            }
            match older {
                NONE => self.oldest = at,
                older => self.nodes[older as usize].newer = at,
            }
        }
        if self.nodes.capacity() > 1024 && self.nodes.len() < self.nodes.capacity() / 4 {
            self.nodes.shrink_to(self.nodes.len() * 2);
            let nodes = &self.nodes;
            self.table.shrink_to(nodes.len() * 2, |at| hash(nodes[*at as usize].block(), 0));
        }
        Some(removed.value)
    }

    pub(crate) fn oldest(&self) -> Option<(BlockId, &V)> {
        self.nodes.get(self.oldest as usize).map(|node| (node.block(), &node.value))
    }

    /// The entry at a place below [`Self::len`]; places change with every removal.
    pub(crate) fn at(&self, place: usize) -> Option<(BlockId, &V)> {
        self.nodes.get(place).map(|node| (node.block(), &node.value))
    }

    fn find(&self, block: BlockId) -> Option<u32> {
        self.table.find(hash(block, 0), |at| self.nodes[*at as usize].block() == block).copied()
    }

    fn unlink(&mut self, at: u32) {
        let (newer, older) = (self.nodes[at as usize].newer, self.nodes[at as usize].older);
        match newer {
            NONE => self.newest = older,
            newer => self.nodes[newer as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.nodes[older as usize].newer = newer,
        }
    }

    fn link_newest(&mut self, at: u32) {
        self.nodes[at as usize].newer = NONE;
        self.nodes[at as usize].older = self.newest;
        match self.newest {
            NONE => self.oldest = at,
            newest => self.nodes[newest as usize].newer = at,
        }
        self.newest = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(id: u64) -> BlockId {
        BlockId { id, indx: 0, size: 1 }
    }

    proptest! {
        #[test]
        fn behaves_as_a_list_in_order_of_use(ops in proptest::collection::vec((0..4u8, 0..12u64), 0..200)) {
            let mut lru = Lru::default();
            let mut model: Vec<(u64, usize)> = Vec::new();
            for (step, (op, id)) in ops.into_iter().enumerate() {
                let place = model.iter().position(|(other, _)| *other == id);
                match op {
                    0 => {
                        let before = place.map(|place| model.remove(place).1);
                        model.push((id, step));
                        prop_assert_eq!(lru.insert(block(id), step), before);
                    }
                    1 => {
                        let there = place.map(|place| model.remove(place));
                        model.extend(there);
                        prop_assert_eq!(lru.get(block(id)).copied(), there.map(|t| t.1));
                    }
                    2 => prop_assert_eq!(lru.remove(block(id)), place.map(|place| model.remove(place).1)),
                    _ => prop_assert_eq!(lru.contains(block(id)), place.is_some()),
                }
                prop_assert_eq!(lru.len(), model.len());
                prop_assert_eq!(lru.oldest().map(|(b, v)| (b.id, *v)), model.first().copied());
            }
            for (id, value) in model {
                prop_assert_eq!(lru.oldest().map(|(b, v)| (b.id, *v)), Some((id, value)));
                lru.remove(block(id));
            }
            prop_assert_eq!(lru.at(0), None);
        }
    }

    #[test]
    fn an_entry_is_small() {
        // Beside it the table's index and its tag: at most (4 + 1) * 16 / 7 bytes.
        assert_eq!(std::mem::size_of::<Node<u32>>(), 28);
    }
}
