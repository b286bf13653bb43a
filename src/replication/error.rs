//! What can go wrong with a mirror; each sentence names the thing, the cause and the next step.

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Meta(#[from] juicefs_meta::Error),
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
