//! Lengths, slices and holes.

use juicefs_base::Errno;

use super::{Volume, name, refused, root, user};
use crate::overlay::hole;
use crate::port::{Get, Got, Hold};
use crate::request::{OpenFlags, RangeCopy, SetAttr, SliceWrite, fallocate};
use crate::types::{CHUNK_BYTES, FILE_BYTES_MAX, Ino, Slice, Time};

async fn chunk(volume: &Volume, ino: Ino, indx: u32) -> Vec<Slice> {
    match volume.engine.read(&[Get::Chunk { ino, indx, hold: Hold::Peek }]).await.unwrap().remove(0) {
        Got::Slices(slices) => slices,
        other => panic!("{other:?}"),
    }
}

fn data(pos: u32, id: u64, len: u32) -> Slice {
    Slice { pos, id, size: len, off: 0, len }
}

#[tokio::test]
async fn writes_and_truncates_leave_the_peers_records() {
    // Format 17.3, with ids 5 to 7 on their way.
    let volume = Volume::new().await;
    let file = volume.touch(Ino::ROOT, "f").await;
    for _ in 1..5 {
        volume.meta.new_slice_id().await.unwrap();
    }
    volume.write(file, 0, 100_000).await.unwrap();
    volume.write(file, 50_000, 10).await.unwrap();
    volume.write(file, 300_000, 10).await.unwrap();
    let long = volume.meta.truncate(&root(), file, 200_000_000, false).await.unwrap();
    assert_eq!(long.length, 200_000_000);
    let short = volume.meta.truncate(&root(), file, 150_000, false).await.unwrap();
    assert_eq!(short.length, 150_000);
    assert_eq!(
        chunk(&volume, file, 0).await,
        [
            data(0, 5, 100_000),
            data(50_000, 6, 10),
            data(300_000, 7, 10),
            hole(300_010, 66_808_854),
            hole(150_000, 66_958_864),
        ]
    );
    assert_eq!(chunk(&volume, file, 1).await, []);
    assert_eq!(chunk(&volume, file, 2).await, [hole(0, 65_782_272), hole(0, 65_782_272)]);
    volume.audit().await;
}

#[tokio::test]
async fn what_appends_goes_to_the_end_whoever_moved_it() {
    let volume = Volume::new().await;
    let file = volume.touch(Ino::ROOT, "f").await;
    // Two clients believe that it is empty: one is earlier, and ends just before the border of a chunk.
    volume.write(file, CHUNK_BYTES - 100, 90).await.unwrap();
    let (id, at) = (volume.meta.new_slice_id().await.unwrap(), Time::now());
    let write = SliceWrite { indx: 0, slice: data(0, id, 30), mtime: at, appends: true };
    let other = SliceWrite { slice: data(30, id + 1, 50), ..write };
    let fixed = SliceWrite { slice: data(7, id + 2, 3), appends: false, ..write };
    let done =
        volume.meta.write_slices(file, &[write, fixed, other], std::time::Instant::now()).await.unwrap();
    let border = u32::try_from(CHUNK_BYTES).unwrap() - 10;
    let placed = [
        SliceWrite { slice: Slice { len: 10, ..data(border, id, 30) }, ..write },
        SliceWrite { indx: 1, slice: Slice { off: 10, len: 20, ..data(0, id, 30) }, ..write },
        fixed,
        SliceWrite { indx: 1, slice: data(20, id + 1, 50), ..write },
    ];
    assert_eq!(done.placed, placed);
    assert_eq!((done.slices.as_slice(), done.attr.length), (&[2, 1, 3, 2][..], CHUNK_BYTES + 70));
    assert_eq!(chunk(&volume, file, 1).await, [placed[1].slice, placed[3].slice]);
    volume.audit().await;
    volume.unlink(Ino::ROOT, "f").await.unwrap();
    volume.audit().await;
}

#[tokio::test]
async fn whole_chunks_are_masked_only_where_they_exist() {
    let volume = Volume::new().await;
    let file = volume.touch(Ino::ROOT, "f").await;
    volume.write(file, CHUNK_BYTES, 10).await.unwrap();
    volume.write(file, 3 * CHUNK_BYTES, 10).await.unwrap();
    volume.meta.truncate(&root(), file, 0, false).await.unwrap();
    let all = hole(0, u32::try_from(CHUNK_BYTES).unwrap());
    assert_eq!(chunk(&volume, file, 0).await, [all]);
    assert_eq!(chunk(&volume, file, 1).await.last(), Some(&all));
    assert_eq!(chunk(&volume, file, 2).await, []);
    assert_eq!(chunk(&volume, file, 3).await.last(), Some(&hole(0, 10)));
    // Both ends on borders: the second chunk is like those between.
    volume.meta.truncate(&root(), file, 2 * CHUNK_BYTES, false).await.unwrap();
    assert_eq!(chunk(&volume, file, 1).await.len(), 3);
    assert_eq!(chunk(&volume, file, 2).await, []);
}

#[tokio::test]
async fn a_write_moves_length_times_and_usage() {
    let volume = Volume::new().await;
    let file = volume.touch(Ino::ROOT, "f").await;
    let slice = data(10, volume.meta.new_slice_id().await.unwrap(), 5000);
    let mtime = Time { sec: 50, nsec: 7 };
    let done = volume.meta.write_slice(file, 1, slice, mtime).await.unwrap();
    assert_eq!(done.attr.length, CHUNK_BYTES + 5010);
    assert!(done.attr.mtime == mtime && done.attr.ctime.sec > 50 && done.slices == 1);
    let overwrite = data(0, volume.meta.new_slice_id().await.unwrap(), 10);
    let done = volume.meta.write_slice(file, 1, overwrite, mtime).await.unwrap();
    assert_eq!((done.attr.length, done.slices, done.mtime_before), (CHUNK_BYTES + 5010, 2, mtime));
    assert_eq!(volume.meta.usage().await.unwrap().space, i64::try_from(CHUNK_BYTES).unwrap() + 8192);
    volume.audit().await;
    refused(volume.meta.write_slice(Ino::ROOT, 0, slice, mtime).await, Errno::EPERM);
    refused(volume.meta.write_slice(Ino(4711), 0, slice, mtime).await, Errno::ENOENT);
    let across = Slice { pos: u32::try_from(CHUNK_BYTES).unwrap() - 1, ..slice };
    refused(volume.meta.write_slice(file, 0, across, mtime).await, Errno::EINVAL);
}

#[tokio::test]
async fn the_largest_file_ends_where_the_format_says() {
    let volume = Volume::new().await;
    let file = volume.touch(Ino::ROOT, "f").await;
    let attr = volume.meta.truncate(&root(), file, FILE_BYTES_MAX, false).await.unwrap();
    assert_eq!(attr.length, FILE_BYTES_MAX);
    refused(volume.meta.truncate(&root(), file, FILE_BYTES_MAX + 1, false).await, Errno::EFBIG);
    refused(volume.meta.fallocate(&root(), file, 0, FILE_BYTES_MAX, 1).await, Errno::EFBIG);
    refused(volume.meta.fallocate(&root(), file, 0, u64::MAX, 2).await, Errno::EFBIG);
    let punch = fallocate::PUNCH_HOLE | fallocate::KEEP_SIZE;
    volume.meta.fallocate(&root(), file, punch, 0, FILE_BYTES_MAX).await.unwrap();
    volume.audit().await;
}

#[tokio::test]
async fn the_same_length_changes_nothing() {
    let volume = Volume::new().await;
    let file = volume.touch(Ino::ROOT, "f").await;
    let before = volume.write(file, 0, 10).await.unwrap();
    assert_eq!(volume.meta.truncate(&root(), file, 10, false).await.unwrap(), before);
    assert_eq!(volume.attr(file).await, before);
}

#[tokio::test]
async fn fallocate_extends_and_makes_holes() {
    let volume = Volume::new().await;
    let meta = &volume.meta;
    let file = volume.touch(Ino::ROOT, "f").await;
    let attr = meta.fallocate(&root(), file, 0, 1000, 9000).await.unwrap();
    assert_eq!(attr.length, 10_000);
    assert_eq!(chunk(&volume, file, 0).await, []);
    assert_eq!(meta.fallocate(&root(), file, fallocate::KEEP_SIZE, 0, 20_000).await.unwrap().length, 10_000);
    let punch = fallocate::PUNCH_HOLE | fallocate::KEEP_SIZE;
    meta.fallocate(&root(), file, punch, 100, 1000).await.unwrap();
    assert_eq!(chunk(&volume, file, 0).await, [hole(100, 1000)]);
    let attr = meta.fallocate(&root(), file, fallocate::ZERO_RANGE, 9000, 3000).await.unwrap();
    assert_eq!(attr.length, 12_000);
    assert_eq!(chunk(&volume, file, 0).await[1], hole(9000, 1000));
    refused(meta.fallocate(&root(), file, fallocate::COLLAPSE_RANGE, 0, 4096).await, Errno::ENOTSUP);
    volume.audit().await;
}

#[tokio::test]
async fn a_strangers_change_of_size_clears_suid() {
    let volume = Volume::new().await;
    let file = volume.touch(Ino::ROOT, "f").await;
    let mode = SetAttr { mode: Some(0o6777), ..SetAttr::default() };
    volume.meta.setattr(&root(), file, &mode).await.unwrap();
    assert_eq!(volume.meta.truncate(&root(), file, 10, false).await.unwrap().mode, 0o6777);
    assert_eq!(volume.meta.truncate(&user(7), file, 20, false).await.unwrap().mode, 0o777);
    refused(volume.meta.truncate(&user(7), Ino::ROOT, 20, false).await, Errno::EPERM);
}

#[tokio::test]
async fn truncating_needs_the_right_to_write_unless_open() {
    let volume = Volume::new().await;
    let file = volume.touch(Ino::ROOT, "f").await;
    refused(volume.meta.truncate(&user(7), file, 5, false).await, Errno::EACCES);
    volume.meta.truncate(&user(7), file, 5, true).await.unwrap();
}

#[tokio::test]
async fn remembered_slices_follow_changes() {
    let volume = Volume::new().await;
    let file = volume.touch(Ino::ROOT, "f").await;
    volume.open(file).await;
    volume.write(file, 0, 10).await.unwrap();
    assert_eq!(volume.meta.read_chunk(file, 0).await.unwrap().len(), 1);
    volume.write(file, 0, 10).await.unwrap();
    assert_eq!(volume.meta.read_chunk(file, 0).await.unwrap().len(), 2);
    volume.meta.truncate(&root(), file, 5, true).await.unwrap();
    assert_eq!(volume.meta.read_chunk(file, 0).await.unwrap().len(), 3);
    // Another client's change is seen with the new mtime.
    let other = super::mount(volume.counting.clone(), 2).await;
    let slice = data(0, other.new_slice_id().await.unwrap(), 3);
    other.write_slice(file, 0, slice, Time { sec: 9, nsec: 9 }).await.unwrap();
    assert_eq!(volume.meta.read_chunk(file, 0).await.unwrap().len(), 3);
    volume.attr(file).await;
    assert_eq!(volume.meta.read_chunk(file, 0).await.unwrap().len(), 4);
    // And when a write of ours finds that somebody was there.
    let slice = data(0, other.new_slice_id().await.unwrap(), 3);
    other.write_slice(file, 1, slice, Time { sec: 10, nsec: 9 }).await.unwrap();
    assert_eq!(volume.meta.read_chunk(file, 1).await.unwrap().len(), 1);
    other.write_slice(file, 1, slice, Time { sec: 11, nsec: 9 }).await.unwrap();
    volume.write(file, 0, 10).await.unwrap();
    assert_eq!(volume.meta.read_chunk(file, 1).await.unwrap().len(), 2);
    volume.meta.close_file(file).await.unwrap();
}

#[tokio::test]
async fn permissions_hold_at_open() {
    let volume = Volume::new().await;
    let file = volume.touch(Ino::ROOT, "f").await;
    let open =
        async |caller: &crate::Caller, ino, flags| volume.meta.open_file(caller, ino, OpenFlags(flags)).await;
    refused(open(&user(7), file, libc::O_RDWR).await, Errno::EACCES);
    refused(open(&root(), Ino::ROOT, libc::O_WRONLY).await, Errno::EISDIR);
    refused(open(&root(), Ino(4711), libc::O_RDONLY).await, Errno::ENOENT);
    open(&user(7), file, libc::O_RDONLY).await.unwrap();
    refused(volume.meta.access(&user(7), file, 2).await, Errno::EACCES);
    volume.meta.access(&user(7), file, 4).await.unwrap();
    assert_eq!(volume.meta.open_files.count(), 1, "refused opens are not counted");
    assert_eq!(volume.look(Ino::ROOT, "f").await.unwrap().0, file);
    let _ = name("f");
}

#[tokio::test]
async fn a_copy_refers_to_the_slices_of_its_source() {
    let volume = Volume::new().await;
    let (from, to) = (volume.touch(Ino::ROOT, "from").await, volume.touch(Ino::ROOT, "to").await);
    volume.write(from, 0, 4096).await.unwrap();
    volume.write(from, 1000, 100).await.unwrap();
    let copy = |src_off, dst_off, len| RangeCopy { src: from, src_off, dst: to, dst_off, len };
    let (copied, attr) = volume.meta.copy_file_range(&root(), &copy(500, 7, 1 << 40)).await.unwrap();
    assert_eq!((copied, attr.length), (3596, 3603), "as far as the source goes");
    let piece = |pos, id, size, off, len| Slice { pos, id, size, off, len };
    assert_eq!(
        chunk(&volume, to, 0).await,
        [piece(7, 1, 4096, 500, 500), piece(507, 2, 100, 0, 100), piece(607, 1, 4096, 1100, 2996)]
    );
    volume.audit().await;
    // Over the border of two chunks, with a hole; beyond the end there is nothing.
    let (copied, attr) =
        volume.meta.copy_file_range(&root(), &copy(0, CHUNK_BYTES - 96, 4096)).await.unwrap();
    assert_eq!((copied, attr.length), (4096, CHUNK_BYTES + 4000));
    assert_eq!(chunk(&volume, to, 1).await.first(), Some(&piece(0, 1, 4096, 96, 904)));
    assert_eq!(volume.meta.copy_file_range(&root(), &copy(4096, 0, 10)).await.unwrap().0, 0);
    let within = |dst_off| RangeCopy { src: from, src_off: 0, dst: from, dst_off, len: 100 };
    refused(volume.meta.copy_file_range(&root(), &within(99)).await, Errno::EINVAL);
    volume.meta.copy_file_range(&root(), &within(100)).await.unwrap();
    refused(volume.meta.copy_file_range(&root(), &copy(0, FILE_BYTES_MAX, 1)).await, Errno::EFBIG);
    volume.audit().await;
    volume.unlink(Ino::ROOT, "from").await.unwrap();
    volume.audit().await;
    volume.unlink(Ino::ROOT, "to").await.unwrap();
    volume.audit().await;
}
