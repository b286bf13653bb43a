//! Random operations by two clients against bytes in a vector, around the borders of blocks and chunks.

use crate::world::*;
use juicefs_meta::request::fallocate::{KEEP_SIZE, PUNCH_HOLE};
use proptest::prelude::*;
use std::sync::atomic::Ordering;

#[derive(Clone, Debug)]
enum Op {
    Write {
        off: u64,
        len: usize,
    },
    Append {
        len: usize,
    },
    Read {
        off: u64,
        len: usize,
    },
    Truncate {
        size: u64,
    },
    Punch {
        off: u64,
        len: u64,
    },
    Fsync,
    /// The other client makes the lists short.
    Compact,
    /// The file is closed and the other client goes on.
    Switch,
    Stat,
}

fn place() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => 0u64..300_000,
        2 => (0u64..5).prop_map(|n| n * BLOCK as u64),
        2 => CHUNK - 70_000..CHUNK + 70_000,
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (place(), 1usize..150_000).prop_map(|(off, len)| Op::Write { off, len }),
        2 => (1usize..50_000).prop_map(|len| Op::Append { len }),
        6 => (place(), 1usize..200_000).prop_map(|(off, len)| Op::Read { off, len }),
        2 => place().prop_map(|size| Op::Truncate { size }),
        1 => (place(), 1u64..200_000).prop_map(|(off, len)| Op::Punch { off, len }),
        1 => Just(Op::Fsync),
        2 => Just(Op::Compact),
        1 => Just(Op::Switch),
        1 => Just(Op::Stat),
    ]
}

/// The model: bytes, zeros where nothing was written.
#[derive(Default)]
struct Model(Vec<u8>);

impl Model {
    fn write(&mut self, off: usize, data: &[u8]) {
        if self.0.len() < off + data.len() {
            self.0.resize(off + data.len(), 0);
        }
        self.0[off..off + data.len()].copy_from_slice(data);
    }

    fn read(&self, off: usize, len: usize) -> &[u8] {
        let off = off.min(self.0.len());
        &self.0[off..(off + len).min(self.0.len())]
    }
}

async fn run(ops: &[Op]) {
    let world = World::new().await;
    world.store.put_delay_us.store(200, Ordering::Relaxed);
    let clients = [world.client().await, world.client_with(8 << 20, juicefs_vfs::VfsConfig::default()).await];
    let mut turn = 0;
    let mut model = Model::default();
    let mut handle = clients[0].create("f").await;
    let mut appender = clients[0].open("f", APPEND).await;
    for (step, op) in ops.iter().enumerate() {
        let client = &clients[turn];
        match *op {
            Op::Write { off, len } => {
                let data = pattern(step as u64, len);
                client.write(handle, off, &data).await;
                model.write(off as usize, &data);
            }
            Op::Append { len } => {
                let data = pattern(step as u64, len);
                client.write(appender, 0, &data).await;
                model.write(model.0.len(), &data);
            }
            Op::Read { off, len } => {
                let got = client.read(handle, off, len).await;
                let expected = model.read(off as usize, len);
                let differs = got.iter().zip(expected).position(|(a, b)| a != b);
                assert!(
                    got == expected,
                    "step {step}: {op:?}: {} of {} bytes, differs at {differs:?}",
                    got.len(),
                    expected.len()
                );
            }
            Op::Truncate { size } => {
                client.truncate(handle, size).await;
                model.0.resize(size as usize, 0);
            }
            Op::Punch { off, len } => {
                client
                    .vfs
                    .fallocate(&caller(), handle.0, handle.1, KEEP_SIZE | PUNCH_HOLE, off, len)
                    .await
                    .unwrap();
                let (from, to) = (off as usize, (off + len) as usize);
                let end = model.0.len();
                model.0[from.min(end)..to.min(end)].fill(0);
            }
            Op::Fsync => client.vfs.fsync(handle.0, handle.1).await.unwrap(),
            Op::Compact => {
                for indx in 0..2 {
                    clients[1 - turn].vfs.compact_chunk(handle.0, indx).await.unwrap();
                }
            }
            Op::Switch => {
                client.close(handle).await;
                client.close(appender).await;
                turn = 1 - turn;
                handle = clients[turn].open("f", RW).await;
                appender = clients[turn].open("f", APPEND).await;
            }
            Op::Stat => assert_eq!(client.attr(handle.0).await.length, model.0.len() as u64, "step {step}"),
        }
    }
    clients[turn].close(handle).await;
    clients[turn].close(appender).await;
    for client in &clients {
        assert!(client.cat("f").await == model.0);
    }
}

/// Cases of one run: `normally`, or as many as `make soak ROW=model` asks for.
fn cases(normally: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(normally)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(16), max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_file_is_the_bytes_that_were_written(ops in proptest::collection::vec(op(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(run(&ops));
    }
}
