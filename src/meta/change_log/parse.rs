//! A line of the change log, read back.

use crate::types::{Name, Time};

/// A parsed line; arguments and results are raw bytes again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub time: Time,
    pub operation: String,
    pub arguments: Vec<Vec<u8>>,
    pub results: Vec<Vec<u8>>,
    pub sid: u64,
    /// Counts the lines of one client from 1.
    pub number: u64,
}

impl Line {
    /// `None`: not a line of the format.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (moment, rest) = text.split_once('|')?;
        // Parentheses inside arguments are escaped.
        let (body, who) = rest.rsplit_once("|(")?;
        let (sid, number) = who.strip_suffix(')')?.split_once(',')?;
        let (operation, rest) = body.split_once('(')?;
        let (arguments, results) = rest.split_once(')')?;
        if operation.is_empty() || !operation.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_') {
            return None;
        }
        let results = match results {
            "" => Vec::new(),
            results => fields(results.strip_prefix(':')?)?,
        };
        Some(Self {
            time: time(moment)?,
            operation: operation.to_owned(),
            arguments: fields(arguments)?,
            results,
            sid: sid.parse().ok()?,
            number: number.parse().ok()?,
        })
    }

    /// The argument at `at` as a number.
    #[must_use]
    pub fn number_at(&self, at: usize) -> Option<u64> {
        digits(self.arguments.get(at)?)
    }

    /// The argument at `at` as a name.
    #[must_use]
    pub fn name_at(&self, at: usize) -> Option<Name> {
        self.arguments.get(at).map(|bytes| Name::from_record(bytes.clone().into()))
    }

    /// The result at `at` as a number.
    #[must_use]
    pub fn result_at(&self, at: usize) -> Option<u64> {
        digits(self.results.get(at)?)
    }
}

/// When a line says that it happened; a cheap look at its beginning.
#[must_use]
pub fn time_of(line: &[u8]) -> Option<Time> {
    let end = line.iter().position(|&byte| byte == b'|')?;
    time(std::str::from_utf8(&line[..end]).ok()?)
}

fn time(text: &str) -> Option<Time> {
    let (sec, nsec) = text.split_once('.')?;
    if nsec.len() != 9 {
        return None;
    }
    Some(Time { sec: sec.parse().ok()?, nsec: nsec.parse().ok()? })
}

fn digits(bytes: &[u8]) -> Option<u64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

fn fields(text: &str) -> Option<Vec<Vec<u8>>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    text.split(',').map(unescaped).collect()
}

fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'%' {
            bytes.push(byte);
            rest = after;
            continue;
        }
        let hex = std::str::from_utf8(after.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(hex, 16).ok()?);
        rest = &after[2..];
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_peer_are_read() {
        let line = Line::parse(
            b"1795581853.842562457|CREATE(2,na%2Cm%28e%29 %25%22%C3%A9%5Cx|,0,0,1,420,18,,linux,false):8|(1,33)",
        )
        .expect("a line");
        assert_eq!(line.operation, "CREATE");
        assert_eq!(line.time, Time { sec: 1_795_581_853, nsec: 842_562_457 });
        assert_eq!(line.name_at(1).expect("a name").as_bytes(), "na,m(e) %\"é\\x|".as_bytes());
        assert_eq!((line.number_at(0), line.result_at(0), line.sid, line.number), (Some(2), Some(8), 1, 33));
        assert_eq!(line.arguments.len(), 10);
        let batch = Line::parse(b"1.000000000|UNLINKBATCH(16,c,f,0,false):17,18|(1,58)").expect("a line");
        assert_eq!(batch.result_at(1), Some(18));
        let none = Line::parse(b"1.000000000|INIT_ENABLE_DIRSTATS()|(3,90)").expect("a line");
        assert!(none.arguments.is_empty() && none.results.is_empty());
    }

    #[test]
    fn what_is_no_line_is_refused() {
        for text in [
            "",
            "1.000000000|ACCESS(1)",
            "1.000000000|ACCESS(1|(3,88)",
            "1.000000000|ACCESS 1|(3,88)",
            "1.000000000|acce ss(1)|(3,88)",
            "1.000000000|ACCESS(1)x|(3,88)",
            "1.000000000|ACCESS(1)|(3)",
            "1.000000000|ACCESS(%ZZ)|(3,88)",
            "1.0|ACCESS(1)|(3,88)",
            "now|ACCESS(1)|(3,88)",
        ] {
            assert_eq!(Line::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(time_of(b"5.000000007|x"), Some(Time { sec: 5, nsec: 7 }));
    }
}
