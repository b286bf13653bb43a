//! Addresses of database servers of the SQL family.

use std::fmt;
use std::path::PathBuf;

use juicefs_base::SecretString;

use crate::error::{Error, Result};
use crate::url::{decode, parse_host, parse_params};

const POSTGRES_PORT: u16 = 5432;
const MYSQL_PORT: u16 = 3306;

/// `postgres://user[:password]@host[:port]/database[?options]`, or `mysql://user[:password]@(host[:port])/database[?options]`
#[derive(Clone, Debug)]
pub struct ServerUrl {
    pub username: Option<String>,
    pub password: Option<SecretString>,
    pub host: String,
    pub port: u16,
    /// A local socket, or the folder that holds it; host and port only name it then.
    pub socket: Option<PathBuf>,
    pub database: String,
    pub params: Vec<(String, String)>,
}

impl ServerUrl {
    #[must_use]
    pub fn param(&self, key: &str) -> Option<&str> {
        self.params.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// What every table's name begins with.
    #[must_use]
    pub fn table_prefix(&self) -> String {
        table_prefix(&self.params)
    }

    /// Connections at a time, when the address says so.
    ///
    /// # Errors
    /// A number that is none.
    pub(crate) fn connections_max(&self) -> Result<Option<usize>> {
        let Some(text) = self.param("max_open_conns") else { return Ok(None) };
        match text.parse() {
            // The peer's word for no limit.
            Ok(0) => Ok(None),
            Ok(max) => Ok(Some(max)),
            Err(_) => Err(Error::Engine(format!("max_open_conns {text} is not a number of connections"))),
        }
    }

    /// Host and database, without user and password.
    pub(crate) fn place(&self) -> String {
        match &self.socket {
            Some(path) => format!("{}/{}", path.display(), self.database),
            None if self.host.contains(':') => format!("[{}]:{}/{}", self.host, self.port, self.database),
            None => format!("{}:{}/{}", self.host, self.port, self.database),
        }
    }

    /// All but the options; the password is masked.
    pub(crate) fn write_address(&self, f: &mut fmt::Formatter<'_>, is_mysql: bool) -> fmt::Result {
        if let Some(username) = &self.username {
            write!(f, "{username}")?;
        }
        if self.password.is_some() {
            write!(f, ":****")?;
        }
        if self.username.is_some() || self.password.is_some() {
            write!(f, "@")?;
        }
        match (&self.socket, is_mysql) {
            (Some(path), true) => write!(f, "unix({})/{}", path.display(), self.database),
            (None, true) if self.host.contains(':') => {
                write!(f, "([{}]:{})/{}", self.host, self.port, self.database)
            }
            (None, true) => write!(f, "({}:{})/{}", self.host, self.port, self.database),
            (_, false) => write!(f, "{}", self.place()),
        }
    }
}

/// What every table's name begins with.
pub(crate) fn table_prefix(params: &[(String, String)]) -> String {
    match params.iter().find(|(key, _)| key == "table_prefix") {
        Some((_, prefix)) => format!("jfs_{prefix}_"),
        None => "jfs_".to_owned(),
    }
}

/// # Errors
/// Bytes that would have to be quoted in a table's name.
pub(crate) fn check_table_prefix(params: &[(String, String)]) -> Result<()> {
    match params.iter().find(|(key, _)| key == "table_prefix") {
        Some((_, prefix)) if !prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') => {
            Err(Error::Engine(format!("table_prefix {prefix} may hold letters, digits and _ only")))
        }
        _ => Ok(()),
    }
}

/// User and password before the last `@` in front of the options, and what follows it.
pub(crate) fn split_user(rest: &str) -> (Option<&str>, &str) {
    let (before_query, _) = rest.split_once('?').unwrap_or((rest, ""));
    match before_query.rfind('@') {
        Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
        None => (None, rest),
    }
}

pub(crate) fn user_and_password(info: Option<&str>) -> (Option<&str>, Option<&str>) {
    let (user, password) = match info.map(|info| info.split_once(':').unwrap_or((info, ""))) {
        Some((user, password)) => (Some(user), Some(password)),
        None => (None, None),
    };
    (user.filter(|user| !user.is_empty()), password.filter(|password| !password.is_empty()))
}

pub(crate) fn parse_postgres(rest: &str) -> Result<ServerUrl> {
    let (info, address) = split_user(rest);
    let (username, password) = user_and_password(info);
    let (address, query) = address.split_once('?').unwrap_or((address, ""));
    let (host, database) = address.split_once('/').unwrap_or((address, ""));
    if host.contains(',') {
        return Err(Error::Engine(
            "several hosts in one address of PostgreSQL are not supported yet: give one".to_owned(),
        ));
    }
    let (host, port) = parse_host(host, POSTGRES_PORT)?;
    let params = parse_params(query);
    check_table_prefix(&params)?;
    if database.is_empty() {
        return Err(Error::Engine(
            "postgres:// needs the name of a database, like postgres://user@host:5432/juicefs".to_owned(),
        ));
    }
    let mut url = ServerUrl {
        username: username.map(decode).transpose()?,
        password: password.map(decode).transpose()?.map(SecretString::from),
        host,
        port,
        socket: None,
        database: decode(database)?,
        params,
    };
    url.socket = url.param("host").filter(|path| path.starts_with('/')).map(PathBuf::from);
    if let Some(schema) = url.param("search_path")
        && schema.contains(',')
    {
        return Err(Error::Engine(format!("search_path {schema}: give one schema only")));
    }
    Ok(url)
}

pub(crate) fn parse_mysql(rest: &str) -> Result<ServerUrl> {
    let (info, address) = split_user(rest);
    let (username, password) = user_and_password(info);
    let (address, query) = address.split_once('?').unwrap_or((address, ""));
    // The path of a socket has slashes, too.
    let (target, database) = address.rsplit_once('/').unwrap_or((address, ""));
    let params = parse_params(query);
    check_table_prefix(&params)?;
    if database.is_empty() {
        return Err(Error::Engine(
            "mysql:// needs the name of a database, like mysql://user@(host:3306)/juicefs".to_owned(),
        ));
    }
    let inner = |name: &str| target.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')');
    let socket = inner("unix").map(PathBuf::from);
    let host = inner("").or_else(|| inner("tcp")).unwrap_or(if socket.is_some() { "" } else { target });
    let (host, port) = parse_host(host, MYSQL_PORT)?;
    Ok(ServerUrl {
        username: username.map(decode).transpose()?,
        // Passwords are often written as they are.
        password: password.map(|text| SecretString::from(decode(text).unwrap_or_else(|_| text.to_owned()))),
        host,
        port,
        socket,
        database: decode(database)?,
        params,
    })
}

#[cfg(test)]
mod tests {
    use juicefs_base::ExposeSecret;

    use super::*;
    use crate::url::MetaUrl;

    #[test]
    fn an_address_of_postgres_is_read_and_masked() {
        let url =
            parse_postgres("bob:p%40s:s@db.example:5433/vol?sslmode=require&table_prefix=a").expect("parses");
        assert_eq!((url.host.as_str(), url.port, url.database.as_str()), ("db.example", 5433, "vol"));
        assert_eq!(url.password.as_ref().expect("given").expose_secret(), "p@s:s");
        assert_eq!((url.param("sslmode"), url.table_prefix()), (Some("require"), "jfs_a_".to_owned()));
        let shown = MetaUrl::Postgres(url).to_string();
        assert_eq!(shown, "postgres://bob:****@db.example:5433/vol?sslmode=require&table_prefix=a");
        let url = parse_postgres("bob@/vol?host=/run/postgresql").expect("parses");
        assert_eq!((url.socket, url.port), (Some(PathBuf::from("/run/postgresql")), 5432));
    }

    #[test]
    fn an_address_of_mysql_is_read_and_masked() {
        let url = parse_mysql("root:p@ss:w@(db:3307)/vol?table_prefix=a").expect("parses");
        assert_eq!((url.host.as_str(), url.port, url.database.as_str()), ("db", 3307, "vol"));
        assert_eq!(url.password.as_ref().expect("given").expose_secret(), "p@ss:w");
        assert_eq!(MetaUrl::Mysql(url).to_string(), "mysql://root:****@(db:3307)/vol?table_prefix=a");
        let url = parse_mysql("root@unix(/run/mysqld/mysqld.sock)/vol").expect("parses");
        assert_eq!(
            (url.socket.clone(), url.database.as_str()),
            (Some("/run/mysqld/mysqld.sock".into()), "vol")
        );
        assert_eq!(MetaUrl::Mysql(url).to_string(), "mysql://root@unix(/run/mysqld/mysqld.sock)/vol");
        for text in ["root@tcp(db:3306)/vol", "root@db/vol", "root@([::1]:3306)/vol"] {
            assert_eq!(parse_mysql(text).expect(text).port, 3306, "{text}");
        }
        assert!(parse_mysql("root@(db)").is_err());
    }

    #[test]
    fn what_an_address_lacks_is_said() {
        for (text, word) in [
            ("bob@host", "name of a database"),
            ("bob@a,b/vol", "several hosts"),
            ("bob@a/vol?search_path=a,b", "one schema"),
            ("bob@a/vol?table_prefix=a-b", "letters"),
        ] {
            let error = parse_postgres(text).expect_err(text).to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
