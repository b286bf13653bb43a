use super::*;
use std::time::Duration;

const BLOCK: usize = 1 << 20;

fn pool(dirty_bytes: usize, block_bytes: usize, budget: Budget) -> Arc<PagePool> {
    PagePool::new(dirty_bytes, block_bytes, budget, Arc::new(MemoryCache::new(0))).unwrap()
}

fn resident(pool: &PagePool) -> u64 {
    nix::sys::stat::fstat(pool.fd()).unwrap().st_blocks as u64 * 512
}

fn fill(pool: &Arc<PagePool>, bytes: usize) -> BlockBuf {
    let mut block = pool.block();
    let mut reservation = pool.try_acquire(bytes).unwrap();
    assert!(block.write(0, &vec![7; bytes], &mut reservation));
    block
}

#[test]
fn memory_goes_back_to_the_kernel_and_to_the_budget() {
    let budget = Budget::new(64 << 20);
    let pool = pool(32 << 20, BLOCK, budget.clone());
    assert_eq!(resident(&pool), 0);
    let blocks: Vec<_> = (0..28).map(|_| fill(&pool, BLOCK)).collect();
    assert_eq!((pool.used_bytes(), budget.used_bytes()), (28 << 20, 28 << 20));
    assert_eq!(resident(&pool), 28 << 20);
    drop(blocks);
    assert_eq!(pool.used_bytes(), 0);
    assert_eq!(budget.used_bytes(), 8 << 20, "a quarter of the pool stays warm");
    pool.cool_if_idle();
    assert_eq!(budget.used_bytes(), 8 << 20, "was busy since the last look");
    pool.cool_if_idle();
    assert_eq!((budget.used_bytes(), resident(&pool)), (0, 0));
}

#[test]
fn a_small_block_costs_one_page_and_bytes_read_back_after_reuse() {
    let budget = Budget::new(16 << 20);
    let pool = pool(8 << 20, BLOCK, budget.clone());
    drop(fill(&pool, BLOCK));
    let mut block = pool.block();
    let mut reservation = pool.try_acquire(10).unwrap();
    assert!(block.write(0, b"hello", &mut reservation));
    assert!(block.write(4, b"o, world", &mut reservation));
    assert_eq!(block.as_ref(), b"hello, world");
    let bytes = block.freeze();
    let part = bytes.slice(7..);
    drop((bytes, reservation));
    assert_eq!(&part[..], b"world");
    pool.cool();
    let small = fill(&pool, 5);
    assert_eq!(small.len(), 5);
    drop(part);
}

#[test]
fn a_reservation_too_small_changes_nothing() {
    let pool = pool(8 << 20, BLOCK, Budget::new(16 << 20));
    let mut block = pool.block();
    let mut reservation = pool.try_acquire(1).unwrap();
    assert!(!block.write(0, &[1; BLOCK], &mut reservation));
    assert_eq!(block.len(), 0);
    assert!(block.write(0, &[1; 3 * PAGE_BYTES], &mut reservation));
}

#[tokio::test]
async fn who_waits_for_pages_wakes_the_flusher_and_gets_what_is_freed() {
    let budget = Budget::new(16 << 20);
    let pool = pool(3 << 20, BLOCK, budget.clone());
    let held = pool.acquire(BLOCK).await;
    let more = pool.acquire(BLOCK).await;
    let waiter = tokio::spawn({
        let pool = pool.clone();
        async move { drop(pool.acquire(BLOCK).await) }
    });
    tokio::time::timeout(Duration::from_secs(5), pool.pressure()).await.expect("a flush was asked for");
    assert_eq!(pool.waiting(), 1);
    drop((held, more));
    waiter.await.unwrap();
    assert_eq!((pool.waiting(), budget.used_bytes()), (0, 0));
}

#[tokio::test]
async fn warm_memory_never_blocks_a_writer() {
    let budget = Budget::new(4 << 20);
    let pool = pool(4 << 20, BLOCK, budget.clone());
    drop(fill(&pool, BLOCK));
    assert_eq!(budget.used_bytes(), 1 << 20);
    assert!(pool.try_acquire((4 << 20) - 2 * PAGE_BYTES).is_some());
    assert_eq!(budget.used_bytes(), 0);
}
