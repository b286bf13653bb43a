//! Connections to the members of a cluster, one at a time, and sentences for what goes wrong.
//!
//! The state is the connection in use: whoever finds it broken takes it away, and the next one connects to the next
//! member that takes it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use juicefs_base::sync::Mutex;
use juicefs_base::{ExposeSecret, SecretString};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::proto::auth_client::AuthClient;
use super::proto::kv_client::KvClient;
use super::proto::{
    AuthenticateRequest, DeleteRangeRequest, DeleteRangeResponse, RangeRequest, RangeResponse, TxnRequest,
    TxnResponse,
};
use crate::engines::trust::{self, Trust};
use crate::error::{Error, Result};
use crate::etcd_url::show_host;
use crate::url::EtcdUrl;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// From a request to its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// etcd hangs up on clients that ask more often than each 5 s whether it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Pages are far smaller; a range of whole slice lists may be long.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// What became of a request.
#[derive(Debug)]
pub(super) enum Failure {
    /// It was not carried out.
    Refused(Error),
    /// The login has run out; it was not carried out.
    LoggedOut,
    /// It may have been carried out.
    Lost(String),
}

impl Failure {
    /// For requests that may be made twice.
    pub(super) fn plain(self) -> Error {
        match self {
            Self::Refused(error) => error,
            Self::LoggedOut => Error::Unavailable("etcd has forgotten the login".to_owned()),
            Self::Lost(why) => Error::Unavailable(why),
        }
    }
}

pub(super) struct Links {
    members: Vec<(String, u16)>,
    tls: Option<(Arc<ClientConfig>, Option<ServerName<'static>>)>,
    login: Option<(String, SecretString)>,
    place: String,
    now: Mutex<Now>,
    /// One connects, others wait for it.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Now {
    link: Option<Link>,
    /// Number of connections made so far.
    count: u64,
    /// The member to try first.
    member: usize,
}

/// A connection to one member.
#[derive(Clone)]
pub(super) struct Link {
    kv: KvClient<Channel>,
    token: Option<MetadataValue<Ascii>>,
    number: u64,
    names: Arc<Names>,
}

struct Names {
    place: String,
    user: Option<String>,
    has_tls: bool,
}

impl Links {
    pub(super) fn new(url: &EtcdUrl, place: &str) -> Result<Self> {
        let login = url.username.clone().map(|user| {
            let password = url.password.clone().unwrap_or_else(|| SecretString::from(""));
            (user, password)
        });
        Ok(Self {
            members: url.hosts.clone(),
            tls: tls(url)?,
            login,
            place: place.to_owned(),
            now: Mutex::new(Now::default()),
            turn: tokio::sync::Mutex::new(()),
        })
    }

    /// Sends a request that may be made twice. A connection that turns out broken is replaced once.
    pub(super) async fn read<C: Call>(&self, request: &C) -> Result<C::Answer> {
        let (link, is_fresh) = self.link().await?;
        let number = link.number;
        match request.clone().call(link).await {
            Err(Failure::Lost(why)) => {
                self.forget(number);
                if is_fresh {
                    return Err(Error::Unavailable(why));
                }
            }
            Err(Failure::LoggedOut) => self.forget(number),
            outcome => return outcome.map_err(Failure::plain),
        }
        let (link, _) = self.link().await?;
        let number = link.number;
        let outcome = request.clone().call(link).await;
        if matches!(outcome, Err(Failure::Lost(_) | Failure::LoggedOut)) {
            self.forget(number);
        }
        outcome.map_err(Failure::plain)
    }

    /// Sends a request once.
    pub(super) async fn send(&self, request: &TxnRequest) -> std::result::Result<TxnResponse, Failure> {
        for _ in 0..2 {
            let (link, _) = self.link().await.map_err(Failure::Refused)?;
            let number = link.number;
            match request.clone().call(link).await {
                Err(Failure::LoggedOut) => self.forget(number),
                Err(failure @ Failure::Lost(_)) => {
                    self.forget(number);
                    return Err(failure);
                }
                outcome => return outcome,
            }
        }
        Err(Failure::LoggedOut)
    }

    /// The connection, and whether it was made just now.
    async fn link(&self) -> Result<(Link, bool)> {
        let known = || self.now.lock().link.clone();
        if let Some(link) = known() {
            return Ok((link, false));
        }
        let _turn = self.turn.lock().await;
        if let Some(link) = known() {
            return Ok((link, false));
        }
        let first = self.now.lock().member;
        let mut failure = None;
        for at in 0..self.members.len() {
            let member = (first + at) % self.members.len();
            match self.connect(member).await {
                Ok(mut link) => {
                    let mut now = self.now.lock();
                    now.count += 1;
                    link.number = now.count;
                    now.member = member;
                    now.link = Some(link.clone());
                    return Ok((link, true));
                }
                // Another member would say the same.
                Err(error @ Error::Engine(_)) => return Err(error),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| Error::Engine("the address of etcd names no host".to_owned())))
    }

    /// Takes a connection out of use, unless somebody did; the next one is to another member.
    fn forget(&self, number: u64) {
        let mut now = self.now.lock();
        if now.link.as_ref().is_some_and(|link| link.number == number) {
            now.link = None;
            now.member = (now.member + 1) % self.members.len();
        }
    }

    async fn connect(&self, member: usize) -> Result<Link> {
        let (host, port) = &self.members[member];
        let name = show_host(host, *port);
        let silent =
            || Error::Unavailable(format!("etcd at {name} did not answer within {CONNECT_TIMEOUT:?}"));
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, self.stream(host, *port)).await;
        let stream = stream.map_err(|_| silent())??;
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let endpoint = Endpoint::try_from(format!("{scheme}://{name}"))
            .map_err(|cause| Error::Engine(format!("the address of etcd at {name} can't be used: {cause}")))?
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(CONNECT_TIMEOUT)
            .keep_alive_while_idle(true);
        // A connection that breaks is given up, not made again below us.
        let stream = Arc::new(Mutex::new(Some(stream)));
        let connector = tower::service_fn(move |_| {
            let stream = stream.lock().take();
            let stream = stream.ok_or_else(|| io::Error::other("the connection broke"));
            std::future::ready(stream.map(TokioIo::new))
        });
        let channel = tokio::time::timeout(CONNECT_TIMEOUT, endpoint.connect_with_connector(connector)).await;
        let channel = channel.map_err(|_| silent())?.map_err(|cause| {
            Error::Unavailable(format!("can't talk to etcd at {name}: {}", with_causes(&cause)))
        })?;
        let kv = KvClient::new(channel.clone())
            .max_decoding_message_size(ANSWER_BYTES_MAX)
            .max_encoding_message_size(ANSWER_BYTES_MAX);
        let user = self.login.as_ref().map(|(user, _)| user.clone());
        let names = Names { place: self.place.clone(), user, has_tls: self.tls.is_some() };
        let mut link = Link { kv, token: None, number: 0, names: Arc::new(names) };
        if let Some((user, password)) = &self.login {
            link.token = link.log_in(channel, user, password).await.map_err(Failure::plain)?;
        }
        Ok(link)
    }

    async fn stream(&self, host: &str, port: u16) -> Result<Box<dyn Stream>> {
        let name = show_host(host, port);
        let stream = TcpStream::connect((host, port)).await.map_err(|cause| {
            let next = match cause.kind() {
                io::ErrorKind::ConnectionRefused => {
                    "nothing listens there; is etcd running, and are host and port right?"
                }
                _ => "check the host name, the network and firewalls",
            };
            Error::Unavailable(format!("can't connect to etcd at {name}: {cause}; {next}"))
        })?;
        let broken = |cause: io::Error| Error::Unavailable(format!("can't talk to etcd at {name}: {cause}"));
        stream.set_nodelay(true).map_err(broken)?;
        let Some((config, server_name)) = &self.tls else { return Ok(Box::new(stream)) };
        let asked = match server_name {
            Some(asked) => asked.clone(),
            None => ServerName::try_from(host.to_owned())
                .map_err(|_| Error::Engine(format!("{host} is no name that a certificate can be for")))?,
        };
        let stream = TlsConnector::from(Arc::clone(config)).connect(asked, stream).await.map_err(|cause| {
            let text = cause.to_string();
            if text.contains("certificate") {
                return Error::Engine(format!(
                    "etcd at {name} showed a certificate that is not trusted ({text}): name the authority with cacert and \
                     the name that it is for with server-name"
                ));
            }
            let next = "if it speaks no TLS, leave out cacert, cert, key and server-name";
            Error::Unavailable(format!("TLS with etcd at {name} failed: {text}; {next}"))
        })?;
        Ok(Box::new(stream))
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// As the peer: TLS is spoken when one of these options is given.
fn tls(url: &EtcdUrl) -> Result<Option<(Arc<ClientConfig>, Option<ServerName<'static>>)>> {
    let options = ["cacert", "cert", "key", "server-name"];
    if options.iter().all(|option| url.param(option).is_none()) {
        return Ok(None);
    }
    let is_insecure = url.param("insecure-skip-verify").is_some();
    let roots = match url.param("cacert") {
        Some(path) => trust::read_roots("cacert", path)?,
        None if is_insecure => RootCertStore::empty(),
        None => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            roots
        }
    };
    if is_insecure {
        tracing::warn!("whoever answers in the place of etcd is trusted (insecure-skip-verify)");
    }
    let trust = if is_insecure { Trust::Anyone } else { Trust::Name };
    let identity = ["cert", "key"].map(|option| (option, url.param(option)));
    let mut config = trust::client_config("etcd", trust, roots, identity)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = url.param("server-name").map(|name| {
        ServerName::try_from(name.to_owned()).map_err(|_| {
            Error::Engine(format!("server-name={name} is no name that a certificate can be for"))
        })
    });
    Ok(Some((Arc::new(config), name.transpose()?)))
}

/// A request and the procedure that answers it.
pub(super) trait Call: Clone + Send + Sync {
    type Answer: Send;

    fn call(self, link: Link) -> BoxFuture<'static, Answered<Self::Answer>>;
}

type Answered<T> = std::result::Result<T, Failure>;

impl Call for RangeRequest {
    type Answer = RangeResponse;

    fn call(self, mut link: Link) -> BoxFuture<'static, Answered<RangeResponse>> {
        Box::pin(async move {
            let request = link.signed(self);
            answer(&link.names, link.kv.range(request)).await
        })
    }
}

impl Call for TxnRequest {
    type Answer = TxnResponse;

    fn call(self, mut link: Link) -> BoxFuture<'static, Answered<TxnResponse>> {
        Box::pin(async move {
            let request = link.signed(self);
            answer(&link.names, link.kv.txn(request)).await
        })
    }
}

impl Call for DeleteRangeRequest {
    type Answer = DeleteRangeResponse;

    fn call(self, mut link: Link) -> BoxFuture<'static, Answered<DeleteRangeResponse>> {
        Box::pin(async move {
            let request = link.signed(self);
            answer(&link.names, link.kv.delete_range(request)).await
        })
    }
}

impl Link {
    fn signed<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("token", token.clone());
        }
        request
    }

    /// The token; none when the cluster asks nobody who they are.
    async fn log_in(
        &self,
        channel: Channel,
        user: &str,
        password: &SecretString,
    ) -> std::result::Result<Option<MetadataValue<Ascii>>, Failure> {
        let request =
            AuthenticateRequest { name: user.to_owned(), password: password.expose_secret().to_owned() };
        let mut client = AuthClient::new(channel);
        let asked = tokio::time::timeout(ANSWER_TIMEOUT, client.authenticate(Request::new(request))).await;
        let status = match asked {
            Err(_) => return Err(self.names.silent()),
            Ok(Ok(answer)) => {
                let token = MetadataValue::try_from(answer.into_inner().token);
                let odd = |_| Failure::Refused(Error::Engine("etcd gave a login that is no text".to_owned()));
                return token.map(Some).map_err(odd);
            }
            Ok(Err(status)) => status,
        };
        if status.message().contains("authentication is not enabled") {
            tracing::warn!(
                user,
                "etcd asks nobody who they are: anybody who reaches it can change the volume"
            );
            return Ok(None);
        }
        Err(self.names.failure(&status))
    }
}

async fn answer<T>(
    names: &Names,
    asked: impl Future<Output = std::result::Result<tonic::Response<T>, Status>>,
) -> std::result::Result<T, Failure> {
    match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
        Err(_) => Err(names.silent()),
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(names.failure(&status)),
    }
}

impl Names {
    fn silent(&self) -> Failure {
        let Self { place, .. } = self;
        Failure::Lost(format!(
            "{place} takes requests and answered nothing within {} s; has it a leader?",
            ANSWER_TIMEOUT.as_secs()
        ))
    }

    fn failure(&self, status: &Status) -> Failure {
        let Self { place, user, has_tls } = self;
        let text = status.message();
        let refused = |sentence: String| Failure::Refused(Error::Engine(sentence));
        let user = user.as_deref().unwrap_or("nobody");
        match status.code() {
            Code::Unauthenticated => Failure::LoggedOut,
            Code::InvalidArgument if text.contains("revision in header is old") => Failure::LoggedOut,
            Code::InvalidArgument if text.contains("user name is empty") => {
                refused(format!("{place} asks for a user: write etcd://USER@host and set META_PASSWORD"))
            }
            Code::InvalidArgument if text.contains("authentication failed") => refused(format!(
                "{place} refused user {user} with the password given: check META_PASSWORD or the address"
            )),
            Code::PermissionDenied => refused(format!(
                "{place} does not let user {user} do this ({text}): grant a role readwrite on the volume's prefix"
            )),
            Code::InvalidArgument if text.contains("too many operations") => refused(format!(
                "{place} takes fewer operations in a transaction than usual ({text}): start it with --max-txn-ops=128 or more"
            )),
            Code::InvalidArgument if text.contains("too large") => refused(format!(
                "{place} takes no request this large ({text}): start it with a higher --max-request-bytes"
            )),
            Code::ResourceExhausted if text.contains("space exceeded") => {
                Failure::Refused(Error::Full(format!(
                    "{place} is full ({text}): raise --quota-backend-bytes, compact and defragment it, then disarm its alarm"
                )))
            }
            Code::ResourceExhausted if text.contains("too many requests") => {
                Failure::Refused(Error::Unavailable(format!("{place} is busy ({text})")))
            }
            Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::ResourceExhausted
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::NotFound
            | Code::AlreadyExists => refused(format!("{place} answered {text}")),
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss => {
                let next = match has_tls {
                    false => "; if it only speaks TLS, name its authority with ?cacert=",
                    true => "",
                };
                let next = if text.starts_with("etcdserver") { "" } else { next };
                Failure::Lost(format!("lost {place}: {}{next}", with_causes(status)))
            }
        }
    }
}

fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
