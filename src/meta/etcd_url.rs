//! Addresses of etcd.

use std::fmt;

use juicefs_base::SecretString;

use crate::error::{Error, Result};
use crate::server_url::{split_user, user_and_password};
use crate::url::{decode, parse_host, parse_params};

const PORT: u16 = 2379;

/// `etcd://[user:password@]host[:port][,more hosts][/prefix][?options]`
#[derive(Clone, Debug)]
pub struct EtcdUrl {
    pub username: Option<String>,
    pub password: Option<SecretString>,
    /// Members of one cluster.
    pub hosts: Vec<(String, u16)>,
    /// What stands before every key, with the slash that it begins with; may be empty.
    pub path: String,
    pub params: Vec<(String, String)>,
}

impl EtcdUrl {
    /// An option that says something: the peer takes an empty one for none.
    #[must_use]
    pub fn param(&self, key: &str) -> Option<&str> {
        let found = self.params.iter().find(|(name, _)| name == key);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// Hosts and prefix, without user and password.
    pub(crate) fn place(&self) -> String {
        let hosts: Vec<_> = self.hosts.iter().map(|(host, port)| show_host(host, *port)).collect();
        format!("{}{}", hosts.join(","), self.path)
    }

    /// All but the options; the password is masked.
    pub(crate) fn write_address(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(username) = &self.username {
            write!(f, "{username}")?;
        }
        if self.password.is_some() {
            write!(f, ":****")?;
        }
        if self.username.is_some() || self.password.is_some() {
            write!(f, "@")?;
        }
        write!(f, "{}", self.place())
    }
}

pub(crate) fn show_host(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

pub(crate) fn parse_etcd(rest: &str) -> Result<EtcdUrl> {
    let (info, address) = split_user(rest);
    let (username, password) = user_and_password(info);
    let (address, query) = address.split_once('?').unwrap_or((address, ""));
    let (hosts, path) = match address.find('/') {
        Some(at) => address.split_at(at),
        None => (address, ""),
    };
    let hosts = hosts.split(',').map(|host| parse_host(host, PORT)).collect::<Result<Vec<_>>>()?;
    if username.is_none() && password.is_some() {
        return Err(Error::Engine(
            "the address of etcd has a password and no user: write user:password@".to_owned(),
        ));
    }
    Ok(EtcdUrl {
        username: username.map(decode).transpose()?,
        password: password.map(decode).transpose()?.map(SecretString::from),
        hosts,
        path: decode(path)?,
        params: parse_params(query),
    })
}

#[cfg(test)]
mod tests {
    use juicefs_base::ExposeSecret;

    use super::*;
    use crate::url::MetaUrl;

    #[test]
    fn an_address_of_etcd_is_read_and_masked() {
        let url = parse_etcd("bob:p%40s@a:2390,b,[::1]:7/my/pfx?cacert=%2Fca.pem&key=").expect("parses");
        let host = |name: &str, port| (name.to_owned(), port);
        assert_eq!(url.hosts, [host("a", 2390), host("b", 2379), host("::1", 7)]);
        assert_eq!(
            (url.path.as_str(), url.param("cacert"), url.param("key")),
            ("/my/pfx", Some("/ca.pem"), None)
        );
        assert_eq!(url.password.as_ref().expect("given").expose_secret(), "p@s");
        assert_eq!(
            MetaUrl::Etcd(url).to_string(),
            "etcd://bob:****@a:2390,b:2379,[::1]:7/my/pfx?cacert=/ca.pem&key="
        );
        let url = parse_etcd("h").expect("parses");
        assert_eq!((url.hosts, url.path), (vec![host("h", 2379)], String::new()));
        assert!(parse_etcd(":secret@h/").is_err());
    }

    #[test]
    fn the_password_of_a_user_comes_from_outside() {
        let variable = |name: &str| (name == "META_PASSWORD").then(|| SecretString::from("s/1"));
        let whole =
            |text: &str| MetaUrl::with_password(text, variable).expect(text).expose_secret().to_owned();
        assert_eq!(whole("etcd://bob@h:1/p"), "etcd://bob:s%2F1@h:1/p");
        assert_eq!(whole("etcd://bob:own@h/p"), "etcd://bob:own@h/p");
        assert_eq!(whole("etcd://h:1/p"), "etcd://h:1/p");
    }
}
