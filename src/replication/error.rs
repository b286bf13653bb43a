//! What can go wrong with a mirror; each sentence names the thing, the cause and the next step.

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Meta(#[from] juicefs_meta::Error),
    #[error(transparent)]
    Object(#[from] juicefs_object::Error),
    #[error("{0}")]
    BadRequest(String),
    /// The database is no mirror, or none any more.
    #[error("the database is no mirror: make one with `juicefs mirror create SOURCE MIRROR --name NAME`")]
    NoMirror,
    /// Another follower writes to the mirror.
    #[error("another follower works on this mirror: one is enough")]
    Overtaken,
    /// The source is another volume than the one that was mirrored.
    #[error(
        "the source holds volume {found} now, this is a mirror of {wanted}: drop it and make another one"
    )]
    OtherVolume { wanted: String, found: String },
}

impl Error {
    /// Whether waiting may be enough.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Meta(cause) => cause.may_retry() || matches!(cause, juicefs_meta::Error::InDoubt(_)),
            // A key that is refused may be changed in the setting, a full bucket be made larger.
            Self::Object(_) => true,
            Self::BadRequest(_) | Self::NoMirror | Self::Overtaken | Self::OtherVolume { .. } => false,
        }
    }
}
