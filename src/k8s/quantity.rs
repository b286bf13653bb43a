//! Kubernetes quantities of bytes (`100Gi`, `1.5T`, `1024`).

/// Why a quantity could not be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("quantity {0:?} is not a number of bytes with an optional Ki, Mi, Gi, Ti, Pi, k, M, G, T or P")]
pub struct BadQuantity(pub String);

/// Bytes of a quantity, fractions rounded up.
///
/// # Errors
/// [`BadQuantity`] for anything else than digits, an optional decimal part and a suffix, or beyond 64 bits.
pub fn bytes(text: &str) -> Result<u64, BadQuantity> {
    let bad = || BadQuantity(text.to_owned());
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits_end);
    let unit: u128 = match suffix {
        "" => 1,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        "Pi" => 1 << 50,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "T" => 1_000_000_000_000,
        "P" => 1_000_000_000_000_000,
        _ => return Err(bad()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || whole.len() > 20 || fraction.len() > 9 {
        return Err(bad());
    }
    let whole: u128 = whole.parse().map_err(|_| bad())?;
    let scale = 10u128.pow(u32::try_from(fraction.len()).map_err(|_| bad())?);
    let part: u128 = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| bad())? };
    let total = whole * unit + (part * unit).div_ceil(scale);
    u64::try_from(total).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_kubernetes_reads_them() {
        let good = [
            ("0", 0),
            ("1024", 1024),
            ("1Ki", 1024),
            ("1.5Gi", 3 << 29),
            ("2T", 2_000_000_000_000),
            ("0.1k", 100),
        ];
        for (text, want) in good {
            assert_eq!(bytes(text), Ok(want), "{text}");
        }
        for text in ["", "Gi", "1GiB", "-1", "1.2.3", "99999999999999999999P", "1e3"] {
            assert_eq!(bytes(text), Err(BadQuantity(text.into())), "{text}");
        }
    }
}
