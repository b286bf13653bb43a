//! Lists that get shorter, and what becomes of the slices that were in them.

use std::sync::Arc;

use juicefs_base::sync::Mutex;

use super::Volume;
use crate::meta::Meta;
use crate::port::{Item, Scan};
use crate::rules::{Compaction, plan_compaction};
use crate::types::{Ino, Slice, SliceId, Time};
use futures::TryStreamExt;

fn freed(meta: &Meta) -> Arc<Mutex<Vec<(SliceId, u32)>>> {
    let freed = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&freed);
    meta.set_freed_slice_sink(Box::new(move |slices| sink.lock().extend(slices)));
    freed
}

/// A file of `count` slices, and the plan for them.
async fn fragmented(volume: &Volume, count: u64) -> (Ino, Compaction) {
    let file = volume.touch(Ino::ROOT, "f").await;
    for number in 0..count {
        volume.write(file, number * 10, 10).await.unwrap();
    }
    let list = volume.meta.fresh_chunk(file, 0).await.unwrap();
    assert_eq!(list.len() as u64, count);
    (file, plan_compaction(&list, 1000).unwrap())
}

fn new_slice(plan: &Compaction, id: SliceId) -> Slice {
    Slice { pos: plan.pos, id, size: plan.size, off: 0, len: plan.size }
}

async fn delayed(volume: &Volume) -> Vec<Item> {
    volume.engine.scan(Scan::DelayedSlices).try_collect().await.unwrap()
}

#[tokio::test]
async fn without_trash_what_was_replaced_is_freed_at_once() {
    let volume = Volume::new().await;
    let freed = freed(&volume.meta);
    let (file, plan) = fragmented(&volume, 3).await;
    let id = volume.meta.new_slice_id().await.unwrap();
    assert!(volume.meta.replace_slices(file, 0, &plan, id).await.unwrap());
    assert_eq!(volume.meta.fresh_chunk(file, 0).await.unwrap(), [new_slice(&plan, id)]);
    let gone: Vec<_> = plan.read.iter().map(|slice| (slice.id, slice.size)).collect();
    assert_eq!(*freed.lock(), gone);
    assert_eq!(delayed(&volume).await, []);
    volume.audit().await;
}

#[tokio::test]
async fn with_trash_it_is_kept_for_as_many_days() {
    let volume = Volume::with_trash().await;
    let freed = freed(&volume.meta);
    let (file, plan) = fragmented(&volume, 3).await;
    let id = volume.meta.new_slice_id().await.unwrap();
    assert!(volume.meta.replace_slices(file, 0, &plan, id).await.unwrap());
    let pairs: Vec<_> = plan.read.iter().map(|slice| (slice.id, slice.size)).collect();
    let now = Time::now().sec;
    let kept = delayed(&volume).await;
    assert!(
        matches!(&kept[..], [Item::DelayedSlices { id: by, deleted_at, slices }]
            if *by == id && *slices == pairs && (now - 5..=now).contains(deleted_at)),
        "{kept:?}"
    );
    let edge = volume.meta.delayed_edge(now);
    assert_eq!(edge, now - 24 * 3600, "a day of trash");
    assert_eq!(volume.meta.release_delayed_slices(edge).await.unwrap(), 0);
    assert_eq!(*freed.lock(), []);
    assert_eq!(volume.meta.release_delayed_slices(now + 1).await.unwrap(), 3);
    assert_eq!(*freed.lock(), pairs);
    assert_eq!(
        (delayed(&volume).await, volume.meta.release_delayed_slices(now + 1).await.unwrap()),
        (vec![], 0)
    );
}

#[tokio::test]
async fn what_was_written_meanwhile_stays_behind() {
    let volume = Volume::new().await;
    let (file, plan) = fragmented(&volume, 3).await;
    volume.write(file, 5, 10).await.unwrap();
    let id = volume.meta.new_slice_id().await.unwrap();
    assert!(volume.meta.replace_slices(file, 0, &plan, id).await.unwrap());
    let list = volume.meta.fresh_chunk(file, 0).await.unwrap();
    assert_eq!((list.len(), list[0], list[1].pos), (2, new_slice(&plan, id), 5));
}

#[tokio::test]
async fn who_comes_late_replaces_nothing() {
    let volume = Volume::new().await;
    let freed = freed(&volume.meta);
    let (file, plan) = fragmented(&volume, 3).await;
    let first = volume.meta.new_slice_id().await.unwrap();
    let late = volume.meta.new_slice_id().await.unwrap();
    assert!(volume.meta.replace_slices(file, 0, &plan, first).await.unwrap());
    let before = freed.lock().len();
    assert!(!volume.meta.replace_slices(file, 0, &plan, late).await.unwrap());
    assert_eq!(volume.meta.fresh_chunk(file, 0).await.unwrap(), [new_slice(&plan, first)]);
    volume.unlink(Ino::ROOT, "f").await.unwrap();
    assert!(!volume.meta.replace_slices(file, 0, &plan, late).await.unwrap(), "the file is gone");
    assert!(freed.lock().len() >= before);
}
