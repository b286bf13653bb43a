//! JSON as the peer prints it.

use serde::Serialize;

/// JSON as the peer's language prints it "indented" by nothing: one token group a line.
pub(super) fn go_text<T: Serialize>(value: &T) -> String {
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, GoFormatter { is_empty: true });
    value.serialize(&mut serializer).expect("values of plain types always serialise into memory");
    String::from_utf8(out).expect("JSON is UTF-8")
}

struct GoFormatter {
    is_empty: bool,
}

impl GoFormatter {
    fn first(&mut self, first: bool, writer: &mut (impl std::io::Write + ?Sized)) -> std::io::Result<()> {
        writer.write_all(if first { b"\n" } else { b",\n" })
    }

    fn end(&mut self, close: &[u8], writer: &mut (impl std::io::Write + ?Sized)) -> std::io::Result<()> {
        if !self.is_empty {
            writer.write_all(b"\n")?;
        }
        self.is_empty = false;
        writer.write_all(close)
    }
}

impl serde_json::ser::Formatter for GoFormatter {
    fn begin_object<W: std::io::Write + ?Sized>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.is_empty = true;
        writer.write_all(b"{")
    }

    fn end_object<W: std::io::Write + ?Sized>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.end(b"}", writer)
    }

    fn begin_object_key<W: std::io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        self.first(first, writer)
    }

    fn begin_object_value<W: std::io::Write + ?Sized>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }

    fn end_object_value<W: std::io::Write + ?Sized>(&mut self, _writer: &mut W) -> std::io::Result<()> {
        self.is_empty = false;
        Ok(())
    }

    fn begin_array<W: std::io::Write + ?Sized>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.is_empty = true;
        writer.write_all(b"[")
    }

    fn end_array<W: std::io::Write + ?Sized>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.end(b"]", writer)
    }

    fn begin_array_value<W: std::io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        self.first(first, writer)
    }

    fn end_array_value<W: std::io::Write + ?Sized>(&mut self, _writer: &mut W) -> std::io::Result<()> {
        self.is_empty = false;
        Ok(())
    }

    fn write_string_fragment<W: std::io::Write + ?Sized>(
        &mut self,
        writer: &mut W,
        text: &str,
    ) -> std::io::Result<()> {
        let mut plain_from = 0;
        for (at, character) in text.char_indices() {
            if matches!(character, '<' | '>' | '&' | '\u{2028}' | '\u{2029}') {
                writer.write_all(&text.as_bytes()[plain_from..at])?;
                write!(writer, "\\u{:04x}", u32::from(character))?;
                plain_from = at + character.len_utf8();
            }
        }
        writer.write_all(&text.as_bytes()[plain_from..])
    }
}
