//! `profile`: what operations a mount spends its time on, from its access log.

use anyhow::{Context, bail};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use super::say;
use crate::args::ProfileArgs;

/// `--prefix-internal` renames it.
const NAMES: [&str; 2] = [".accesslog", ".jfs.accesslog"];
/// Lines that may wait while a table is printed.
const LINES_MAX: usize = 10_240;
const CLEAR: &str = "\u{1b}[2J\u{1b}[1;1H";

/// Count and microseconds by operation.
#[derive(Default)]
struct Tally(HashMap<String, (u64, u64)>);

/// One line of an access log.
#[derive(Debug, PartialEq)]
struct Line<'a> {
    /// Seconds since 1970 of its stamp, taken as UTC: only differences count.
    at: f64,
    stamp: String,
    ids: [u32; 3],
    operation: &'a str,
    micros: u64,
}

pub(super) fn run(args: &ProfileArgs) -> anyhow::Result<ExitCode> {
    let metadata = args.path.metadata().with_context(|| format!("{}", args.path.display()))?;
    match metadata.is_dir() {
        true if args.interval == 0 => bail!("--interval of a mount can't be 0: that is for log files"),
        true => follow(args),
        false => replay(args),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// A mount, as it works.
fn follow(args: &ProfileArgs) -> anyhow::Result<()> {
    let file = open(&args.path)?;
    let (sent, lines) = mpsc::sync_channel(LINES_MAX);
    std::thread::spawn(move || {
        for line in BufReader::new(file).lines() {
            let is_last = line.is_err();
            if sent.send(line).is_err() || is_last {
                break;
            }
        }
    });
    let clear = if std::io::stdout().is_terminal() { CLEAR } else { "" };
    let (every, seconds) = (Duration::from_secs(args.interval), args.interval as f64);
    let (mut tally, mut due) = (Tally::default(), Instant::now() + every);
    say(&format!("{clear}{}", tally.table("", seconds, &now())));
    loop {
        match lines.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok(line) => tally.take(&line.context("the mount's access log ended")?, args),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("the mount's access log ended"),
        }
        if Instant::now() >= due {
            say(&format!("{clear}{}", std::mem::take(&mut tally).table("", seconds, &now())));
            due += every;
        }
    }
}

fn open(mount: &Path) -> anyhow::Result<File> {
    let path = NAMES.iter().map(|name| mount.join(name)).find(|path| path.symlink_metadata().is_ok());
    let path = path.with_context(|| {
        format!("{} has no .accesslog: it is no JuiceFS mount (its root is meant)", mount.display())
    })?;
    File::open(&path).with_context(|| format!("open {}", path.display()))
}

/// A log that was kept: one table for each interval of its own time, or one for all of it.
fn replay(args: &ProfileArgs) -> anyhow::Result<()> {
    let file = File::open(&args.path).with_context(|| format!("open {}", args.path.display()))?;
    let (mut tally, mut span): (Tally, Option<(f64, f64, String)>) = (Tally::default(), None);
    let label = if args.interval == 0 { "" } else { "(replaying)" };
    for text in BufReader::new(file).split(b'\n') {
        let text = text.with_context(|| format!("read {}", args.path.display()))?;
        let text = String::from_utf8_lossy(&text);
        let Some(line) = Line::parse(&text) else { continue };
        if !line.is_wanted(args) {
            continue;
        }
        let (first, last, stamp) = span.get_or_insert((line.at, line.at, line.stamp.clone()));
        if args.interval > 0 && line.at - *first >= args.interval as f64 {
            say(&std::mem::take(&mut tally).table(label, args.interval as f64, stamp));
            *first = line.at;
        }
        (*last, *stamp) = (line.at, line.stamp.clone());
        tally.add(&line);
    }
    let Some((first, last, stamp)) = span else {
        bail!("{} has no line of an access log that is asked for", args.path.display())
    };
    let seconds = if args.interval > 0 { args.interval as f64 } else { last - first };
    say(&tally.table(label, seconds, &stamp));
    Ok(())
}

fn now() -> String {
    stamp(&juicefs_base::log::access_stamp(SystemTime::now())).unwrap_or_default()
}

/// `2026-11-25T09:29:13` of `2026.11.25 09:29:13.548713`.
fn stamp(text: &str) -> Option<String> {
    let (date, time) = text.split_once(' ')?;
    Some(format!("{}T{}", date.replace('.', "-"), time.get(..8)?))
}

impl<'a> Line<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut words = text.splitn(5, ' ');
        let (date, time) = (words.next()?, words.next()?);
        let ids = words.next()?.strip_prefix("[uid:")?.strip_suffix(']')?;
        let (uid, rest) = ids.split_once(",gid:")?;
        let (gid, pid) = rest.split_once(",pid:")?;
        let operation = words.next()?;
        let seconds: f64 = words.next()?.rsplit_once('<')?.1.strip_suffix('>')?.parse().ok()?;
        let mut clock = time.split(':').map(str::parse::<f64>);
        let (hour, minute, second) = (clock.next()?.ok()?, clock.next()?.ok()?, clock.next()?.ok()?);
        let mut days = date.split('.').map(str::parse::<u64>);
        let (year, month, day) = (days.next()?.ok()?, days.next()?.ok()?, days.next()?.ok()?);
        // A month is as long as the longest: a table more at its end does no harm.
        let days = year * 372 + month * 31 + day;
        Some(Self {
            at: (days * 86400) as f64 + hour * 3600.0 + minute * 60.0 + second,
            stamp: stamp(&format!("{date} {time}"))?,
            ids: [uid.parse().ok()?, gid.parse().ok()?, pid.parse().ok()?],
            operation,
            // Cut off, as the peer does.
            micros: (seconds * 1e6) as u64,
        })
    }

    fn is_wanted(&self, args: &ProfileArgs) -> bool {
        let wanted = [&args.uid, &args.gid, &args.pid];
        wanted.iter().zip(self.ids).all(|(wanted, id)| wanted.is_empty() || wanted.contains(&id))
    }
}

impl Tally {
    fn take(&mut self, text: &str, args: &ProfileArgs) {
        if let Some(line) = Line::parse(text).filter(|line| line.is_wanted(args)) {
            self.add(&line);
        }
    }

    fn add(&mut self, line: &Line<'_>) {
        let (count, micros) = self.0.entry(line.operation.to_owned()).or_default();
        *count += 1;
        *micros += line.micros;
    }

    /// The peer's table of `seconds` that end at `stamp`: what took longest stands first.
    fn table(&self, label: &str, seconds: f64, stamp: &str) -> String {
        let mut rows: Vec<_> = self.0.iter().map(|(name, &(count, micros))| (micros, name, count)).collect();
        rows.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
        let mut text = format!("> JuiceFS Profiling {label:>13}  Refresh: {seconds:.0} seconds  {stamp}\n");
        text += &format!(
            "{:<14}{:>11}{:>16}{:>19}{:>15}\n",
            "Operation", "Count", "Average(us)", "Total(us)", "Percent(%)"
        );
        for (micros, name, count) in rows {
            // Half of a microsecond goes to the even one, as in the peer.
            let average = (micros as f64 / count as f64).round_ties_even();
            let percent = if seconds > 0.0 { micros as f64 / (seconds * 1e4) } else { 0.0 };
            text += &format!("{name:<14}{count:>11}{average:>16}{micros:>19}{percent:>15.1}\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_apart_and_comments_are_none() {
        let text =
            "2026.11.25 09:29:02.227087 [uid:1,gid:2,pid:24873] read (3,4096,0,5): (3) - OK <0.000163>";
        let line = Line::parse(text).unwrap();
        assert_eq!(
            (line.ids, line.operation, line.micros),
            ([1, 2, 24873], "read", (0.000163_f64 * 1e6) as u64)
        );
        assert_eq!(line.stamp, "2026-11-25T09:29:02");
        let odd = "2026.11.25 09:29:02.227087 [uid:1,gid:2,pid:3] lookup (1,a <b> c): - no such file or directory <1.5>";
        assert_eq!(Line::parse(odd).unwrap().micros, 1_500_000);
        for text in ["#", "", "2026.11.25 09:29:02.227087 [uid:1,gid:2,pid:3] read (3"] {
            assert_eq!(Line::parse(text), None);
        }
    }

    #[test]
    fn a_table_is_the_peers() {
        let mut tally = Tally::default();
        for (operation, micros) in
            [("lookup", 1), ("copy_file_range", 335), ("getattr", 3000), ("getattr", 539)]
        {
            let (at, stamp, ids) = (0.0, String::new(), [0; 3]);
            tally.add(&Line { at, stamp, ids, operation, micros });
        }
        let text = "> JuiceFS Profiling                Refresh: 2 seconds  T\n\
            Operation           Count     Average(us)          Total(us)     Percent(%)\n\
            getattr                 2            1770               3539            0.2\n\
            copy_file_range          1             335                335            0.0\n\
            lookup                  1               1                  1            0.0\n";
        assert_eq!(tally.table("", 2.0, "T"), text);
        assert!(
            tally.table("(replaying)", 1.0, "T").starts_with("> JuiceFS Profiling   (replaying)  Refresh: 1")
        );
    }
}
