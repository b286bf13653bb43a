//! Many tasks of two mounts on one small tree; whoever wins, the volume stays whole.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Volume, mount, name, root};
use crate::error::{Error, Result};
use crate::meta::Meta;
use crate::request::{NewNode, OpenFlags, RenameFlags};
use crate::types::{Ino, Kind};

const STEPS: usize = 300;

/// Directories that stay; everything else happens in them.
pub(super) const DIRECTORIES: [&str; 3] = ["p", "q", "r"];

pub(super) async fn step(meta: &Meta, directories: &[Ino], random: &mut StdRng) -> Result<()> {
    let names = ["a", "b", "c", "d"];
    let parent = directories[random.random_range(0..directories.len())];
    let other = directories[random.random_range(0..directories.len())];
    let one = name(names[random.random_range(0..names.len())]);
    let two = name(names[random.random_range(0..names.len())]);
    let caller = root();
    match random.random_range(0..10) {
        0..2 => meta.mknod(&caller, parent, &one, &NewNode::file(0o644, 0)).await.map(|_| ()),
        2 => meta.mknod(&caller, parent, &one, &NewNode::directory(0o755, 0)).await.map(|_| ()),
        3 => meta.unlink(&caller, parent, &one).await,
        4 => meta.rmdir(&caller, parent, &one).await,
        5 => {
            let how = if random.random_bool(0.3) { RenameFlags::EXCHANGE } else { RenameFlags::default() };
            // Directories of the same depth: nothing can come to lie inside itself.
            meta.rename(&caller, parent, &one, other, &two, how).await.map(|_| ())
        }
        6 => {
            let (ino, _) = meta.lookup(&caller, parent, &one).await?;
            meta.link(&caller, ino, other, &two).await.map(|_| ())
        }
        7 => {
            let (ino, attr) = meta.lookup(&caller, parent, &one).await?;
            if attr.kind == Kind::File {
                meta.truncate(&caller, ino, random.random_range(0..100_000), false).await?;
            }
            Ok(())
        }
        _ => {
            let flags = OpenFlags(libc::O_RDWR | libc::O_CREAT);
            let (ino, _, _) = meta.create(&caller, parent, &one, 0o644, 0, flags).await?;
            tokio::task::yield_now().await;
            let unlinked = meta.unlink(&caller, parent, &one).await;
            let attr = meta.getattr(ino).await;
            meta.close_file(ino).await?;
            unlinked?;
            // An open file never vanishes while it is open, unless another mount took it away.
            attr.map(|_| ())
        }
    }
}

/// `steps` by each of eight tasks.
pub(super) async fn race(volume: &Volume, seed: u64, steps: usize) {
    let other = mount(volume.counting.clone(), 2).await;
    let mut directories = Vec::new();
    for text in DIRECTORIES {
        directories.push(volume.mkdir(Ino::ROOT, text).await);
    }
    // The root's and the hour's statistics exist from here on: two mounts that count them anew would race.
    volume.touch(Ino::ROOT, "x").await;
    volume.unlink(Ino::ROOT, "x").await.unwrap();
    volume.meta.flush_statistics().await.unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let meta = if number % 2 == 0 { Arc::clone(&volume.meta) } else { Arc::clone(&other) };
            let directories = directories.clone();
            tokio::spawn(async move {
                let mut random = StdRng::seed_from_u64(seed + number);
                for _ in 0..steps {
                    match step(&meta, &directories, &mut random).await {
                        Ok(()) | Err(Error::Errno(_)) => {}
                        Err(error) => panic!("seed {seed}: {error}"),
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(volume.meta.open_files.count() + other.open_files.count(), 0);
    super::audit::audit(&*volume.engine, &[&volume.meta, &other]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn mounts_that_race_leave_a_whole_volume() {
    race(&Volume::new().await, 100, STEPS).await;
    race(&Volume::new().await, 200, STEPS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn mounts_that_race_with_trash_leave_a_whole_volume() {
    race(&Volume::with_trash().await, 300, STEPS).await;
}
