//! One connection to PostgreSQL. A flush is a pipeline: every statement is sent before the first answer is awaited.

use std::collections::HashMap;
use std::error::Error as _;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures::TryStreamExt;
use futures::future::{maybe_done, try_join_all};
use juicefs_base::ExposeSecret;
use tokio_postgres::config::{ChannelBinding, SslMode};
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Client, Config, NoTls, Statement as Prepared};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::tls::{self, Trust};
use super::words::{self, DIALECT};
use crate::engines::sql::server::{Cell, Command, Demand, Dialect, Driver, Failure, Flushed, Mode, Table};
use crate::engines::sql::statement::{Statement, Value};
use crate::error::{Error, Result};
use crate::url::ServerUrl;

const CONNECT_MAX: Duration = Duration::from_secs(5);
const STATEMENTS_MAX: usize = 512;
/// What a session is set to: a lock that is waited for longer is a conflict, and a transaction whose client fell silent
/// lets go of its rows.
const GREETING: &str = "SET lock_timeout = '10s'; SET idle_in_transaction_session_timeout = '20s'; \
                        SET default_transaction_isolation = 'read committed'; SET client_min_messages = 'warning'";

/// One server, one database and the volume's tables in it. Holds no connection.
pub(super) struct Postgres {
    config: Config,
    tls: Option<MakeRustlsConnect>,
    prefix: String,
    place: String,
    schema: Option<String>,
}

impl Postgres {
    /// # Errors
    /// Options this client does not have, unreadable certificates.
    pub(super) fn new(url: &ServerUrl) -> Result<Self> {
        let mut config = Config::new();
        config
            .user(url.username.as_deref().unwrap_or("postgres"))
            .dbname(&url.database)
            .port(url.port)
            .application_name("juicefs")
            .connect_timeout(CONNECT_MAX)
            .tcp_user_timeout(Duration::from_secs(30))
            .keepalives_idle(Duration::from_secs(15))
            // Certificates are what we check.
            .channel_binding(ChannelBinding::Disable);
        match &url.socket {
            Some(path) => config.host_path(path),
            None => config.host(&url.host),
        };
        if let Some(password) = &url.password {
            config.password(password.expose_secret());
        }
        let (mode, trust) = match url.param("sslmode").unwrap_or("prefer") {
            "disable" => (SslMode::Disable, None),
            "allow" | "prefer" => (SslMode::Prefer, Some(Trust::Anyone)),
            "require" if url.param("sslrootcert").is_none() => (SslMode::Require, Some(Trust::Anyone)),
            "require" | "verify-ca" => (SslMode::Require, Some(Trust::Authority)),
            "verify-full" => (SslMode::Require, Some(Trust::Name)),
            other => {
                return Err(Error::Engine(format!(
                    "sslmode is disable, allow, prefer, require, verify-ca or verify-full, not {other}"
                )));
            }
        };
        config.ssl_mode(mode);
        let tls =
            trust.filter(|_| url.socket.is_none()).map(|trust| tls::connector(url, trust)).transpose()?;
        if tls.is_none() {
            config.ssl_mode(SslMode::Disable);
        }
        Ok(Self {
            config,
            tls,
            prefix: url.table_prefix(),
            place: url.place(),
            schema: url.param("search_path").map(str::to_owned),
        })
    }

    /// The error of a connection that could not be made.
    fn unreachable(&self, cause: &tokio_postgres::Error) -> Error {
        if let Some(error) = cause.as_db_error() {
            return words::refusal(error, &self.place).plain();
        }
        let detail = cause.source().map_or_else(|| cause.to_string(), |source| source.to_string());
        if detail.contains("certificate") || detail.contains("server does not support TLS") {
            return Error::Engine(format!(
                "PostgreSQL at {}: {detail}: check sslmode and sslrootcert in the address",
                self.place
            ));
        }
        if detail.contains("password missing") {
            return Error::Engine(format!(
                "PostgreSQL at {} asks for a password: set META_PASSWORD, or write postgres://USER:PASSWORD@host/db",
                self.place
            ));
        }
        Error::Unavailable(format!(
            "can't connect to PostgreSQL at {}: {detail}; is it running, and are host and port right?",
            self.place
        ))
    }
}

pub(super) struct Link {
    client: Client,
    statements: HashMap<(Demand, String), Prepared>,
    is_spoilt: bool,
}

/// A value on its way to the server.
#[derive(Debug)]
enum Sent<'v> {
    Int(i64),
    Text(std::result::Result<&'v str, ()>),
    Bytes(&'v [u8]),
}

impl ToSql for Sent<'_> {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut bytes::BytesMut,
    ) -> std::result::Result<tokio_postgres::types::IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Int(number) => number.to_sql(kind, out),
            Self::Text(Ok(text)) => text.to_sql(kind, out),
            Self::Text(Err(())) => Err("text that is not UTF-8".into()),
            Self::Bytes(bytes) => bytes.to_sql(kind, out),
        }
    }

    fn accepts(kind: &Type) -> bool {
        matches!(*kind, Type::INT8 | Type::TEXT | Type::BYTEA)
    }

    tokio_postgres::types::to_sql_checked!();
}

impl<'v> From<&'v Value> for Sent<'v> {
    fn from(value: &'v Value) -> Self {
        match value {
            Value::Int(number) => Self::Int(*number),
            // As the peer reads it back.
            Value::Small(number) => Self::Int(i64::from(number.cast_signed())),
            Value::Text(text) => Self::Text(std::str::from_utf8(text).map_err(|_| ())),
            Value::Bytes(bytes) => Self::Bytes(bytes),
        }
    }
}

fn type_of(value: &Value) -> Type {
    match value {
        Value::Int(_) | Value::Small(_) => Type::INT8,
        Value::Text(_) => Type::TEXT,
        Value::Bytes(_) => Type::BYTEA,
    }
}

/// A column as the wire has it.
struct Raw(Cell);

impl<'r> FromSql<'r> for Raw {
    fn from_sql(
        kind: &Type,
        raw: &'r [u8],
    ) -> std::result::Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(match *kind {
            Type::INT2 => Cell::Int(i64::from(i16::from_sql(kind, raw)?)),
            Type::INT4 => Cell::Int(i64::from(i32::from_sql(kind, raw)?)),
            Type::INT8 => Cell::Int(i64::from_sql(kind, raw)?),
            Type::TEXT | Type::VARCHAR => Cell::Text(raw.to_vec()),
            Type::BYTEA => Cell::Bytes(raw.to_vec()),
            _ => return Err(format!("a column of type {kind}").into()),
        }))
    }

    fn from_sql_null(_: &Type) -> std::result::Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(Cell::Null))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

impl Postgres {
    /// Statements are prepared when a connection meets them first, which is a flush of its own.
    async fn prepare(&self, link: &mut Link, commands: &[Command]) -> std::result::Result<(), Failure> {
        let mut missing: Vec<(usize, &Command)> = Vec::new();
        for (at, command) in commands.iter().enumerate() {
            let is_new = missing.iter().all(|(_, other)| !is_same_text(other, command));
            if is_new && !link.statements.contains_key(&key(command)) {
                missing.push((at, command));
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        if link.statements.len() + missing.len() > STATEMENTS_MAX {
            link.statements.clear();
            missing = commands.iter().enumerate().collect();
        }
        let prepares = missing.iter().map(|(at, command)| {
            let text = words::text(&command.statement.text, &self.prefix, command.demand);
            let types: Vec<_> = command.statement.values.iter().map(type_of).collect();
            let (client, at) = (&link.client, *at);
            async move { client.prepare_typed(&text, &types).await.map_err(|cause| (at, cause)) }
        });
        let made = try_join_all(prepares).await;
        let made = made.map_err(|(at, cause)| match self.failure(Some(at), &cause) {
            // Nothing was begun.
            Failure::Lost(why) => Failure::Before(Error::Unavailable(why)),
            failure => failure,
        })?;
        link.statements.extend(missing.iter().map(|(_, command)| key(command)).zip(made));
        Ok(())
    }

    fn failure(&self, at: Option<usize>, cause: &tokio_postgres::Error) -> Failure {
        match cause.as_db_error() {
            Some(error) => Failure::Refused { at, refusal: words::refusal(error, &self.place) },
            None => {
                let detail = cause.source().map_or_else(|| cause.to_string(), |source| source.to_string());
                Failure::Lost(format!("lost the connection to PostgreSQL at {}: {detail}", self.place))
            }
        }
    }
}

fn key(command: &Command) -> (Demand, String) {
    (command.demand, command.statement.text.clone().into_owned())
}

fn is_same_text(one: &Command, other: &Command) -> bool {
    one.demand == other.demand && one.statement.text == other.statement.text
}

async fn run(
    client: &Client,
    prepared: &Prepared,
    statement: &Statement,
) -> std::result::Result<Table, tokio_postgres::Error> {
    let values: Vec<Sent<'_>> = statement.values.iter().map(Sent::from).collect();
    let rows = client.query_raw(prepared, values.iter().map(|value| value as &(dyn ToSql + Sync))).await?;
    let cells = |row: tokio_postgres::Row| -> std::result::Result<Vec<Cell>, tokio_postgres::Error> {
        (0..row.len()).map(|at| row.try_get::<_, Raw>(at).map(|Raw(cell)| cell)).collect()
    };
    rows.and_then(|row| std::future::ready(cells(row))).try_collect().await
}

async fn control(client: &Client, text: Option<&str>) -> std::result::Result<(), tokio_postgres::Error> {
    match text {
        Some(text) => client.batch_execute(text).await,
        None => Ok(()),
    }
}

impl Driver for Postgres {
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
        let opened = match &self.tls {
            Some(tls) => self.config.connect(tls.clone()).await.map(|(client, connection)| {
                tokio::spawn(connection);
                client
            }),
            None => self.config.connect(NoTls).await.map(|(client, connection)| {
                tokio::spawn(connection);
                client
            }),
        };
        let client = opened.map_err(|cause| self.unreachable(&cause))?;
        let mut greeting = GREETING.to_owned();
        if let Some(schema) = &self.schema {
            greeting = format!("{greeting}; SET search_path = \"{}\"", schema.replace('"', "\"\""));
        }
        client.batch_execute(&greeting).await.map_err(|cause| self.unreachable(&cause))?;
        Ok(Link { client, statements: HashMap::new(), is_spoilt: false })
    }

    fn is_usable(&self, link: &Link) -> bool {
        !link.client.is_closed() && !link.is_spoilt
    }

    async fn flush(&self, link: &mut Link, mode: Mode, commands: &[Command]) -> Flushed {
        let is_text = |value: &Value| matches!(value, Value::Text(text) if std::str::from_utf8(text).is_err() || text.contains(&0));
        if let Some(at) = commands.iter().position(|command| command.statement.values.iter().any(is_text)) {
            let refusal =
                crate::engines::sql::server::Refusal::Other(Error::Errno(juicefs_base::Errno::EINVAL));
            return Err(Failure::Refused { at: Some(at), refusal });
        }
        self.prepare(link, commands).await?;
        let (begin, end) = match mode {
            Mode::Alone => (None, None),
            Mode::Snapshot => (Some("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"), Some("COMMIT")),
            Mode::Transaction => (Some("BEGIN"), Some("COMMIT")),
        };
        let client = &link.client;
        let prepared = commands.iter().map(|command| &link.statements[&key(command)]);
        let mut begun = pin!(maybe_done(control(client, begin)));
        let mut runs: Vec<_> = commands
            .iter()
            .zip(prepared)
            .map(|(command, prepared)| Box::pin(maybe_done(run(client, prepared, &command.statement))))
            .collect();
        let mut ended = pin!(maybe_done(control(client, end)));
        // Each is sent when it is polled first: in this order, before any answer is waited for.
        poll_fn(|context| {
            let _ = begun.as_mut().poll(context);
            for run in &mut runs {
                let _ = run.as_mut().poll(context);
            }
            let _ = ended.as_mut().poll(context);
            Poll::Ready(())
        })
        .await;
        begun.as_mut().await;
        for run in &mut runs {
            run.as_mut().await;
        }
        ended.as_mut().await;
        let begun = begun.take_output().unwrap_or(Ok(()));
        let ended = ended.take_output().unwrap_or(Ok(()));
        let answers: Vec<_> = runs.iter_mut().filter_map(|run| run.as_mut().take_output()).collect();
        let spoils =
            answers.iter().filter_map(|answer| answer.as_ref().err()?.as_db_error()).any(words::spoils);
        let outcome = begun.map_err(|cause| self.failure(None, &cause)).and_then(|()| {
            let mut tables = Vec::with_capacity(answers.len());
            for (at, answer) in answers.into_iter().enumerate() {
                tables.push(answer.map_err(|cause| self.failure(Some(at), &cause))?);
            }
            // A transaction in which everything went well commits, or is refused.
            ended.map_err(|cause| self.failure(None, &cause))?;
            Ok(tables)
        });
        link.is_spoilt |= spoils;
        outcome
    }
}
