//! Why a request got no answer, in one sentence: the SDK's own words are a chain of ten types.

use aws_sdk_s3::error::{ConnectorError, SdkError};
use std::error::Error as StdError;
use std::io;

/// What kept a request from its answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// The environment was to say who asks, and does not.
    NoCredentials,
    /// Somebody answers, but TLS does not trust them or they do not speak it.
    Tls(String),
    /// Nobody answers.
    Silent(String),
}

impl Unanswered {
    /// Of a request to `endpoint` that has no response.
    pub(super) fn of<E: StdError + 'static>(error: &SdkError<E>, endpoint: &str) -> Self {
        let connector = match error {
            SdkError::DispatchFailure(failure) => failure.as_connector_error(),
            _ => None,
        };
        let chain = Chain::of(error);
        if chain.says("ProviderError") || chain.says("CredentialsNotLoaded") {
            return Self::NoCredentials;
        }
        // The TLS library and the resolver speak through the kernel's type of error too, in kinds of their own.
        let is_closed =
            matches!(chain.kind, Some(io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof))
                || chain.says("connection closed before message completed");
        if is_closed {
            return Self::Silent("the connection was closed before the answer".to_owned());
        }
        if chain.kind == Some(io::ErrorKind::ConnectionRefused) {
            return Self::Silent("connection refused".to_owned());
        }
        if chain.says("dns error") {
            return Self::Silent(format!("the host name of {endpoint} is not found ({})", chain.last));
        }
        if chain.says("InvalidContentType") {
            return Self::Tls("it does not speak TLS there".to_owned());
        }
        if chain.says("invalid peer certificate") {
            return Self::Tls(chain.last);
        }
        if matches!(error, SdkError::TimeoutError(_)) || connector.is_some_and(ConnectorError::is_timeout) {
            return Self::Silent("no connection within 5 s".to_owned());
        }
        Self::Silent(chain.last)
    }
}

/// What the deepest cause of an error says.
pub(super) fn last_word(error: &(dyn StdError + 'static)) -> String {
    Chain::of(error).last
}

/// The causes below an error.
struct Chain {
    texts: Vec<String>,
    /// The deepest, where the kernel or the TLS library speaks.
    last: String,
    kind: Option<io::ErrorKind>,
}

impl Chain {
    fn of(error: &(dyn StdError + 'static)) -> Self {
        let mut chain = Self { texts: Vec::new(), last: error.to_string(), kind: None };
        let mut next = Some(error);
        while let Some(cause) = next {
            chain.last = cause.to_string();
            chain.texts.push(format!("{cause:?}"));
            chain.texts.push(chain.last.clone());
            chain.kind = cause.downcast_ref::<io::Error>().map(io::Error::kind).or(chain.kind);
            next = cause.source();
        }
        chain
    }

    fn says(&self, words: &str) -> bool {
        self.texts.iter().any(|text| text.contains(words))
    }
}
