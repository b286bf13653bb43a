//! Names, values and attributes as text, letter for letter as the peer writes them (format 12.1).

use std::fmt::Write;

use juicefs_meta::engines::packed::AclRecord;
use juicefs_meta::{Attr, Ino, Kind, Slice};

/// Bytes that a name or value must not have in the document as they are: `%XX`.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 8);
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\0'..=' ' | '%' | '"' | '\\' => {
                    let _ = write!(text, "%{:02X}", u32::from(character));
                }
                other => text.push(other),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// The bytes that [`escaped`] made `text` of: `%` and two upper-case hexadecimal digits are a byte, all else is itself.
pub(crate) fn unescaped(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let digit = |at: usize| match bytes.get(at) {
        Some(digit @ b'0'..=b'9') => Some(digit - b'0'),
        Some(digit @ b'A'..=b'F') => Some(digit - b'A' + 10),
        _ => None,
    };
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

/// A string as the peer's JSON library prints it.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                out.push('\\');
                out.push(character);
            }
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\x1f' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

pub(crate) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "regular",
        Kind::Directory => "directory",
        Kind::Symlink => "symlink",
        Kind::Fifo => "fifo",
        Kind::BlockDevice => "blockdev",
        Kind::CharDevice => "chardev",
        Kind::Socket => "socket",
    }
}

pub(crate) fn kind_of(name: &str) -> Option<Kind> {
    [
        Kind::File,
        Kind::Directory,
        Kind::Symlink,
        Kind::Fifo,
        Kind::BlockDevice,
        Kind::CharDevice,
        Kind::Socket,
    ]
    .into_iter()
    .find(|kind| kind_name(*kind) == name)
}

pub(super) fn attr(out: &mut String, ino: Ino, attr: &Attr) {
    let some = |out: &mut String, name: &str, value: u32| {
        if value != 0 {
            let _ = write!(out, ",\"{name}\":{value}");
        }
    };
    let _ = write!(out, "{{\"inode\":{ino}");
    some(out, "flags", u32::from(attr.flags));
    let _ = write!(
        out,
        ",\"type\":\"{}\",\"mode\":{},\"uid\":{},\"gid\":{},\"atime\":{},\"mtime\":{},\"ctime\":{}",
        kind_name(attr.kind),
        attr.mode,
        attr.uid,
        attr.gid,
        attr.atime.sec,
        attr.mtime.sec,
        attr.ctime.sec
    );
    some(out, "atimensec", attr.atime.nsec);
    some(out, "mtimensec", attr.mtime.nsec);
    some(out, "ctimensec", attr.ctime.nsec);
    let length = if attr.kind == Kind::File { attr.length } else { 0 };
    let _ = write!(out, ",\"nlink\":{},\"length\":{length}", attr.nlink);
    some(out, "rdev", attr.rdev);
    some(out, "tier", u32::from(attr.tier));
    out.push('}');
}

pub(super) fn xattr(out: &mut String, name: &[u8], value: &[u8]) {
    // The document has no way to write a name that is not UTF-8.
    let name = quoted(&String::from_utf8_lossy(name));
    let _ = write!(out, "{{\"name\":{name},\"value\":{}}}", quoted(&escaped(value)));
}

pub(super) fn acl(out: &mut String, rule: &AclRecord) {
    let named = |entries: &[(u32, u16)]| {
        if entries.is_empty() {
            return "null".to_owned();
        }
        let entries: Vec<_> =
            entries.iter().map(|(id, perm)| format!("{{\"id\":{id},\"perm\":{perm}}}")).collect();
        format!("[{}]", entries.join(","))
    };
    let _ = write!(
        out,
        "{{\"owner\":{},\"group\":{},\"other\":{},\"mask\":{},\"users\":{},\"groups\":{}}}",
        rule.owner,
        rule.group,
        rule.other,
        rule.mask,
        named(&rule.named_users),
        named(&rule.named_groups)
    );
}

pub(super) fn chunk(out: &mut String, indx: u32, slices: &[Slice]) {
    let _ = write!(out, "{{\"index\":{indx},\"slices\":[");
    for (at, slice) in slices.iter().enumerate() {
        let _ = write!(out, "{}{{\"id\":{}", if at == 0 { "" } else { "," }, slice.id);
        if slice.pos != 0 {
            let _ = write!(out, ",\"pos\":{}", slice.pos);
        }
        let _ = write!(out, ",\"size\":{}", slice.size);
        if slice.off != 0 {
            let _ = write!(out, ",\"off\":{}", slice.off);
        }
        let _ = write!(out, ",\"len\":{}}}", slice.len);
    }
    out.push_str("]}");
}

/// A JSON text of one token group a line, each line indented by its depth below `depth`.
pub(super) fn indented(text: &str, mut depth: usize) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for (at, line) in text.lines().enumerate() {
        if line.starts_with(['}', ']']) {
            depth -= 1;
        }
        if at > 0 {
            let _ = write!(out, "\n{:width$}", "", width = 2 * depth);
        }
        out.push_str(line);
        if line.ends_with(['{', '[']) {
            depth += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for (bytes, text) in [
            (&b"a b"[..], "a%20b"),
            (b"bad\xffname", "bad%FFname"),
            (b"we ird%\"<>&\\name", "we%20ird%25%22<>&%5Cname"),
            ("é\u{2028}".as_bytes(), "é\u{2028}"),
            (b"x%41", "x%2541"),
            (b"\0\x1f\x7f", "%00%1F\x7f"),
        ] {
            assert_eq!(escaped(bytes), text);
            assert_eq!(unescaped(text), bytes);
        }
        assert_eq!(unescaped("%2 %zz %aa %"), b"%2 %zz %aa %");
    }

    #[test]
    fn a_setting_is_indented_line_by_line() {
        let text = "{\n\"a\": {\n\"b\": [],\n\"c\": [\n1\n]\n},\n\"d\": {}\n}";
        let wanted = "{\n    \"a\": {\n      \"b\": [],\n      \"c\": [\n        1\n      ]\n    },\n    \"d\": {}\n  }";
        assert_eq!(indented(text, 1), wanted);
    }

    #[test]
    fn values_are_printed_as_the_peer_prints_them() {
        let mut out = String::new();
        xattr(&mut out, "user.a b<%\"\\é".as_bytes(), b"<&>\"\\");
        assert_eq!(out, r#"{"name":"user.a b\u003c%\"\\é","value":"\u003c\u0026\u003e%22%5C"}"#);
    }
}
