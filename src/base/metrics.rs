//! What a mount counts, under the peer's names, and how it is written down.
//!
//! One [`Metrics`] belongs to one mount. Operations are counted in fixed arrays of atomics; everything that
//! other rooms know already (caches, usage, traffic) is asked of a [`Source`] when somebody reads. The names,
//! kinds and helps are in [`TABLE`]; a sample under another name is a mistake that tests catch.

use nix::errno::Errno;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::sync::Mutex;

/// What a metric is to a collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    Counter,
    Gauge,
    /// Count and sum only; no buckets are kept.
    Histogram,
}

/// Every metric: name without `juicefs_`, the name of its one label (empty = none), kind, help.
pub const TABLE: &[(&str, &str, MetricKind, &str)] = {
    use MetricKind::{Counter, Gauge, Histogram};
    &[
        ("blockcache_blocks", "", Gauge, "Number of cached blocks."),
        ("blockcache_bytes", "", Gauge, "Number of cached bytes."),
        ("blockcache_drops", "", Counter, "Blocks not cached because the disk was behind."),
        ("blockcache_evicts", "", Counter, "Cached blocks that made room for others."),
        ("blockcache_hit_bytes", "", Counter, "Bytes read from cached blocks."),
        ("blockcache_hits", "", Counter, "Reads from cached blocks."),
        ("blockcache_miss", "", Counter, "Reads of blocks that were not cached."),
        ("blockcache_miss_bytes", "", Counter, "Bytes read of blocks that were not cached."),
        ("blockcache_write_bytes", "", Counter, "Bytes written into the cache."),
        ("blockcache_writes", "", Counter, "Blocks written into the cache."),
        ("compact_size_histogram_bytes", "", Histogram, "Bytes copied by compactions of chunks."),
        ("cpu_usage", "", Gauge, "Seconds of CPU used by this process."),
        ("fuse_open_handlers", "", Gauge, "Open files and directories."),
        ("fuse_ops_durations_histogram_seconds", "", Histogram, "Durations of all operations."),
        ("fuse_ops_durations_seconds", "method", Counter, "Seconds spent in operations."),
        ("fuse_ops_io_errors", "errno", Counter, "Operations answered with an error."),
        ("fuse_ops_total", "method", Counter, "Operations."),
        ("fuse_read_size_bytes", "", Histogram, "Sizes of reads."),
        ("fuse_written_size_bytes", "", Histogram, "Sizes of writes."),
        ("memory", "", Gauge, "Resident bytes of this process."),
        ("meta_ops_durations_histogram_seconds", "", Histogram, "Durations of calls to the metadata engine."),
        ("mirror_far_reads", "", Counter, "Reads of a mirror that only the source's bucket answered."),
        ("object_request_data_bytes", "method", Counter, "Bytes of object requests."),
        ("object_request_durations_histogram_seconds", "method", Histogram, "Durations of object requests."),
        ("object_request_errors", "", Counter, "Failed object requests."),
        ("object_request_uploading", "", Gauge, "Uploads under way."),
        ("process_cpu_seconds_total", "", Counter, "Seconds of CPU used by this process."),
        ("process_max_fds", "", Gauge, "Files this process may have open."),
        ("process_open_fds", "", Gauge, "Files this process has open."),
        ("process_resident_memory_bytes", "", Gauge, "Resident bytes of this process."),
        ("process_start_time_seconds", "", Gauge, "When this process started, in seconds since 1970."),
        ("process_virtual_memory_bytes", "", Gauge, "Bytes of this process's address space."),
        (
            "process_virtual_memory_max_bytes",
            "",
            Gauge,
            "Bytes the address space may have, -1 without a limit.",
        ),
        ("replication_copied_bytes", "", Counter, "Bytes copied into the other bucket."),
        ("replication_copied_objects", "", Counter, "Objects copied into the other bucket."),
        ("replication_deleted_objects", "", Counter, "Objects deleted in the other bucket."),
        ("replication_errors", "", Counter, "Copies and deletions that failed and are tried again."),
        ("replication_fallback_reads", "", Counter, "Reads that only the other bucket answered."),
        ("replication_left_to_heal", "", Counter, "Objects that no queue had room for: heal finds them."),
        (
            "replication_oldest_pending_seconds",
            "",
            Gauge,
            "Seconds that the oldest object has waited for its copy.",
        ),
        ("replication_pending_objects", "", Gauge, "Objects that wait for their copy or deletion."),
        ("slices_deleted", "", Counter, "Slices whose objects were deleted."),
        ("staging_blocks", "", Gauge, "Blocks that wait in the write-back stage."),
        ("staging_block_bytes", "", Gauge, "Bytes that wait in the write-back stage."),
        ("store_cache_size_bytes", "", Gauge, "Bytes of blocks cached in memory."),
        ("total_inodes", "", Gauge, "Inodes the volume may have."),
        ("total_space", "", Gauge, "Bytes the volume may have."),
        ("transaction_durations_histogram_seconds", "", Histogram, "Durations of metadata transactions."),
        ("transaction_restart", "", Counter, "Metadata transactions that were tried again."),
        ("uptime", "", Gauge, "Seconds since the mount."),
        ("used_buffer_size_bytes", "", Gauge, "Bytes of the buffer budget in use."),
        ("used_read_buffer_size_bytes", "", Gauge, "Bytes of reads under way."),
        ("used_inodes", "", Gauge, "Inodes of the volume in use."),
        ("used_space", "", Gauge, "Bytes of the volume in use."),
        ("waiting", "on", Gauge, "Seconds that the oldest wait has lasted, by what is waited for."),
    ]
};

macro_rules! operations {
    ($($variant:ident = $name:literal),* $(,)?) => {
        /// An operation of the file system, as metrics name it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum FileOp { $($variant),* }

        impl FileOp {
            const NAMES: &'static [&'static str] = &[$($name),*];

            /// The label's value.
            #[must_use]
            pub fn name(self) -> &'static str {
                Self::NAMES[self as usize]
            }
        }
    };
}

operations! {
    Access = "access", CopyFileRange = "copy_file_range", Create = "create", Fallocate = "fallocate", Flock = "flock", Flush = "flush", Fsync = "fsync",
    Getattr = "getattr", Getlk = "getlk", Getxattr = "getxattr", Ioctl = "ioctl", Link = "link", Listxattr = "listxattr", Lookup = "lookup", Lseek = "lseek", Mkdir = "mkdir", Mknod = "mknod",
    Open = "open", Opendir = "opendir", Read = "read", Readdir = "readdir", Readlink = "readlink",
    Release = "release", Releasedir = "releasedir", Removexattr = "removexattr", Rename = "rename", Rmdir = "rmdir", Setattr = "setattr", Setlk = "setlk", Setxattr = "setxattr",
    Statfs = "statfs", Symlink = "symlink", Truncate = "truncate", Unlink = "unlink", Write = "write",
}

/// One value of one metric at the moment of reading.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// As in [`TABLE`].
    pub name: &'static str,
    /// Value of the label; empty without one.
    pub label: String,
    pub value: Value,
}

/// The number of a [`Sample`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    Number(f64),
    /// Histograms.
    Sum {
        count: u64,
        sum: f64,
    },
}

/// Where a [`Source`] puts what it knows.
#[derive(Debug, Default)]
pub struct Samples(Vec<Sample>);

impl Samples {
    pub fn put(&mut self, name: &'static str, value: f64) {
        self.put_labelled(name, "", value);
    }

    pub fn put_labelled(&mut self, name: &'static str, label: &str, value: f64) {
        self.0.push(Sample { name, label: label.to_owned(), value: Value::Number(value) });
    }

    pub fn put_sum(&mut self, name: &'static str, label: &str, count: u64, sum: f64) {
        self.0.push(Sample { name, label: label.to_owned(), value: Value::Sum { count, sum } });
    }
}

/// Somebody who knows numbers; asked at each reading, must not wait.
pub type Source = Box<dyn Fn(&mut Samples) + Send + Sync>;

#[derive(Debug, Default)]
struct Tally {
    count: AtomicU64,
    /// Nanoseconds or bytes.
    sum: AtomicU64,
}

impl Tally {
    fn add(&self, amount: u64) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(amount, Ordering::Relaxed);
    }

    fn read(&self) -> (u64, u64) {
        (self.count.load(Ordering::Relaxed), self.sum.load(Ordering::Relaxed))
    }
}

/// Errno values that are counted one by one; larger ones count as the last.
const ERRNO_MAX: usize = 134;

/// The counters of one mount.
pub struct Metrics {
    started: Instant,
    operations: Vec<Tally>,
    errors: Vec<AtomicU64>,
    read_sizes: Tally,
    written_sizes: Tally,
    sources: Mutex<Vec<Source>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            operations: FileOp::NAMES.iter().map(|_| Tally::default()).collect(),
            errors: (0..ERRNO_MAX).map(|_| AtomicU64::new(0)).collect(),
            read_sizes: Tally::default(),
            written_sizes: Tally::default(),
            sources: Mutex::default(),
        }
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").field("started", &self.started).finish_non_exhaustive()
    }
}

impl Metrics {
    /// Counts one operation that took `spent`.
    pub fn count(&self, operation: FileOp, spent: Duration, failure: Option<Errno>) {
        self.operations[operation as usize].add(u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX));
        if let Some(errno) = failure {
            let index = usize::try_from(errno as i32).unwrap_or(0).min(ERRNO_MAX - 1);
            self.errors[index].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub fn count_read(&self, bytes: usize) {
        self.read_sizes.add(bytes as u64);
    }

    pub fn count_written(&self, bytes: usize) {
        self.written_sizes.add(bytes as u64);
    }

    /// Somebody else to ask at each reading.
    pub fn add_source(&self, source: Source) {
        self.sources.lock().push(source);
    }

    /// Forgets all sources (they may hold what holds these metrics).
    pub fn clear_sources(&self) {
        self.sources.lock().clear();
    }

    /// All values now, sorted by name and label.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        let mut samples = Samples::default();
        self.own(&mut samples);
        process(&mut samples);
        for source in self.sources.lock().iter() {
            source(&mut samples);
        }
        let mut samples = samples.0;
        debug_assert!(
            samples.iter().all(|s| TABLE.iter().any(|row| row.0 == s.name)),
            "a name outside the table"
        );
        samples.sort_by(|a, b| (a.name, &a.label).cmp(&(b.name, &b.label)));
        samples
    }

    fn own(&self, samples: &mut Samples) {
        let (mut all, mut spent) = (0, 0);
        for (name, tally) in FileOp::NAMES.iter().zip(&self.operations) {
            let (count, nanos) = tally.read();
            if count > 0 {
                samples.put_labelled("fuse_ops_total", name, count as f64);
                samples.put_labelled("fuse_ops_durations_seconds", name, nanos as f64 / 1e9);
            }
            (all, spent) = (all + count, spent + nanos);
        }
        samples.put_sum("fuse_ops_durations_histogram_seconds", "", all, spent as f64 / 1e9);
        for (number, count) in self.errors.iter().enumerate() {
            let count = count.load(Ordering::Relaxed);
            if count > 0 {
                let errno = Errno::from_raw(i32::try_from(number).unwrap_or(0));
                samples.put_labelled("fuse_ops_io_errors", &format!("{errno:?}"), count as f64);
            }
        }
        let (count, sum) = self.read_sizes.read();
        samples.put_sum("fuse_read_size_bytes", "", count, sum as f64);
        let (count, sum) = self.written_sizes.read();
        samples.put_sum("fuse_written_size_bytes", "", count, sum as f64);
        samples.put("uptime", self.started.elapsed().as_secs_f64());
    }

    /// The text of `.stats`: one `juicefs_<name>[_<label>] <value>` a line; histograms as `_total` and `_sum`.
    #[must_use]
    pub fn stats_text(&self) -> String {
        let mut text = String::with_capacity(4096);
        for Sample { name, label, value } in self.samples() {
            let joint = if label.is_empty() { "" } else { "_" };
            // Writing into a String can't fail.
            let _ = match value {
                Value::Number(number) => writeln!(text, "juicefs_{name}{joint}{label} {number}"),
                Value::Sum { count, sum } => writeln!(
                    text,
                    "juicefs_{name}{joint}{label}_total {count}\njuicefs_{name}{joint}{label}_sum {sum}"
                ),
            };
        }
        text
    }

    /// Prometheus' text format with `labels` (name, value) on every line.
    #[must_use]
    pub fn prometheus_text(&self, labels: &[(&str, &str)]) -> String {
        let mut text = String::with_capacity(8192);
        let mut last = "";
        for Sample { name, label, value } in self.samples() {
            let Some((_, key, kind, help)) = TABLE.iter().find(|row| row.0 == name) else { continue };
            if name != last {
                let kind = match kind {
                    MetricKind::Counter => "counter",
                    MetricKind::Gauge => "gauge",
                    MetricKind::Histogram => "histogram",
                };
                let _ = writeln!(text, "# HELP juicefs_{name} {help}\n# TYPE juicefs_{name} {kind}");
                last = name;
            }
            let mut pairs: Vec<String> =
                labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escape(value))).collect();
            if !key.is_empty() {
                pairs.push(format!("{key}=\"{}\"", escape(&label)));
            }
            let pairs = pairs.join(",");
            let _ = match value {
                Value::Number(number) => writeln!(text, "juicefs_{name}{{{pairs}}} {number}"),
                Value::Sum { count, sum } => {
                    let comma = if pairs.is_empty() { "" } else { "," };
                    writeln!(
                        text,
                        "juicefs_{name}_bucket{{{pairs}{comma}le=\"+Inf\"}} {count}\n\
                         juicefs_{name}_sum{{{pairs}}} {sum}\njuicefs_{name}_count{{{pairs}}} {count}"
                    )
                }
            };
        }
        text
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// What the kernel knows of this process.
fn process(samples: &mut Samples) {
    use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};
    if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
        let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        let spent = seconds(usage.user_time()) + seconds(usage.system_time());
        samples.put("cpu_usage", spent);
        samples.put("process_cpu_seconds_total", spent);
    }
    let most = |resource| match getrlimit(resource) {
        Ok((soft, _)) if soft < u64::MAX => soft as f64,
        _ => -1.0,
    };
    samples.put("process_max_fds", most(Resource::RLIMIT_NOFILE));
    samples.put("process_virtual_memory_max_bytes", most(Resource::RLIMIT_AS));
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        // The listing itself has one open.
        samples.put("process_open_fds", files.count().saturating_sub(1) as f64);
    }
    // proc(5): what follows the name, from the third field on.
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> = text
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect())
        .unwrap_or_default();
    if let [ticks, virtual_bytes, pages] = fields.get(19..22).unwrap_or_default() {
        samples.put("memory", pages * 4096.0);
        samples.put("process_resident_memory_bytes", pages * 4096.0);
        samples.put("process_virtual_memory_bytes", *virtual_bytes);
        let machine = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let booted = machine.lines().find_map(|line| line.strip_prefix("btime ")?.parse::<f64>().ok());
        if let Some(booted) = booted {
            samples.put("process_start_time_seconds", booted + ticks / 100.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stats_text_has_the_peers_lines() {
        let metrics = Metrics::default();
        metrics.count(FileOp::Lookup, Duration::from_millis(250), Some(Errno::ENOENT));
        metrics.count(FileOp::Read, Duration::from_millis(250), None);
        metrics.count_read(4096);
        metrics.add_source(Box::new(|samples| {
            samples.put("used_space", 8192.0);
            samples.put_labelled("waiting", "meta", 0.0);
        }));
        let text = metrics.stats_text();
        for line in [
            "juicefs_fuse_ops_total_lookup 1",
            "juicefs_fuse_ops_durations_seconds_lookup 0.25",
            "juicefs_fuse_ops_io_errors_ENOENT 1",
            "juicefs_fuse_ops_durations_histogram_seconds_total 2",
            "juicefs_fuse_ops_durations_histogram_seconds_sum 0.5",
            "juicefs_fuse_read_size_bytes_total 1",
            "juicefs_fuse_read_size_bytes_sum 4096",
            "juicefs_used_space 8192",
            "juicefs_waiting_meta 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        let memory = text.lines().find_map(|line| line.strip_prefix("juicefs_memory ")).expect("memory");
        assert!(memory.parse::<f64>().expect("a number") > 1e6);
    }

    #[test]
    fn prometheus_gets_types_and_escaped_labels() {
        let metrics = Metrics::default();
        metrics.count(FileOp::Open, Duration::ZERO, None);
        let text = metrics.prometheus_text(&[("vol_name", "a\"b")]);
        assert!(text.contains("# TYPE juicefs_fuse_ops_total counter"));
        assert!(text.contains("juicefs_fuse_ops_total{vol_name=\"a\\\"b\",method=\"open\"} 1"));
        assert!(text.contains("juicefs_fuse_read_size_bytes_count{vol_name=\"a\\\"b\"} 0"));
    }

    #[test]
    fn names_are_unique_and_sorted_enough_to_be_found() {
        for (at, row) in TABLE.iter().enumerate() {
            assert!(TABLE[at + 1..].iter().all(|other| other.0 != row.0), "{}", row.0);
            assert!(!row.3.is_empty());
        }
    }
}
