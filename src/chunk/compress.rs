//! One block's bytes to one object's bytes and back. No header, no magic: the setting names the algorithm, the
//! object's name the uncompressed size.

use bytes::Bytes;

/// The volume's `Compression` setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    #[default]
    None,
    /// One raw LZ4 block without a length.
    Lz4,
    /// One zstd frame of level 1.
    Zstd,
}

impl Compression {
    /// The algorithm that the setting's text names; an unknown one is refused with what exists.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "" | "none" => Ok(Self::None),
            "lz4" => Ok(Self::Lz4),
            "zstd" => Ok(Self::Zstd),
            _ => Err(format!("compression {text:?} is not known; there is none, lz4 and zstd")),
        }
    }

    /// The largest object that a block of `block_bytes` may have become; larger ones are unreadable to the peer.
    #[must_use]
    pub fn bound(self, block_bytes: usize) -> usize {
        match self {
            Self::None => block_bytes,
            Self::Lz4 => block_bytes + block_bytes / 255 + 16,
            Self::Zstd => zstd::zstd_safe::compress_bound(block_bytes),
        }
    }

    /// The object's bytes for a block. Without compression the very same buffer.
    pub(crate) fn encode(self, block: Bytes) -> Result<Bytes, String> {
        match self {
            Self::None => Ok(block),
            Self::Lz4 => Ok(lz4_flex::block::compress(&block).into()),
            Self::Zstd => zstd::bulk::compress(&block, 1).map(Bytes::from).map_err(|e| format!("zstd: {e}")),
        }
    }

    /// The block's bytes, exactly `size` of them, never more memory than that.
    pub(crate) fn decode(self, object: Bytes, size: usize) -> Result<Bytes, String> {
        if object.len() > self.bound(size) {
            return Err(format!("{} bytes can't be a block of {size}", object.len()));
        }
        let (made, block) = match self {
            Self::None => (object.len(), object),
            Self::Lz4 => {
                let mut block = vec![0; size];
                let made = lz4_flex::block::decompress_into(&object, &mut block);
                (made.map_err(|e| format!("lz4: {e}"))?, block.into())
            }
            Self::Zstd => {
                let mut block = Vec::with_capacity(size);
                let made = zstd::bulk::Decompressor::new()
                    .and_then(|mut d| d.decompress_to_buffer(&object[..], &mut block));
                (made.map_err(|e| format!("zstd: {e}"))?, block.into())
            }
        };
        if made == size { Ok(block) } else { Err(format!("{made} bytes instead of {size}")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Compression; 3] = [Compression::None, Compression::Lz4, Compression::Zstd];

    fn noise(size: usize) -> Bytes {
        (0..size).map(|_| rand::random::<u8>()).collect::<Vec<_>>().into()
    }

    #[test]
    fn blocks_of_odd_sizes_come_back_and_stay_within_the_bound() {
        for size in [1, 2, 15, 4095, 65_537, 100_000, 4 << 20] {
            for data in [noise(size), vec![7; size].into()] {
                for algorithm in ALL {
                    let object = algorithm.encode(data.clone()).unwrap();
                    assert!(object.len() <= algorithm.bound(size), "{algorithm:?} {size}");
                    assert_eq!(algorithm.decode(object, size).unwrap(), data, "{algorithm:?} {size}");
                }
            }
        }
    }

    #[test]
    fn a_zstd_object_is_one_frame_with_its_content_size() {
        let object = Compression::Zstd.encode(vec![1; 100_000].into()).unwrap();
        assert_eq!(object[..4], [0x28, 0xb5, 0x2f, 0xfd]);
        assert_eq!(zstd::zstd_safe::get_frame_content_size(&object).ok(), Some(Some(100_000)));
        assert_eq!(zstd::zstd_safe::find_frame_compressed_size(&object).ok(), Some(object.len()));
    }

    #[test]
    fn a_wrong_length_is_damage_not_data() {
        for algorithm in ALL {
            let object = algorithm.encode(vec![3; 5000].into()).unwrap();
            for size in [0, 1, 4999, 5001] {
                assert!(algorithm.decode(object.clone(), size).is_err(), "{algorithm:?} {size}");
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_objects_never_panic(object in proptest::collection::vec(any::<u8>(), 0..2000), size in 0usize..3000) {
            for algorithm in ALL {
                if let Ok(block) = algorithm.decode(object.clone().into(), size) {
                    prop_assert_eq!(block.len(), size);
                }
            }
        }
    }
}
