//! Log lines as the peer prints them, to standard error or a file:
//! `2026/11/23 20:23:48.952500 juicefs[21395] <INFO>: text key=value [room]`.

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

/// What to log and where.
#[derive(Clone, Debug, Default)]
pub struct LogSettings {
    /// `--quiet` -1, default 0, `--verbose` 1, `--trace` 2.
    pub verbosity: i8,
    /// A tag for every line (`--log-id`).
    pub tag: String,
}

/// Starts logging for the process; a second call does nothing.
///
/// # Errors
/// The log file can't be opened.
pub fn init(settings: &LogSettings, file: Option<&Path>) -> io::Result<()> {
    let level = match settings.verbosity {
        ..=-1 => "warn",
        0 => "info",
        1 => "debug",
        _ => "trace",
    };
    // Other crates' lines help nobody below a warning; that no credentials were found is said by who needs them.
    let filter = EnvFilter::new(format!("warn,aws_config=error,juicefs={level},{}", rooms(level)));
    let lines = Lines { tag: settings.tag.clone() };
    let builder = tracing_subscriber::fmt().with_ansi(false).with_env_filter(filter).event_format(lines);
    let _already_started = match file {
        None => builder.with_writer(io::stderr).try_init(),
        Some(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            builder.with_writer(FileWriter(Arc::new(file))).try_init()
        }
    };
    Ok(())
}

fn rooms(level: &str) -> String {
    const ROOMS: &[&str] = &[
        "base", "object", "chunk", "meta", "vfs", "fuse", "mount", "volume", "k8s", "csi", "operator", "cli",
    ];
    ROOMS.iter().map(|room| format!("juicefs_{room}={level}")).collect::<Vec<_>>().join(",")
}

struct FileWriter(Arc<std::fs::File>);

impl<'a> MakeWriter<'a> for FileWriter {
    type Writer = &'a std::fs::File;

    fn make_writer(&'a self) -> Self::Writer {
        &self.0
    }
}

struct Lines {
    tag: String,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = match *event.metadata().level() {
            Level::ERROR => "ERROR",
            Level::WARN => "WARNING",
            Level::INFO => "INFO",
            Level::DEBUG => "DEBUG",
            Level::TRACE => "TRACE",
        };
        write!(
            writer,
            "{} {}juicefs[{}] <{level}>: ",
            Stamp(SystemTime::now()),
            self.tag,
            std::process::id()
        )?;
        ctx.field_format().format_fields(writer.by_ref(), event)?;
        let room = event.metadata().target().split("::").next().unwrap_or_default();
        writeln!(writer, " [{}]", room.strip_prefix("juicefs_").unwrap_or(room))
    }
}

/// `2026.11.23 20:23:48.952500` in UTC, as lines of an access log begin.
#[must_use]
pub fn access_stamp(at: SystemTime) -> String {
    Stamp(at).to_string().replace('/', ".")
}

/// `2026/11/23 20:23:48.952500` in UTC.
struct Stamp(SystemTime);

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (days, second) = (since.as_secs() / 86400, since.as_secs() % 86400);
        let (year, month, day) = civil_date(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let micros = since.subsec_micros();
        write!(f, "{year:04}/{month:02}/{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}")
    }
}

/// Year, month and day of a number of days since 1970 (Gregorian, years counted from March so that the leap
/// day is the last).
fn civil_date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_stamp_is_the_peers() {
        for (seconds, text) in [
            (0, "1970/01/01 00:00:00.000500"),
            (951_782_400, "2000/02/29 00:00:00.000500"),
            (1_795_465_428, "2026/11/23 20:23:48.000500"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_micros(500);
            assert_eq!(Stamp(time).to_string(), text);
        }
    }
}
