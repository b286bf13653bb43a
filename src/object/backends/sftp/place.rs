//! Where an SFTP bucket is: `[USER@]HOST[:PORT]:PATH`, as the peer reads it.

use crate::error::{Error, Result};

const PORT_DEFAULT: u16 = 22;

/// A bucket's text taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Where the text names one; else the access key does.
    pub(super) user: Option<String>,
    pub(super) host: String,
    pub(super) port: u16,
    /// What every key is appended to.
    pub(super) root: String,
}

impl Place {
    /// # Errors
    /// [`Error::BadSpec`] naming the text.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let bad = || {
            Error::BadSpec(format!("bucket `{text}` of storage `sftp`: write it as [USER@]HOST[:PORT]:PATH/"))
        };
        let (place, path) = text.strip_prefix("sftp://").unwrap_or(text).rsplit_once(':').ok_or_else(bad)?;
        let (user, place) = match place.rsplit_once('@') {
            Some((user, place)) => (Some(user.to_owned()), place),
            None => (None, place),
        };
        // An IPv6 address is in brackets.
        let (host, port) = match place.strip_prefix('[').and_then(|place| place.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or_else(bad)?)),
            None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Ok(PORT_DEFAULT), |port| port.parse().map_err(|_| bad()))?;
        if host.is_empty() || path.is_empty() || user.as_deref() == Some("") {
            return Err(bad());
        }
        Ok(Self { user, host: host.to_owned(), port, root: clean(path) })
    }
}

/// The path without empty and `.` parts; a slash at its end stays.
fn clean(path: &str) -> String {
    let parts = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>().join("/");
    let start = if path.starts_with('/') { "/" } else { "" };
    let end = if path.ends_with('/') && !parts.is_empty() { "/" } else { "" };
    format!("{start}{parts}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peers_texts_are_understood() {
        for (text, user, host, port, root) in [
            ("h:dir/", None, "h", 22, "dir/"),
            ("u@h:2022:/srv//data/", Some("u"), "h", 2022, "/srv/data/"),
            ("127.0.0.1:22:./x", None, "127.0.0.1", 22, "x"),
            ("u@[::1]:22:/", Some("u"), "::1", 22, "/"),
            ("[::1]:p", None, "::1", 22, "p"),
        ] {
            let user = user.map(str::to_owned);
            let expected = Place { user, host: host.into(), port, root: root.into() };
            assert_eq!(Place::parse(text).expect(text), expected);
        }
        for text in ["h", "h:", ":x", "@h:x", "h:port:x", "[::1]x:y"] {
            assert!(Place::parse(text).expect_err(text).to_string().contains(text), "{text}");
        }
    }
}
