//! One connection to MySQL or MariaDB.

use std::time::Duration;

use juicefs_base::ExposeSecret;
use mysql_async::consts::ColumnType;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Row, SslOpts};

use super::words::{self, DIALECT, Part};
use crate::engines::sql::server::{Cell, Command, Dialect, Driver, Failure, Flushed, Mode, Refusal, Table};
use crate::engines::sql::statement::Value;
use crate::error::{Error, Result};
use crate::url::ServerUrl;

/// What a session is set to: a lock that is waited for longer is a conflict; each statement sees what is committed;
/// values that don't fit are errors.
const GREETING: &[&str] = &[
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET SESSION innodb_lock_wait_timeout = 10",
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,PIPES_AS_CONCAT,ANSI_QUOTES,NO_BACKSLASH_ESCAPES,NO_ENGINE_SUBSTITUTION'",
    "SET NAMES utf8mb4",
];
/// The character set of columns of bytes.
const BINARY: u16 = 63;

/// One server, one database and the volume's tables in it. Holds no connection.
pub(super) struct MySql {
    opts: Opts,
    prefix: String,
    place: String,
}

impl MySql {
    /// # Errors
    /// Options this client does not have.
    pub(super) fn new(url: &ServerUrl) -> Result<Self> {
        let tls = match url.param("tls").unwrap_or("false") {
            "false" => None,
            "true" => Some(SslOpts::default()),
            "skip-verify" => Some(
                SslOpts::default()
                    .with_danger_accept_invalid_certs(true)
                    .with_danger_skip_domain_validation(true),
            ),
            other => {
                return Err(Error::Engine(format!("tls is true, false or skip-verify here, not {other}")));
            }
        };
        let socket = url.socket.as_ref().map(|path| path.display().to_string());
        let opts = OptsBuilder::default()
            .ip_or_hostname(&url.host)
            .tcp_port(url.port)
            .prefer_socket(false)
            .socket(socket)
            .user(url.username.clone())
            .pass(url.password.as_ref().map(|password| password.expose_secret().to_owned()))
            .db_name(Some(url.database.clone()))
            .tcp_nodelay(true)
            .tcp_keepalive(Some(Duration::from_secs(15)))
            // A row that is set to what it was counts as found.
            .client_found_rows(true)
            .ssl_opts(tls)
            .setup(GREETING.iter().map(|&text| text.to_owned()).collect());
        Ok(Self { opts: opts.into(), prefix: url.table_prefix(), place: url.place() })
    }

    fn failure(&self, at: Option<usize>, cause: &mysql_async::Error) -> Failure {
        match cause {
            mysql_async::Error::Server(error) => {
                Failure::Refused { at, refusal: words::refusal(error, &self.place) }
            }
            other => Failure::Lost(format!("lost the connection to MySQL at {}: {other}", self.place)),
        }
    }
}

pub(super) struct Link {
    conn: Conn,
    is_spoilt: bool,
}

/// A statement of a request, and the command that it belongs to.
struct Sent {
    part: Part,
    command: Option<usize>,
}

/// Which statement an error is of that came while the answer to statement `at` was read. What a statement answers ends
/// with the beginning of the next one's answer.
fn culprit(sent: &[Sent], at: usize, rows: usize, cause: &mysql_async::Error) -> usize {
    let code = match cause {
        mysql_async::Error::Server(error) => error.code,
        _ => 0,
    };
    let is_next = match sent[at].part {
        Part::Change => true,
        Part::Check => rows > 0,
        // No such error comes from reading.
        Part::Select => matches!(code, 1062 | 1690),
    };
    if is_next { (at + 1).min(sent.len() - 1) } else { at }
}

fn cells(row: &Row) -> std::result::Result<Vec<Cell>, String> {
    let cell = |(at, column): (usize, &mysql_async::Column)| {
        let Some(mysql_async::Value::Bytes(bytes)) = row.as_ref(at) else { return Ok(Cell::Null) };
        match column.column_type() {
            ColumnType::MYSQL_TYPE_TINY
            | ColumnType::MYSQL_TYPE_SHORT
            | ColumnType::MYSQL_TYPE_INT24
            | ColumnType::MYSQL_TYPE_LONG
            | ColumnType::MYSQL_TYPE_LONGLONG
            | ColumnType::MYSQL_TYPE_NEWDECIMAL => {
                let text = String::from_utf8_lossy(bytes);
                let number = text.parse().or_else(|_| text.parse::<u64>().map(u64::cast_signed));
                number.map(Cell::Int).map_err(|_| format!("{text} in a column of numbers"))
            }
            ColumnType::MYSQL_TYPE_DOUBLE => Ok(Cell::Null),
            _ if column.character_set() == BINARY => Ok(Cell::Bytes(bytes.clone())),
            _ => Ok(Cell::Text(bytes.clone())),
        }
    };
    row.columns_ref().iter().enumerate().map(cell).collect()
}

impl MySql {
    /// Sends one request and reads the answers to its commands; an error comes with its statement.
    async fn request(
        &self,
        conn: &mut Conn,
        text: String,
        sent: &[Sent],
        count: usize,
    ) -> std::result::Result<Vec<Table>, Failure> {
        let failed = |at: usize, cause: &mysql_async::Error| self.failure(sent[at].command, cause);
        let mut answers = vec![Table::new(); count];
        let mut result = conn.query_iter(text).await.map_err(|cause| failed(0, &cause))?;
        for (at, statement) in sent.iter().enumerate() {
            let mut table = Table::new();
            loop {
                match result.next().await {
                    Ok(Some(row)) => table.push(
                        cells(&row)
                            .map_err(|why| Failure::Lost(format!("MySQL at {}: {why}", self.place)))?,
                    ),
                    Ok(None) => break,
                    Err(cause) => return Err(failed(culprit(sent, at, table.len(), &cause), &cause)),
                }
            }
            if statement.part == Part::Select
                && let Some(command) = statement.command
            {
                answers[command] = table;
            }
        }
        Ok(answers)
    }
}

impl Driver for MySql {
    type Link = Link;

    fn dialect(&self) -> &'static Dialect {
        &DIALECT
    }

    fn prefix(&self) -> &str {
        &self.prefix
    }

    fn place(&self) -> &str {
        &self.place
    }

    async fn connect(&self) -> Result<Link> {
        let opened = tokio::time::timeout(Duration::from_secs(5), Conn::new(self.opts.clone())).await;
        let unreachable = |why: String| {
            Error::Unavailable(format!(
                "can't connect to MySQL at {}: {why}; is it running, and are host and port right?",
                self.place
            ))
        };
        match opened {
            Ok(Ok(conn)) => Ok(Link { conn, is_spoilt: false }),
            Ok(Err(mysql_async::Error::Server(error))) => Err(words::refusal(&error, &self.place).plain()),
            Ok(Err(other)) => Err(unreachable(other.to_string())),
            Err(_) => Err(unreachable("no answer within 5 s".to_owned())),
        }
    }

    fn is_usable(&self, link: &Link) -> bool {
        !link.is_spoilt
    }

    async fn flush(&self, link: &mut Link, mode: Mode, commands: &[Command]) -> Flushed {
        let is_no_text =
            |value: &Value| matches!(value, Value::Text(text) if std::str::from_utf8(text).is_err());
        if let Some(at) = commands.iter().position(|command| command.statement.values.iter().any(is_no_text))
        {
            let refusal = Refusal::Other(Error::Errno(juicefs_base::Errno::EINVAL));
            return Err(Failure::Refused { at: Some(at), refusal });
        }
        let (begin, end): (&[&str], &[&str]) = match mode {
            Mode::Alone => (&[], &[]),
            Mode::Snapshot => (
                &[
                    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
                    "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
                ],
                &["COMMIT"],
            ),
            Mode::Transaction => (&["START TRANSACTION"], &["COMMIT"]),
        };
        let mut text = String::new();
        let mut sent = Vec::with_capacity(commands.len() * 2 + 3);
        let mut put = |part: Part, command: Option<usize>, statement: &str| {
            text.push_str(if sent.is_empty() { "" } else { ";\n" });
            text.push_str(statement);
            sent.push(Sent { part, command });
        };
        begin.iter().for_each(|statement| put(Part::Change, None, statement));
        for (at, command) in commands.iter().enumerate() {
            for (part, statement) in words::statements(command, &self.prefix) {
                put(part, Some(at), &statement);
            }
        }
        end.iter().for_each(|statement| put(Part::Change, None, statement));
        // Whoever drops this halfway leaves answers behind.
        link.is_spoilt = true;
        let outcome = self.request(&mut link.conn, text, &sent, commands.len()).await;
        match &outcome {
            Ok(_) => link.is_spoilt = false,
            Err(Failure::Refused { .. }) if mode == Mode::Alone => link.is_spoilt = false,
            // The rest of the request was not run, its end neither.
            Err(Failure::Refused { .. }) => link.is_spoilt = link.conn.query_drop("ROLLBACK").await.is_err(),
            Err(_) => {}
        }
        outcome
    }
}
