//! Sizes and durations as people write them on a command line.

use std::time::Duration;

/// A text that is no size or no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {wanted}: write {example}")]
pub struct UnitError {
    text: String,
    wanted: &'static str,
    example: &'static str,
}

/// Bytes: `300M`, `4MiB`, `1.5G`, `100B`; a bare number is counted in `bare_unit_bytes` (the unit of the flag).
///
/// # Errors
/// A text that is no number with a known unit, or too large for 64 bits.
pub fn parse_bytes(text: &str, bare_unit_bytes: u64) -> Result<u64, UnitError> {
    let error =
        || UnitError { text: text.to_owned(), wanted: "size", example: "a number with K, M, G, T or P" };
    let trimmed = text.trim();
    let digits = trimmed.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = trimmed[digits.len()..].to_ascii_uppercase();
    let unit = unit.strip_suffix("IB").or_else(|| unit.strip_suffix('B')).map_or_else(
        || unit.clone(),
        |short| if short.is_empty() { "B".to_owned() } else { short.to_owned() },
    );
    let unit_bytes = match unit.as_str() {
        "" => bare_unit_bytes,
        "B" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1 << 40,
        "P" => 1 << 50,
        "E" => 1 << 60,
        _ => return Err(error()),
    };
    if let Ok(whole) = digits.parse::<u64>() {
        return whole.checked_mul(unit_bytes).ok_or_else(error);
    }
    let number: f64 = digits.parse().map_err(|_| error())?;
    let bytes = number * unit_bytes as f64;
    if !(0.0..u64::MAX as f64).contains(&bytes) {
        return Err(error());
    }
    Ok(bytes as u64)
}

/// `0 B`, `1.5 GiB`, `100 GiB`: two digits at most below ten, as the peer shows sizes.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
pub fn format_bytes(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit = 0;
    let mut value = bytes as f64;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let value = (value * 10.0).round() / 10.0;
    match unit {
        0 => format!("{bytes} B"),
        _ if value < 10.0 => format!("{value:.1} {}", UNITS[unit]),
        _ => format!("{value:.0} {}", UNITS[unit]),
    }
}

/// `100ms`, `12s`, `1h30m`, `2d`; a bare number is seconds.
///
/// # Errors
/// A text that is no number with a known unit, or negative.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let error = || UnitError {
        text: text.to_owned(),
        wanted: "duration",
        example: "such as 100ms, 12s, 5m, 1h or 2d",
    };
    let mut rest = text.trim();
    if let Ok(seconds) = rest.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| error());
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| letter.is_ascii_alphabetic()).ok_or_else(error)?;
        let number: f64 = rest[..digits].parse().map_err(|_| error())?;
        let unit_end = rest[digits..].find(|letter: char| !letter.is_ascii_alphabetic());
        let unit_end = unit_end.map_or(rest.len(), |at| digits + at);
        let unit_seconds = match &rest[digits..unit_end] {
            "us" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return Err(error()),
        };
        let part = Duration::try_from_secs_f64(number * unit_seconds).map_err(|_| error())?;
        total = total.checked_add(part).ok_or_else(error)?;
        rest = &rest[unit_end..];
    }
    if text.trim().is_empty() { Err(error()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_units_or_the_flags_own() {
        let mib = 1 << 20;
        for (text, bytes) in [
            ("512000", 512_000 * mib),
            ("300M", 300 << 20),
            ("4MiB", 4 << 20),
            ("1.5g", 3 << 29),
            ("100B", 100),
            ("0", 0),
            ("2T", 2 << 40),
        ] {
            assert_eq!(parse_bytes(text, mib), Ok(bytes), "{text}");
        }
        for bad in ["", "x", "1Q", "-1M", "1e30E", "M"] {
            assert!(parse_bytes(bad, mib).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_shown_as_the_peer_does() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1 << 30, "1.0 GiB"),
            (3 << 29, "1.5 GiB"),
            (100 << 30, "100 GiB"),
            (1 << 40, "1.0 TiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(format_bytes(bytes), shown);
        }
    }

    #[test]
    fn durations_take_units_or_seconds() {
        for (text, ms) in [
            ("100ms", 100),
            ("12s", 12_000),
            ("1h30m", 5_400_000),
            ("60", 60_000),
            ("0", 0),
            ("1d", 86_400_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for bad in ["", "x", "1w", "-5s", "5s3"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
