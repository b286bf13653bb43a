//! `stats`: a line a second of what a mount does, from the numbers in its `.stats`.

use anyhow::{Context, bail};
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use super::say;
use crate::args::StatsArgs;
use crate::control::ROOT_INO;

/// `--prefix-internal` renames it.
const NAMES: [&str; 2] = [".stats", ".jfs.stats"];
/// Lines below one head.
const LINES: u64 = 30;

pub(super) type Numbers = HashMap<String, f64>;

/// How a number becomes a cell.
#[derive(Clone, Copy)]
enum Cell {
    /// Bytes as they are now.
    Bytes,
    /// Seconds used of each second.
    Cpu,
    /// How many a second.
    Count,
    /// Bytes a second.
    Rate,
    /// Milliseconds each, of what has a `_total` and a `_sum`.
    Latency,
    Clock,
}

struct Item {
    head: &'static str,
    /// Name in `.stats` without `juicefs_`.
    metric: &'static str,
    cell: Cell,
    /// From which `--verbosity` on it is shown.
    from: u8,
}

const fn item(head: &'static str, metric: &'static str, cell: Cell, from: u8) -> Item {
    Item { head, metric, cell, from }
}

const USAGE: [Item; 4] = [
    item("cpu", "cpu_usage", Cell::Cpu, 0),
    item("mem", "memory", Cell::Bytes, 0),
    item("buf", "used_buffer_size_bytes", Cell::Bytes, 0),
    item("cache", "store_cache_size_bytes", Cell::Bytes, 1),
];
const FUSE: [Item; 4] = [
    item("ops", "fuse_ops_durations_histogram_seconds_total", Cell::Count, 0),
    item("lat", "fuse_ops_durations_histogram_seconds", Cell::Latency, 0),
    item("read", "fuse_read_size_bytes_sum", Cell::Rate, 0),
    item("write", "fuse_written_size_bytes_sum", Cell::Rate, 0),
];
const META: [Item; 5] = [
    item("ops", "meta_ops_durations_histogram_seconds_total", Cell::Count, 0),
    item("lat", "meta_ops_durations_histogram_seconds", Cell::Latency, 0),
    item("txn", "transaction_durations_histogram_seconds_total", Cell::Count, 1),
    item("lat", "transaction_durations_histogram_seconds", Cell::Latency, 1),
    item("retry", "transaction_restart", Cell::Count, 1),
];
const CACHE: [Item; 2] = [
    item("read", "blockcache_hit_bytes", Cell::Rate, 0),
    item("write", "blockcache_write_bytes", Cell::Rate, 0),
];
const OBJECT: [Item; 8] = [
    item("get", "object_request_data_bytes_GET", Cell::Rate, 0),
    item("get_c", "object_request_durations_histogram_seconds_GET_total", Cell::Count, 1),
    item("lat", "object_request_durations_histogram_seconds_GET", Cell::Latency, 1),
    item("put", "object_request_data_bytes_PUT", Cell::Rate, 0),
    item("put_c", "object_request_durations_histogram_seconds_PUT_total", Cell::Count, 1),
    item("lat", "object_request_durations_histogram_seconds_PUT", Cell::Latency, 1),
    item("del_c", "object_request_durations_histogram_seconds_DELETE_total", Cell::Count, 1),
    item("lat", "object_request_durations_histogram_seconds_DELETE", Cell::Latency, 1),
];
const GO: [Item; 2] = [
    item("alloc", "go_memstats_alloc_bytes", Cell::Bytes, 0),
    item("sys", "go_memstats_sys_bytes", Cell::Bytes, 0),
];
const TIME: [Item; 1] = [item("time", "", Cell::Clock, 0)];

pub(super) fn run(args: &StatsArgs) -> anyhow::Result<ExitCode> {
    let path = NAMES.iter().map(|name| args.path.join(name)).find(|path| path.is_file());
    let path: PathBuf = path.with_context(|| {
        format!("{} has no .stats: it is no JuiceFS mount (its root is meant)", args.path.display())
    })?;
    if args.interval == 0 {
        bail!("--interval can't be 0: it is in seconds");
    }
    let sections = sections(&args.schema, args.verbosity);
    if sections.is_empty() {
        bail!("--schema {:?} has no letter of t, u, f, m, c, o, g", args.schema);
    }
    let (mut before, mut line) = (read(&path)?, 0);
    let mut now = before.clone();
    loop {
        if line % LINES == 0 {
            say(&heads(&sections));
        }
        say(&cells(&sections, &before, &now, args.interval as f64));
        line += 1;
        if args.count > 0 && line >= args.count {
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(Duration::from_secs(args.interval));
        before = std::mem::replace(&mut now, read(&path)?);
    }
}

/// The `.stats` of the mount that a path lies in; nothing elsewhere.
pub(super) fn of_mount(path: &Path) -> Option<PathBuf> {
    let root = path.ancestors().find(|above| above.metadata().is_ok_and(|it| it.ino() == ROOT_INO))?;
    NAMES.iter().map(|name| root.join(name)).find(|path| path.is_file())
}

/// The numbers by their names without `juicefs_`.
pub(super) fn read(path: &Path) -> anyhow::Result<Numbers> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let line = |line: &str| {
        let (name, number) = line.strip_prefix("juicefs_")?.rsplit_once(' ')?;
        Some((name.to_owned(), number.parse().ok()?))
    };
    Ok(text.lines().filter_map(line).collect())
}

type Section = (&'static str, Vec<&'static Item>);

fn sections(schema: &str, verbosity: u8) -> Vec<Section> {
    let mut sections = Vec::new();
    for letter in schema.chars() {
        let (name, items): (_, &'static [Item]) = match letter {
            'u' => ("usage", &USAGE),
            'f' => ("fuse", &FUSE),
            'm' => ("meta", &META),
            'c' => ("blockcache", &CACHE),
            'o' => ("object", &OBJECT),
            'g' => ("go", &GO),
            't' => ("system", &TIME),
            other => {
                say(&format!("Warning: no item defined for {other}"));
                continue;
            }
        };
        sections.push((name, items.iter().filter(|item| item.from <= verbosity).collect()));
    }
    sections
}

fn width(item: &Item) -> usize {
    if matches!(item.cell, Cell::Clock) { 14 } else { 5 }
}

/// In the middle of `width`; what can't be shared evenly stands on the left.
fn centred(text: &str, width: usize, filling: char) -> String {
    let room = width.saturating_sub(text.len());
    let fill = |count: usize| filling.to_string().repeat(count);
    format!("{}{text}{}", fill(room.div_ceil(2)), fill(room / 2))
}

fn heads(sections: &[Section]) -> String {
    let (mut above, mut below) = (Vec::new(), Vec::new());
    for (name, items) in sections {
        let room = items.iter().map(|item| width(item) + 1).sum::<usize>() - 1;
        above.push(centred(name, room, '-'));
        let heads: Vec<_> = items.iter().map(|item| centred(item.head, width(item), ' ')).collect();
        below.push(heads.join(" "));
    }
    format!("{}\n{}", above.join(" "), below.join("|"))
}

fn cells(sections: &[Section], before: &Numbers, now: &Numbers, seconds: f64) -> String {
    let section = |(_, items): &Section| {
        items.iter().map(|item| cell(item, before, now, seconds)).collect::<Vec<_>>().join(" ")
    };
    sections.iter().map(section).collect::<Vec<_>>().join("|")
}

fn cell(item: &Item, before: &Numbers, now: &Numbers, seconds: f64) -> String {
    let of = |numbers: &Numbers, name: &str| numbers.get(name).copied().unwrap_or(0.0);
    let grown = |name: &str| of(now, name) - of(before, name);
    match item.cell {
        Cell::Bytes => in_units(of(now, item.metric), 'B'),
        Cell::Rate => in_units(grown(item.metric) / seconds, 'B'),
        Cell::Count => in_units(grown(item.metric) / seconds, ' '),
        Cell::Cpu => {
            let percent = grown(item.metric) / seconds * 100.0;
            if percent < 100.0 { format!("{:4.1}%", percent.max(0.0)) } else { format!("{percent:4.0}%") }
        }
        Cell::Latency => {
            let count = grown(&format!("{}_total", item.metric));
            let spent = grown(&format!("{}_sum", item.metric));
            if count > 0.0 { in_millis(spent / count * 1000.0) } else { in_millis(0.0) }
        }
        Cell::Clock => {
            let stamp = juicefs_base::log::access_stamp(SystemTime::now());
            stamp.get(5..19).unwrap_or_default().replace('.', "-")
        }
    }
}

/// Four digits and a letter.
fn in_units(value: f64, least: char) -> String {
    let mut whole = if value > 0.0 { value as u64 } else { 0 };
    if whole == 0 {
        return "   0 ".to_owned();
    }
    let mut unit = least;
    for next in ['K', 'M', 'G', 'T', 'P'] {
        if whole < 10_000 {
            break;
        }
        (whole, unit) = (whole >> 10, next);
    }
    format!("{whole:4}{unit}")
}

fn in_millis(value: f64) -> String {
    match value {
        ..=0.0 => "   0 ".to_owned(),
        ..10.0 => format!("{value:4.2} "),
        ..100.0 => format!("{value:4.1} "),
        ..10_000.0 => format!("{value:4.0} "),
        _ => format!("{value:1.0e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_the_peers() {
        assert_eq!(
            heads(&sections("ufmco", 0)),
            "------usage------ ----------fuse--------- ----meta--- -blockcache ---object--\n \
             cpu   mem   buf | ops   lat   read write| ops   lat | read write| get   put "
        );
        assert_eq!(
            heads(&sections("ogt", 1)),
            "---------------------object-------------------- -----go---- ----system----\n \
             get  get_c  lat   put  put_c  lat  del_c  lat |alloc  sys |     time     "
        );
    }

    #[test]
    fn cells_are_the_peers() {
        let numbers =
            |pairs: &[(&str, f64)]| pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let before: Numbers = numbers(&[("cpu_usage", 1.0)]);
        let now: Numbers = numbers(&[
            ("cpu_usage", 1.005),
            ("memory", 83.0 * 1024.0 * 1024.0),
            ("fuse_ops_durations_histogram_seconds_total", 14.0),
            ("fuse_ops_durations_histogram_seconds_sum", 0.00196),
            ("fuse_read_size_bytes_sum", 20_000.0),
        ]);
        let line = cells(&sections("uf", 0), &before, &now, 1.0);
        assert_eq!(line, " 0.5%   83M    0 |  14  0.14    19K    0 ");
        let spans = [0.0, 9.994, 99.94, 9999.0, 20_000.0].map(in_millis);
        assert_eq!(spans, ["   0 ", "9.99 ", "99.9 ", "9999 ", "2e4"]);
        assert_eq!([9999.0, 10_000.0, 1e15].map(|value| in_units(value, 'B')), ["9999B", "   9K", " 909T"]);
    }
}
