//! What every engine must do, case by case, each written once and run on every engine. The failing test's path
//! reads `conformance::redis::a_create_racing_a_rmdir_conflicts`.
//!
//! A new engine adds one line to `every_engine!` and a way to a fresh database to `home`.

mod attempts;
mod copies;
mod data;
pub(crate) mod home;
mod init;
mod locks;
mod log;
mod mirror;
mod numbers;
mod rows;
mod scans;
mod sides;

use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::port::{Change, Engine, Get, Got, Hold, Item, Receipt, Scan};
use crate::types::{Attr, Edge, Ino, Kind, Name, Slice, Time};
use futures::TryStreamExt;

macro_rules! case {
    ($home:expr, $file:ident::$name:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let home = $home.await;
            let limit = std::time::Duration::from_secs(60);
            tokio::time::timeout(limit, crate::conformance::$file::$name(&home))
                .await
                .expect("the case ends");
        }
    };
}

macro_rules! every_engine {
    ($($engine:ident: $home:expr),+ $(,)?) => { $(mod $engine {
        case!($home, init::an_empty_database_has_no_setting);
        case!($home, init::a_new_volume_has_its_root_and_trash);
        case!($home, init::a_volume_is_not_made_twice);
        case!($home, init::a_changed_setting_is_read_back_and_brings_the_trash);
        case!($home, init::statistics_go_when_the_setting_says_so);
        case!($home, init::a_destroyed_volume_leaves_an_empty_database);
        case!($home, rows::a_node_comes_back_with_every_field);
        case!($home, rows::a_changed_node_keeps_what_did_not_change);
        case!($home, rows::a_deleted_node_is_gone);
        case!($home, rows::names_are_raw_bytes);
        case!($home, rows::an_edge_can_be_replaced_and_deleted);
        case!($home, rows::a_directory_knows_whether_it_has_children);
        case!($home, rows::a_symlink_keeps_its_target);
        case!($home, rows::an_xattr_keeps_its_bytes);
        case!($home, rows::parents_of_a_hard_link_are_counted);
        case!($home, rows::directory_statistics_move_only_where_they_exist);
        case!($home, rows::quotas_keep_limits_and_usage_apart);
        case!($home, rows::a_quota_whose_limits_changed_is_a_conflict);
        case!($home, rows::a_sustained_inode_belongs_to_a_session);
        case!($home, rows::a_deleted_file_is_known_by_inode_and_length);
        case!($home, rows::a_session_keeps_its_first_info);
        case!($home, rows::lookup_gives_the_entry_and_its_node);
        case!($home, rows::nodes_come_in_the_order_asked);
        case!($home, data::a_chunk_keeps_the_order_of_its_slices);
        case!($home, data::a_chunk_without_a_list_stays_without);
        case!($home, data::existing_chunks_of_a_range_are_named);
        case!($home, data::a_deleted_chunk_frees_its_slices);
        case!($home, data::a_shared_slice_is_freed_with_its_last_reference);
        case!($home, data::a_forgotten_slice_is_not_scanned_again);
        case!($home, data::a_replaced_prefix_keeps_what_was_appended_behind);
        case!($home, data::a_prefix_that_changed_is_a_conflict);
        case!($home, data::delayed_slices_are_kept_until_they_are_released);
        case!($home, data::usage_counts_before_and_after_the_flush);
        case!($home, attempts::a_dropped_attempt_leaves_no_trace);
        case!($home, attempts::a_conflict_writes_nothing);
        case!($home, attempts::a_create_racing_a_rmdir_conflicts);
        case!($home, attempts::a_rmdir_racing_a_create_conflicts);
        case!($home, attempts::two_creators_of_one_name_conflict);
        case!($home, attempts::two_creators_in_one_directory_both_count);
        case!($home, attempts::an_update_is_not_lost);
        case!($home, attempts::a_guarded_node_must_not_change);
        case!($home, attempts::a_peeked_node_may_change);
        case!($home, attempts::two_makers_of_one_xattr_conflict);
        case!($home, attempts::a_guarded_chunk_must_not_grow);
        case!($home, attempts::a_commit_is_seen_by_every_later_read);
        case!($home, attempts::updates_from_many_tasks_add_up);
        case!($home, attempts::many_creators_in_one_directory_all_count);
        case!($home, locks::bsd_locks_are_listed_by_holder);
        case!($home, locks::posix_locks_are_a_list_of_their_holder);
        case!($home, locks::all_locks_of_a_session_go_together);
        case!($home, locks::the_first_locks_of_a_file_conflict);
        case!($home, numbers::ranges_never_overlap);
        case!($home, numbers::inode_numbers_begin_after_the_root);
        case!($home, numbers::sessions_and_trash_directories_count_from_one);
        case!($home, numbers::one_client_wins_a_job);
        case!($home, numbers::a_job_comes_back_after_its_gap);
        case!($home, mirror::rows_of_a_source_are_put_as_they_are_there);
        case!($home, sides::a_side_record_is_put_replaced_and_deleted);
        case!($home, sides::a_read_side_record_is_held);
        case!($home, scans::a_large_directory_is_listed_once);
        case!($home, scans::chunks_are_listed_by_inode_and_all_together);
        case!($home, scans::every_node_is_listed);
        case!($home, scans::a_new_volume_holds_nothing_foreign);
        case!($home, copies::what_is_loaded_is_what_scans_yield);
        case!($home, copies::a_database_that_is_not_empty_is_not_loaded);
        case!($home, copies::numbers_go_on_after_a_load);
        case!($home, copies::a_load_that_did_not_end_is_no_volume);
    })+ };
}

/// What engines with a change log do beside it.
macro_rules! every_engine_with_a_log {
    ($($engine:ident: $home:expr),+ $(,)?) => { mod with_a_log { $(mod $engine {
        case!($home, log::lines_are_written_with_their_changes);
        case!($home, log::lines_come_in_pages_and_old_ones_go);
        case!($home, log::numbers_and_jobs_bring_their_lines);
        case!($home, mirror::rows_and_lines_are_of_one_moment);
    })+ } };
}

every_engine! {
    memory: crate::conformance::home::memory(),
    sqlite: crate::conformance::home::sqlite(),
    redis: crate::conformance::home::redis(),
    postgres: crate::conformance::home::postgres(),
    mariadb: crate::conformance::home::mariadb(),
    etcd: crate::conformance::home::etcd(),
}

every_engine_with_a_log! {
    memory: crate::conformance::home::memory(),
    sqlite: crate::conformance::home::sqlite(),
    redis: crate::conformance::home::redis(),
    postgres: crate::conformance::home::postgres(),
    mariadb: crate::conformance::home::mariadb(),
}

/// Two clients of one empty database, and what must live as long as they do.
pub(crate) struct Home {
    pub(crate) engine: Arc<dyn Engine>,
    /// A second client of the same database; the same one where a database is private to its client.
    pub(crate) other: Arc<dyn Engine>,
    pub(crate) _keep: Box<dyn std::any::Any + Send + Sync>,
}

/// One attempt: reads `gets`, commits `changes`.
async fn commit(engine: &dyn Engine, gets: &[Get], changes: &[Change]) -> Result<(Vec<Got>, Receipt)> {
    let mut attempt = engine.begin(0).await?;
    let got = if gets.is_empty() { Vec::new() } else { attempt.read(gets).await? };
    let receipt = attempt.commit(changes).await?;
    Ok((got, receipt))
}

async fn put(engine: &dyn Engine, changes: &[Change]) -> Receipt {
    commit(engine, &[], changes).await.expect("nobody else is there").1
}

async fn get(engine: &dyn Engine, get: Get) -> Got {
    let got = engine.read(&[get]).await.expect("read");
    assert_eq!(got.len(), 1, "one answer a question");
    got.into_iter().next().expect("one")
}

async fn node(engine: &dyn Engine, ino: Ino) -> Option<Attr> {
    match get(engine, Get::Node { ino, hold: Hold::Peek }).await {
        Got::Node(attr) => attr,
        other => panic!("{other:?}"),
    }
}

async fn edge(engine: &dyn Engine, parent: Ino, name: &Name) -> Option<Edge> {
    match get(engine, Get::Edge { parent, name: name.clone(), hold: Hold::Peek }).await {
        Got::Edge(edge) => edge,
        other => panic!("{other:?}"),
    }
}

async fn scan(engine: &dyn Engine, scan: Scan) -> Vec<Item> {
    engine.scan(scan).try_collect().await.expect("scan")
}

fn name(text: &str) -> Name {
    Name::new(Bytes::copy_from_slice(text.as_bytes())).expect("a name")
}

fn at(sec: i64, nsec: u32) -> Time {
    Time { sec, nsec }
}

fn file(parent: Ino) -> Attr {
    Attr::new(Kind::File, 0o644, 1000, 1000, parent, at(1_700_000_000, 123_456_789))
}

fn directory(parent: Ino) -> Attr {
    Attr::new(Kind::Directory, 0o755, 1000, 1000, parent, at(1_700_000_000, 123_456_789))
}

fn slice(id: u64, pos: u32, len: u32) -> Slice {
    Slice { pos, id, size: len, off: 0, len }
}

fn node_of(ino: Ino, hold: Hold) -> Get {
    Get::Node { ino, hold }
}

fn edge_of(parent: Ino, name: &Name, hold: Hold) -> Get {
    Get::Edge { parent, name: name.clone(), hold }
}

fn is_conflict<T>(outcome: &Result<T>) -> bool {
    matches!(outcome, Err(Error::Conflict))
}
