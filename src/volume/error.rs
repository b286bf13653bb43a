//! What can go wrong with a whole volume; each sentence names the thing, the cause and the next step.

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Meta(#[from] juicefs_meta::Error),
    #[error(transparent)]
    Chunk(#[from] juicefs_chunk::Error),
    #[error(transparent)]
    Vfs(#[from] juicefs_vfs::Error),
    #[error(transparent)]
    Object(#[from] juicefs_object::Error),
    /// A setting that a volume keeps for ever would have to change.
    #[error(
        "cannot update volume {field} from {from} to {to}: it stays as long as the volume, which is unchanged; format \
         another database for another volume"
    )]
    Conflict { field: &'static str, from: String, to: String },
    #[error("{0}")]
    BadRequest(String),
    /// A document that is no dump, or a damaged one; the sentence says what is wrong and where.
    #[error("the dump can't be loaded: {0}")]
    BadDump(String),
    /// The store answers, but not with what was put there.
    #[error("the store {store} does not work: {cause}")]
    Store { store: String, cause: String },
    /// Other records say nothing about what this one referred to.
    #[error("{0} first; `juicefs fsck` names every damaged record")]
    Damaged(juicefs_meta::Damage),
    /// Data of other origin lies where the volume's would.
    #[error("the storage {store} is not empty (found {key}): clean it up or pick another volume name")]
    NotEmpty { store: String, key: String },
}
