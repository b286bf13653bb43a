//! `bench`: how fast a path takes and gives files, large and small, measured and shown as the peer does.
//!
//! The files are in a folder of their own below the path, which goes when the work ends, well or not.

use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::{say, stats};
use crate::args::BenchArgs;
use crate::progress::Bars;
use crate::table::{bytes_in_short, table};
use juicefs_base::units::parse_bytes;
use juicefs_volume::Progress;

const DROP_CACHES: &str = "/proc/sys/vm/drop_caches";
/// Files of other people's mistakes stop here.
const THREADS_MAX: u32 = 1024;

/// From which value on, and up to which cost, a result is good or at least usual: lowest value, high value, low cost,
/// highest cost.
type Range = [f64; 4];

const BIG: Range = [100.0, 200.0, 10.0, 50.0];
const SMALL_WRITE: Range = [12.5, 20.0, 50.0, 80.0];
const SMALL_READ: Range = [50.0, 100.0, 10.0, 20.0];
const STAT: Range = [20.0, 1000.0, 1.0, 5.0];

/// What a mount did meanwhile: row, number in `.stats`, range of its milliseconds each.
const OF_MOUNT: [(&str, &str, f64, f64); 7] = [
    ("FUSE operation", "fuse_ops_durations_histogram_seconds", 0.5, 2.0),
    ("Update meta", "transaction_durations_histogram_seconds", 2.0, 5.0),
    ("Put object", "object_request_durations_histogram_seconds_PUT", 100.0, 200.0),
    ("Get object", "object_request_durations_histogram_seconds_GET", 100.0, 200.0),
    ("Delete object", "object_request_durations_histogram_seconds_DELETE", 30.0, 100.0),
    ("Write into cache", "blockcache_write_hist_seconds", 10.0, 20.0),
    ("Read from cache", "blockcache_read_hist_seconds", 1.0, 5.0),
];

/// Files of one size, the same number by each thread.
struct Case {
    name: &'static str,
    folder: PathBuf,
    threads: u32,
    /// Of each thread.
    files: u32,
    file_bytes: u64,
    block_bytes: usize,
    blocks: u64,
}

#[derive(Clone, Copy)]
enum Work {
    Write,
    Read,
    Stat,
}

/// One row of the result.
struct Row {
    item: &'static str,
    value: f64,
    value_unit: &'static str,
    value_digits: usize,
    cost: f64,
    cost_unit: &'static str,
    range: Range,
}

/// The folder of the files, gone with all of them when this is dropped.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!("{} is left behind: {error}", self.0.display());
        }
    }
}

pub(super) fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    let bytes = |flag, text: &str, unit| parse_bytes(text, unit).with_context(|| format!("--{flag} {text}"));
    let block_bytes = bytes("block-size", &args.block_size, 1 << 20)?;
    let big_bytes = bytes("big-file-size", &args.big_file_size, 1 << 20)?;
    let small_bytes = bytes("small-file-size", &args.small_file_size, 1 << 10)?;
    let has_small = small_bytes > 0 && args.small_file_count > 0;
    if block_bytes == 0 || args.threads == 0 || args.threads > THREADS_MAX || (big_bytes == 0 && !has_small) {
        bail!(
            "nothing to measure: --block-size, 1 to {THREADS_MAX} --threads and a size of files must be more than 0"
        );
    }
    let stamp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let above = std::path::absolute(&args.path).with_context(|| args.path.display().to_string())?;
    let folder = above.join(format!("__juicefs_benchmark_{stamp}__"));
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let scratch = Scratch(folder.clone());
    let case =
        |name, file_bytes: u64, files| Case::new(name, &folder, args.threads, files, file_bytes, block_bytes);
    drop_caches();
    let of_mount = stats::of_mount(&folder);
    let before = of_mount.as_deref().map(stats::read).transpose()?;
    let bars = Bars::on_terminal();
    let bars = bars.as_ref();
    let mut rows = Vec::new();
    if big_bytes > 0 {
        let big = case("bigfile", big_bytes, 1)?;
        rows.push(big.rate("Write big file", big.run(Work::Write, "Write big blocks", bars)?));
        drop_caches();
        rows.push(big.rate("Read big file", big.run(Work::Read, "Read big blocks", bars)?));
    }
    if has_small {
        let small = case("smallfile", small_bytes, args.small_file_count)?;
        let took = small.run(Work::Write, "Write small blocks", bars)?;
        rows.push(small.files_a_second("Write small file", took, SMALL_WRITE));
        drop_caches();
        let took = small.run(Work::Read, "Read small blocks", bars)?;
        rows.push(small.files_a_second("Read small file", took, SMALL_READ));
        drop_caches();
        let took = small.run(Work::Stat, "Stat small files", bars)?;
        rows.push(small.files_a_second("Stat file", took, STAT));
    }
    drop(scratch);
    let mut used = None;
    if let (Some(path), Some(before)) = (of_mount, before) {
        let after = stats::read(&path)?;
        let grown = |name: &str| {
            let of = |numbers: &stats::Numbers| numbers.get(name).copied().unwrap_or(0.0);
            of(&after) - of(&before)
        };
        for (item, name, low, high) in OF_MOUNT {
            let count = grown(&format!("{name}_total"));
            let cost = if count > 0.0 { grown(&format!("{name}_sum")) * 1000.0 / count } else { 0.0 };
            let range = [0.0, 0.0, low, high];
            rows.push(Row {
                item,
                value: count,
                value_unit: "operations",
                value_digits: 0,
                cost,
                cost_unit: "ms/op",
                range,
            });
        }
        let (uptime, cpu) = (grown("uptime"), grown("cpu_usage"));
        let memory = after.get("memory").copied().unwrap_or(0.0) / f64::from(1 << 20);
        used = Some((uptime, cpu * 100.0 / uptime.max(f64::EPSILON), memory));
    }
    let setting = [block_bytes, big_bytes, small_bytes];
    if args.json {
        say(&serde_json::to_string_pretty(&document(args, setting, &rows, used))?);
    } else {
        show(args, setting, &rows, used);
    }
    Ok(ExitCode::SUCCESS)
}

impl Case {
    fn new(
        name: &'static str,
        folder: &Path,
        threads: u32,
        files: u32,
        file_bytes: u64,
        block_bytes: u64,
    ) -> anyhow::Result<Self> {
        let block = block_bytes.min(file_bytes);
        let blocks = file_bytes.div_ceil(block);
        let (file_bytes, block_bytes) = (blocks * block, usize::try_from(block).context("--block-size")?);
        Ok(Self { name, folder: folder.to_owned(), threads, files, file_bytes, block_bytes, blocks })
    }

    /// Seconds that all threads together took.
    fn run(&self, work: Work, title: &str, bars: &dyn Progress) -> anyhow::Result<f64> {
        let each = if matches!(work, Work::Stat) { 1 } else { self.blocks };
        bars.begin(title, Some(u64::from(self.threads) * u64::from(self.files) * each));
        let begun = Instant::now();
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads)
                .map(|thread| scope.spawn(move || self.by_thread(work, thread, bars)))
                .collect();
            threads.into_iter().try_for_each(|thread| match thread.join() {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })?;
        Ok(begun.elapsed().as_secs_f64().max(1e-9))
    }

    fn by_thread(&self, work: Work, thread: u32, bars: &dyn Progress) -> anyhow::Result<()> {
        let mut block = vec![0; if matches!(work, Work::Stat) { 0 } else { self.block_bytes }];
        // Bytes that no compression makes less of.
        rand::fill(&mut block[..]);
        for file in 0..self.files {
            let path = self.folder.join(format!("{}.{thread}.{file}", self.name));
            self.one(work, &path, &mut block, bars).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }

    fn one(&self, work: Work, path: &Path, block: &mut [u8], bars: &dyn Progress) -> std::io::Result<()> {
        match work {
            Work::Stat => {
                fs::metadata(path)?;
                bars.advance(1);
            }
            Work::Write => {
                let mut file = File::create(path)?;
                for _ in 0..self.blocks {
                    file.write_all(block)?;
                    bars.advance(1);
                }
                // What a mount could not write it says at the close.
                nix::unistd::close(file).map_err(std::io::Error::from)?;
            }
            Work::Read => {
                let mut file = File::open(path)?;
                for _ in 0..self.blocks {
                    file.read_exact(block)?;
                    bars.advance(1);
                }
            }
        }
        Ok(())
    }

    fn rate(&self, item: &'static str, took: f64) -> Row {
        let mib = self.file_bytes as f64 / f64::from(1 << 20) * self.all_files();
        let (value, cost) = (mib / took, took / f64::from(self.files));
        Row { item, value, value_unit: "MiB/s", value_digits: 2, cost, cost_unit: "s/file", range: BIG }
    }

    fn files_a_second(&self, item: &'static str, took: f64, range: Range) -> Row {
        let [low, high, cheap, dear] = range;
        let threads = f64::from(self.threads);
        Row {
            item,
            value: self.all_files() / took,
            value_unit: "files/s",
            value_digits: 1,
            cost: took * 1000.0 / f64::from(self.files),
            cost_unit: "ms/file",
            range: [low * threads, high * threads, cheap, dear],
        }
    }

    fn all_files(&self) -> f64 {
        f64::from(self.files) * f64::from(self.threads)
    }
}

/// What was written is read from the mount, not from the kernel's memory.
fn drop_caches() {
    if std::env::var("SKIP_DROP_CACHES").is_ok_and(|value| value == "true") {
        tracing::warn!("Clear cache operation has been skipped");
    } else if let Err(error) = fs::write(DROP_CACHES, "3") {
        tracing::warn!("Failed to clean kernel caches: {error}; reads may come from memory: run it as root");
    }
}

fn show(args: &BenchArgs, [block, big, small]: [u64; 3], rows: &[Row], used: Option<(f64, f64, f64)>) {
    say("Benchmark finished!");
    say(&format!(
        "BlockSize: {}, BigFileSize: {}, SmallFileSize: {}, SmallFileCount: {}, NumThreads: {}",
        bytes_in_short(block),
        bytes_in_short(big),
        bytes_in_short(small),
        args.small_file_count,
        args.threads
    ));
    let in_colour = std::io::stdout().is_terminal();
    if let Some((seconds, cpu, memory)) = used {
        let good = |number: String| if in_colour { format!("\x1b[1;32m{number}\x1b[0m") } else { number };
        let [seconds, cpu, memory] = [seconds, cpu, memory].map(|number| good(format!("{number:.1}")));
        say(&format!("Time used: {seconds} s, CPU: {cpu}%, Memory: {memory} MiB"));
    }
    let rows: Vec<_> = rows.iter().map(|row| row.cells(in_colour)).collect();
    say(table(&["ITEM", "VALUE", "COST"], 0, &rows).trim_end());
}

impl Row {
    fn cells(&self, in_colour: bool) -> Vec<String> {
        let [low, high, cheap, dear] = self.range;
        let (mut value, mut cost) =
            (format!("{:.*}", self.value_digits, self.value), format!("{:.2}", self.cost));
        if in_colour {
            let of = |good, usual| {
                if good {
                    32
                } else if usual {
                    33
                } else {
                    31
                }
            };
            let colour = of(self.value > high, self.value > low);
            value = format!("\x1b[1;{colour}m{value}\x1b[0m");
            let colour = of(self.cost < cheap, self.cost < dear);
            cost = format!("\x1b[1;{colour}m{cost}\x1b[0m");
        }
        vec![
            self.item.to_owned(),
            format!("{value} {}", self.value_unit),
            format!("{cost} {}", self.cost_unit),
        ]
    }
}

fn document(
    args: &BenchArgs,
    [block, big, small]: [u64; 3],
    rows: &[Row],
    used: Option<(f64, f64, f64)>,
) -> Value {
    let row = |row: &Row| {
        json!({
            "item": row.item, "value": row.value, "valueUnit": row.value_unit, "cost": row.cost,
            "costUnit": row.cost_unit,
        })
    };
    let mount = used
        .map(|(seconds, cpu, memory)| json!({ "seconds": seconds, "cpuPercent": cpu, "memoryMiB": memory }));
    json!({
        "blockBytes": block, "bigFileBytes": big, "smallFileBytes": small, "smallFileCount": args.small_file_count,
        "threads": args.threads, "results": rows.iter().map(row).collect::<Vec<_>>(), "mount": mount,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_blocks_and_a_small_one_is_one() {
        let case = |file, block| {
            let case = Case::new("x", Path::new("/"), 1, 1, file, block).expect("fits");
            (case.file_bytes, case.block_bytes, case.blocks)
        };
        assert_eq!(case(10 << 20, 1 << 20), (10 << 20, 1 << 20, 10));
        assert_eq!(case((10 << 20) + 1, 1 << 20), (11 << 20, 1 << 20, 11));
        assert_eq!(case(1000, 1 << 20), (1000, 1000, 1));
    }

    #[test]
    fn results_are_green_yellow_or_red() {
        let row = |value, cost| {
            let range = BIG;
            Row { item: "x", value, value_unit: "MiB/s", value_digits: 2, cost, cost_unit: "s/file", range }
        };
        assert_eq!(
            row(300.0, 60.0).cells(true)[1..],
            ["\x1b[1;32m300.00\x1b[0m MiB/s", "\x1b[1;31m60.00\x1b[0m s/file"]
        );
        assert_eq!(row(150.0, 5.0).cells(false), ["x", "150.00 MiB/s", "5.00 s/file"]);
    }
}
