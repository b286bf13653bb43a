//! The address of a metadata engine as users type it, password apart.

use std::fmt;
use std::path::PathBuf;

use juicefs_base::{ExposeSecret, SecretString};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::error::{Error, Result};
pub use crate::etcd_url::EtcdUrl;
use crate::etcd_url::parse_etcd;
pub use crate::server_url::ServerUrl;
use crate::server_url::{parse_mysql, parse_postgres};

/// Where a volume's metadata lives. `Display` masks the password.
#[derive(Clone, Debug)]
pub enum MetaUrl {
    Sqlite(SqliteUrl),
    Redis(RedisUrl),
    Postgres(ServerUrl),
    /// MySQL and MariaDB.
    Mysql(ServerUrl),
    Etcd(EtcdUrl),
}

/// `sqlite3://path[?table_prefix=P]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteUrl {
    pub path: PathBuf,
    /// Options in the order given; the driver's own (`cache`, `_journal`, `_timeout`) are accepted.
    pub params: Vec<(String, String)>,
}

impl SqliteUrl {
    /// What every table's name begins with.
    #[must_use]
    pub fn table_prefix(&self) -> String {
        crate::server_url::table_prefix(&self.params)
    }
}

/// `redis[s]://[user][:password]@host[:port][,more hosts]/DB[?options]` or `unix://[user][:password]@/socket[?db=N]`
#[derive(Clone, Debug)]
pub struct RedisUrl {
    pub tls: bool,
    /// A local socket; `hosts` is empty then.
    pub socket: Option<PathBuf>,
    /// Name of a sentinel's master (`master,host1,host2`); `hosts` are the sentinels then.
    pub master: Option<String>,
    /// Several without a master name are nodes of a cluster.
    pub hosts: Vec<(String, u16)>,
    pub username: Option<String>,
    pub password: Option<SecretString>,
    /// What the sentinels ask for; the option `sentinel-password` of an address that was completed from the environment.
    pub sentinel_password: Option<SecretString>,
    pub db: u32,
    pub params: Vec<(String, String)>,
}

impl RedisUrl {
    #[must_use]
    pub fn param(&self, key: &str) -> Option<&str> {
        self.params.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
}

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
/// Our own option: it takes what `SENTINEL_PASSWORD` says to where the address goes.
const SENTINEL_PASSWORD: &str = "sentinel-password";

impl MetaUrl {
    /// Reads an address; a bare host means `redis://`.
    ///
    /// # Errors
    /// [`Error::Engine`] with a sentence that names the schemes that exist or what is wrong with the address.
    pub fn parse(text: &str) -> Result<Self> {
        if let Some(path) = path_for_address(text) {
            return Err(Error::Engine(format!(
                "{text:?} is not the address of metadata: for the SQLite database in that file write sqlite3://{path}; \
                 a mount takes the address first, then the directory"
            )));
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("redis", text));
        match scheme {
            "sqlite3" => parse_sqlite(rest).map(Self::Sqlite),
            "redis" | "rediss" | "unix" => parse_redis(scheme, rest).map(Self::Redis),
            "mysql" => parse_mysql(rest).map(Self::Mysql),
            "postgres" => parse_postgres(rest).map(Self::Postgres),
            "etcd" => parse_etcd(rest).map(Self::Etcd),
            other => Err(Error::Engine(format!(
                "unknown metadata engine {other}: this client has redis://, rediss://, unix://, postgres://, mysql://, etcd:// and sqlite3://"
            ))),
        }
    }

    /// The address with its missing password put in: of the variables `REDIS_PASSWORD` (Redis only), `META_PASSWORD` or of the
    /// file that `META_PASSWORD_FILE` names, in this order. An address with a password keeps it.
    ///
    /// # Errors
    /// As [`MetaUrl::parse`]; a password file that can't be read.
    pub fn with_password(
        text: &str,
        variable: impl Fn(&str) -> Option<SecretString>,
    ) -> Result<SecretString> {
        let password = match Self::parse(text)? {
            Self::Redis(RedisUrl { password: None, .. }) => outside_password(&variable, true)?,
            Self::Postgres(ServerUrl { password: None, .. })
            | Self::Mysql(ServerUrl { password: None, .. }) => outside_password(&variable, false)?,
            // A password without a user logs nobody in.
            Self::Etcd(EtcdUrl { username: Some(_), password: None, .. }) => {
                outside_password(&variable, false)?
            }
            Self::Redis(_) | Self::Postgres(_) | Self::Mysql(_) | Self::Etcd(_) | Self::Sqlite(_) => None,
        };
        let text = with_sentinel_password(text, &variable)?;
        let text = text.expose_secret();
        let Some(password) = password else { return Ok(SecretString::from(text)) };
        let (scheme, rest) = text.split_once("://").unwrap_or(("redis", text));
        let (before_query, _) = rest.split_once('?').unwrap_or((rest, ""));
        let (user, address) = match before_query.rfind('@') {
            Some(at) => (rest[..at].trim_end_matches(':'), &rest[at + 1..]),
            None => ("", rest),
        };
        let password = utf8_percent_encode(password.expose_secret(), NON_ALPHANUMERIC);
        Ok(SecretString::from(format!("{scheme}://{user}:{password}@{address}")))
    }

    /// Name of the engine family as users and metrics see it.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite3",
            Self::Postgres(_) => "postgres",
            Self::Mysql(_) => "mysql",
            Self::Etcd(_) => "etcd",
            Self::Redis(RedisUrl { socket: Some(_), .. }) => "unix",
            Self::Redis(RedisUrl { tls: true, .. }) => "rediss",
            Self::Redis(_) => "redis",
        }
    }
}

impl std::str::FromStr for MetaUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl fmt::Display for MetaUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme())?;
        match self {
            Self::Sqlite(url) => {
                write!(f, "{}", url.path.display())?;
                write_params(f, &url.params)
            }
            Self::Postgres(url) | Self::Mysql(url) => {
                url.write_address(f, matches!(self, Self::Mysql(_)))?;
                write_params(f, &url.params)
            }
            Self::Etcd(url) => {
                url.write_address(f)?;
                write_params(f, &url.params)
            }
            Self::Redis(url) => {
                if let Some(username) = &url.username {
                    write!(f, "{username}")?;
                }
                if url.password.is_some() {
                    write!(f, ":****")?;
                }
                if url.username.is_some() || url.password.is_some() {
                    write!(f, "@")?;
                }
                if let Some(socket) = &url.socket {
                    write!(f, "{}", socket.display())?;
                    return write_params(f, &url.params);
                }
                if let Some(master) = &url.master {
                    write!(f, "{master},")?;
                }
                for (at, (host, port)) in url.hosts.iter().enumerate() {
                    let comma = if at == 0 { "" } else { "," };
                    match host.contains(':') {
                        true => write!(f, "{comma}[{host}]:{port}")?,
                        false => write!(f, "{comma}{host}:{port}")?,
                    }
                }
                write!(f, "/{}", url.db)?;
                write_params(f, &url.params)
            }
        }
    }
}

pub(crate) fn write_params(f: &mut fmt::Formatter<'_>, params: &[(String, String)]) -> fmt::Result {
    for (at, (key, value)) in params.iter().enumerate() {
        write!(f, "{}{key}={value}", if at == 0 { '?' } else { '&' })?;
    }
    Ok(())
}

pub(crate) fn parse_params(query: &str) -> Vec<(String, String)> {
    url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

fn parse_sqlite(rest: &str) -> Result<SqliteUrl> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if path.is_empty() {
        return Err(Error::Engine(
            "sqlite3:// needs the path of a database file, like sqlite3:///var/lib/vol.db".to_owned(),
        ));
    }
    let params = parse_params(query);
    crate::server_url::check_table_prefix(&params)?;
    Ok(SqliteUrl { path: PathBuf::from(path), params })
}

fn parse_redis(scheme: &str, rest: &str) -> Result<RedisUrl> {
    // A password may hold any byte but a bare `@`, so the last one before the query ends it.
    let (before_query, _) = rest.split_once('?').unwrap_or((rest, ""));
    let (userinfo, address) = match before_query.rfind('@') {
        Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
        None => (None, rest),
    };
    let (username, password) = match userinfo {
        None => (None, None),
        Some(info) => {
            let (user, password) = match info.split_once(':') {
                Some((user, password)) => (user, Some(password)),
                None => (info, None),
            };
            (Some(user).filter(|user| !user.is_empty()), password.filter(|password| !password.is_empty()))
        }
    };
    let (address, query) = address.split_once('?').unwrap_or((address, ""));
    let mut params = parse_params(query);
    let sentinel_password = params.iter().position(|(name, _)| name == SENTINEL_PASSWORD);
    let sentinel_password = sentinel_password.map(|at| SecretString::from(params.remove(at).1));
    let mut url = RedisUrl {
        tls: scheme == "rediss",
        socket: None,
        master: None,
        hosts: Vec::new(),
        username: username.map(decode).transpose()?,
        password: password.map(decode).transpose()?.map(SecretString::from),
        sentinel_password,
        db: 0,
        params,
    };
    let db_text;
    if scheme == "unix" {
        if address.is_empty() {
            return Err(Error::Engine(
                "unix:// needs the path of a socket, like unix:///run/redis.sock?db=1".to_owned(),
            ));
        }
        url.socket = Some(PathBuf::from(address));
        db_text = url.param("db").unwrap_or_default().to_owned();
    } else {
        let (hosts, path) = address.split_once('/').unwrap_or((address, ""));
        let first_colon = hosts.find(':').unwrap_or(hosts.len());
        let hosts = match hosts.find(',') {
            Some(comma) if comma < first_colon => {
                url.master = Some(hosts[..comma].to_owned());
                &hosts[comma + 1..]
            }
            _ => hosts,
        };
        let port = if url.master.is_some() { SENTINEL_PORT } else { REDIS_PORT };
        url.hosts = hosts.split(',').map(|host| parse_host(host, port)).collect::<Result<_>>()?;
        db_text = path.trim_end_matches('/').to_owned();
    }
    if !db_text.is_empty() {
        url.db = db_text.parse().map_err(|_| {
            Error::Engine(format!("the path of a redis address is the number of a database, not {db_text}"))
        })?;
    }
    Ok(url)
}

pub(crate) fn parse_host(text: &str, default_port: u16) -> Result<(String, u16)> {
    let wrong = || Error::Engine(format!("{text:?} is not a host or host:port"));
    let (host, port) = if let Some(v6) = text.strip_prefix('[') {
        let (host, rest) = v6.split_once(']').ok_or_else(wrong)?;
        (host, rest.strip_prefix(':'))
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let port = port
        .filter(|port| !port.is_empty())
        .map_or(Ok(default_port), |port| port.parse().map_err(|_| wrong()))?;
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    Ok((host.to_owned(), port))
}

pub(crate) fn decode(text: &str) -> Result<String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| Error::Engine("user or password in the address is not UTF-8".to_owned()))
}

/// The path that somebody gave where an address belongs: nothing that Redis would take.
fn path_for_address(text: &str) -> Option<&str> {
    let path = text.strip_prefix("sqlite3:").unwrap_or(text);
    let is_path = text.starts_with(['/', '.', '~']) || path.ends_with(".db") || path.len() < text.len();
    (!text.contains("://") && is_path).then_some(path)
}

fn with_sentinel_password(
    text: &str,
    variable: &impl Fn(&str) -> Option<SecretString>,
) -> Result<SecretString> {
    let wants = matches!(
        MetaUrl::parse(text)?,
        MetaUrl::Redis(RedisUrl { master: Some(_), sentinel_password: None, .. })
    );
    let password = if wants { variable("SENTINEL_PASSWORD") } else { None };
    let Some(password) = password else { return Ok(SecretString::from(text)) };
    let mark = if text.contains('?') { '&' } else { '?' };
    let password = utf8_percent_encode(password.expose_secret(), NON_ALPHANUMERIC);
    Ok(SecretString::from(format!("{text}{mark}{SENTINEL_PASSWORD}={password}")))
}

fn outside_password(
    variable: &impl Fn(&str) -> Option<SecretString>,
    is_redis: bool,
) -> Result<Option<SecretString>> {
    let own = if is_redis { variable("REDIS_PASSWORD") } else { None };
    if let Some(password) = own.or_else(|| variable("META_PASSWORD")) {
        return Ok(Some(password));
    }
    let Some(path) = variable("META_PASSWORD_FILE") else { return Ok(None) };
    let path = path.expose_secret();
    let password = std::fs::read_to_string(path)
        .map_err(|cause| Error::Engine(format!("can't read META_PASSWORD_FILE {path}: {cause}")))?;
    Ok(Some(SecretString::from(password.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redis(text: &str) -> RedisUrl {
        match MetaUrl::parse(text).expect(text) {
            MetaUrl::Redis(url) => url,
            MetaUrl::Sqlite(_) | MetaUrl::Postgres(_) | MetaUrl::Mysql(_) | MetaUrl::Etcd(_) => {
                panic!("{text} is redis")
            }
        }
    }

    #[test]
    fn a_bare_host_is_redis() {
        for (text, host, port, db) in [
            ("localhost", "localhost", 6379, 0),
            ("10.0.0.1:7000/3", "10.0.0.1", 7000, 3),
            ("redis://[::1]:6380/2?read-timeout=5s", "::1", 6380, 2),
        ] {
            let url = redis(text);
            assert_eq!((url.hosts, url.db), (vec![(host.to_owned(), port)], db), "{text}");
        }
    }

    #[test]
    fn passwords_are_read_decoded_and_masked() {
        let url = redis("rediss://bob:p%40ss:w/rd@host/1");
        assert!(url.tls);
        assert_eq!(url.username.as_deref(), Some("bob"));
        assert_eq!(url.password.as_ref().expect("given").expose_secret(), "p@ss:w/rd");
        let shown = MetaUrl::Redis(url).to_string();
        assert_eq!(shown, "rediss://bob:****@host:6379/1");
    }

    #[test]
    fn a_missing_password_comes_from_outside() {
        let filled = |text: &str, name: &str, value: &str| {
            let variable = |asked: &str| (asked == name).then(|| SecretString::from(value));
            MetaUrl::with_password(text, variable).expect(text).expose_secret().to_owned()
        };
        for (text, wanted) in [
            ("host", "redis://:a%40b%2F@host"),
            ("redis://bob@host:7000/1?x=y@z", "redis://bob:a%40b%2F@host:7000/1?x=y@z"),
            ("rediss://bob:@host/1", "rediss://bob:a%40b%2F@host/1"),
            ("redis://:own@host", "redis://:own@host"),
            ("sqlite3://a.db", "sqlite3://a.db"),
            ("postgres://bob@h:1/d?sslmode=disable", "postgres://bob:a%40b%2F@h:1/d?sslmode=disable"),
            ("postgres://bob:own@h/d", "postgres://bob:own@h/d"),
            ("mysql://bob:@(h:1)/d", "mysql://bob:a%40b%2F@(h:1)/d"),
        ] {
            let whole = filled(text, "META_PASSWORD", "a@b/");
            assert_eq!(whole, wanted);
            if wanted.contains("%40") && wanted.starts_with("redis") {
                assert_eq!(redis(&whole).password.expect("filled in").expose_secret(), "a@b/");
            }
        }
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "infile\n").expect("written");
        let path = file.path().display().to_string();
        assert_eq!(filled("redis://host", "META_PASSWORD_FILE", &path), "redis://:infile@host");
    }

    #[test]
    fn sockets_sentinels_and_clusters_are_told_apart() {
        let url = redis("unix:///run/redis.sock?db=4");
        assert_eq!((url.socket, url.db), (Some(PathBuf::from("/run/redis.sock")), 4));
        let url = redis("redis://mymaster,h1,h2:5000/1");
        assert_eq!(url.master.as_deref(), Some("mymaster"));
        assert_eq!(url.hosts, [("h1".to_owned(), 26379), ("h2".to_owned(), 5000)]);
        let variable = |name: &str| (name == "SENTINEL_PASSWORD").then(|| SecretString::from("s&e/n"));
        for address in ["redis://m,h1/1", "redis://:p@m,h1/1?read-timeout=3s"] {
            let whole = MetaUrl::with_password(address, variable).expect("parses");
            let url = redis(whole.expose_secret());
            assert_eq!(url.sentinel_password.as_ref().expect("filled in").expose_secret(), "s&e/n");
            assert!(
                !MetaUrl::Redis(url).to_string().contains("sentinel"),
                "neither the option nor the password shows"
            );
        }
        let url = redis("redis://h1:7000,h2:7001/1");
        assert_eq!((url.master, url.hosts.len()), (None, 2));
    }

    #[test]
    fn sqlite_paths_are_taken_as_they_are() {
        let MetaUrl::Sqlite(url) = MetaUrl::parse("sqlite3://a/b c.db?table_prefix=x").expect("parses")
        else {
            panic!("sqlite")
        };
        assert_eq!((url.path.clone(), url.table_prefix()), (PathBuf::from("a/b c.db"), "jfs_x_".to_owned()));
        assert_eq!(MetaUrl::Sqlite(url).to_string(), "sqlite3://a/b c.db?table_prefix=x");
    }

    #[test]
    fn an_unknown_scheme_is_told_what_exists() {
        let sentence = MetaUrl::parse("tikv://u:secret@h/d").expect_err("not there").to_string();
        assert!(sentence.contains("tikv") && sentence.contains("sqlite3://") && !sentence.contains("secret"));
        assert!(MetaUrl::parse("redis://h/notanumber").is_err());
        for (text, wanted) in [
            ("/tmp/x.db", "sqlite3:///tmp/x.db"),
            ("sqlite3:m.db", "sqlite3://m.db"),
            ("./m", "sqlite3://./m"),
            ("m.db", "sqlite3://m.db"),
        ] {
            let sentence = MetaUrl::parse(text).expect_err("a path").to_string();
            assert!(sentence.contains(&format!("write {wanted};")), "{sentence}");
        }
        assert!(MetaUrl::parse("sqlite3://").is_err());
    }
}
