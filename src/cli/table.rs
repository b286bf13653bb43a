//! Numbers and tables as the peer prints them.

/// Columns by their widest cell; the first `texts` columns are words, the others numbers.
pub(crate) fn table(head: &[&str], texts: usize, rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..head.len())
        .map(|at| {
            let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| shown(cell));
            cells.chain([head[at].chars().count()]).max().unwrap_or(0)
        })
        .collect();
    let rule: String =
        widths.iter().map(|width| format!("+{}", "-".repeat(width + 2))).collect::<String>() + "+\n";
    let heads: String = head
        .iter()
        .zip(&widths)
        .map(|(cell, width)| format!("| {} ", centred(cell, *width)))
        .collect::<String>()
        + "|\n";
    let mut text = format!("{rule}{heads}{rule}");
    for row in rows {
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let space = " ".repeat(width - shown(cell));
            text += &match at < texts {
                true => format!("| {cell}{space} "),
                false => format!("| {space}{cell} "),
            };
        }
        text += "|\n";
    }
    text + &rule
}

/// Characters that a terminal shows of a cell: its colours take no place.
fn shown(cell: &str) -> usize {
    let mut parts = cell.split('\x1b');
    let plain = parts.next().map_or(0, |part| part.chars().count());
    plain + parts.map(|part| part.split_once('m').map_or(0, |(_, rest)| rest.chars().count())).sum::<usize>()
}

/// What can't be shared evenly stands on the left.
fn centred(cell: &str, width: usize) -> String {
    let left = width.saturating_sub(cell.chars().count()).div_ceil(2);
    format!("{:<width$}", format!("{}{cell}", " ".repeat(left)))
}

const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// `7.81 KiB (8000 Bytes)`
pub(crate) fn bytes_in_full(bytes: u64) -> String {
    match scaled(bytes) {
        (_, 0) => format!("{bytes} Bytes"),
        (value, unit) => format!("{value:.2} {} ({bytes} Bytes)", UNITS[unit]),
    }
}

/// `20 KiB`, `8.0 KiB`
pub(crate) fn bytes_in_short(bytes: u64) -> String {
    match scaled(bytes) {
        (_, 0) => format!("{bytes} B"),
        (value, unit) => {
            // Rounded twice, as the peer's.
            let value = (value * 10.0 + 0.5).floor() / 10.0;
            let digits = usize::from(value < 10.0);
            format!("{value:.digits$} {}", UNITS[unit])
        }
    }
}

fn scaled(bytes: u64) -> (f64, usize) {
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    (value, unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_peers() {
        assert_eq!(bytes_in_full(8000), "7.81 KiB (8000 Bytes)");
        assert_eq!(bytes_in_full(5), "5 Bytes");
        assert_eq!([20480, 8192, 4, 84_430_848].map(bytes_in_short), ["20 KiB", "8.0 KiB", "4 B", "80 MiB"]);
    }

    #[test]
    fn a_table_is_the_peers() {
        let rows = [vec!["/".to_owned(), "20 KiB".into(), "2".into(), "2".into()]];
        let text = "+------+--------+------+-------+\n| PATH |  SIZE  | DIRS | FILES |\n+------+--------+------+-------+\n\
            | /    | 20 KiB |    2 |     2 |\n+------+--------+------+-------+\n";
        assert_eq!(table(&["PATH", "SIZE", "DIRS", "FILES"], 1, &rows), text);
        let coloured = vec!["/".to_owned(), "\x1b[1;32m20\x1b[0m KiB".into(), "2".into(), "2".into()];
        let text = table(&["PATH", "SIZE", "DIRS", "FILES"], 1, &[coloured]);
        assert!(text.contains("| /    | \x1b[1;32m20\x1b[0m KiB |    2 |"), "{text}");
    }
}
