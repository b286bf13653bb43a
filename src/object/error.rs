//! What a store can answer, sorted by what the caller may do about it.

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the object room.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{store}: no object {key}")]
    NotFound { store: String, key: String },
    #[error(
        "{store}: access to {key} denied: {cause}; check the access key, the secret key and the bucket's policy"
    )]
    PermissionDenied { store: String, key: String, cause: String },
    #[error(
        "{store}: there is no access key: set ACCESS_KEY and SECRET_KEY, or give --access-key and --secret-key to \
         `juicefs format`"
    )]
    NoAccessKey { store: String },
    #[error("{store}: the bucket does not exist ({cause}); create it, or correct its name")]
    NoBucket { store: String, cause: String },
    /// The store did not answer, or asked to come back later.
    #[error("{store}: unreachable for {key}: {cause}; is the server up, and is the address right?")]
    Unreachable { store: String, key: String, cause: String },
    /// Somebody answers whose certificate is not trusted, or who does not speak TLS.
    #[error(
        "{store}: no TLS with the server: {cause}; let this machine trust the authority of its certificate, or use \
         an http:// address"
    )]
    NotTrusted { store: String, cause: String },
    /// What came back is not what was stored.
    #[error("{store}: {key} is damaged: {cause}")]
    Damaged { store: String, key: String, cause: String },
    #[error("{store}: no space left for {key}")]
    Full { store: String, key: String },
    #[error("{0}")]
    BadSpec(String),
    #[error("{store}: {key}: {cause}")]
    Other { store: String, key: String, cause: String },
}

impl Error {
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn may_retry(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Damaged { .. } | Self::Other { .. })
    }
}
