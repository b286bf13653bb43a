//! A mirror becomes a volume of its own. Each step may be done again, so that a promotion that broke off goes on: what
//! is taken from the source, then what only a writer keeps is counted, numbers jump over all that the source may have
//! given out, and last the setting lets clients in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use juicefs_meta::Format;
use juicefs_meta::mirror::{self, MirrorRecord, State};
use juicefs_meta::port::{Engine, Sequence};
use serde::{Deserialize, Serialize};

use crate::apply::commit;
use crate::blocks::BlockCopier;
use crate::count;
use crate::data::DataFollower;
use crate::error::{Error, Result};
use crate::fence;
use crate::follower::{Follower, Turn};

/// Inodes, slices and sessions that nobody gives out between the source's and the mirror's: at a thousand a second the
/// source would need three years.
const GAP: u64 = 100_000_000_000;
const PAUSE: Duration = Duration::from_millis(20);

/// How the source is kept from going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fencing {
    /// Not at all: refused when anybody may still write there.
    None,
    /// Its clients are made to leave, and what they wrote is waited for.
    Fence,
    /// It is left as it is: what it has and the mirror has not is lost.
    Force,
}

/// What a promotion is made of.
pub struct Promotion {
    pub fencing: Fencing,
    /// How long clients of the source may take to leave, and the mirror to catch up.
    pub patience: Duration,
    /// Tells which blocks the mirror's bucket lacks, and brings what the source's still has.
    pub copier: Arc<BlockCopier>,
}

/// What became of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Promoted {
    pub name: String,
    pub epoch: String,
    /// Version of the source's change log that the volume is equal to.
    pub version: u64,
    /// When the source wrote it; unix milliseconds.
    pub version_ms: i64,
    /// Lines of the source that are lost; nothing when it did not answer.
    pub lost_versions: Option<u64>,
    pub first_inode: u64,
    pub first_slice: u64,
    /// Files of which blocks are in no bucket that could be asked.
    pub broken_files: Vec<String>,
    pub broken_file_count: u64,
}

/// # Errors
/// [`Error::BadRequest`] with the next step where the source may go on; as the engines' and the stores'.
pub async fn promote(
    source: Result<Arc<dyn Engine>, String>,
    source_url: &str,
    target: Arc<dyn Engine>,
    promotion: &Promotion,
) -> Result<Promoted> {
    let text = target.setting().await?.ok_or(Error::NoMirror)?;
    let format = Format::parse(&text)?;
    let record = mirror::read(&*target, &format).await?.ok_or(Error::NoMirror)?;
    if !matches!(record.state, State::CatchingUp | State::Following | State::Promoting) {
        return Err(Error::BadRequest(format!(
            "mirror {} is of no version yet: `juicefs mirror status` tells",
            record.display_name
        )));
    }
    let mut lost_versions = None;
    let (mut first_inode, mut first_slice, mut sessions) = (0, 0, 0);
    match (&source, promotion.fencing) {
        (_, Fencing::None) => return Err(Error::BadRequest(refusal(&source, source_url).await)),
        (Err(cause), Fencing::Fence) => {
            return Err(Error::BadRequest(format!(
                "the source can't be fenced, it does not answer ({cause}): make sure that nobody writes there, and promote \
                 with --force"
            )));
        }
        (Err(_), Fencing::Force) => {}
        (Ok(source), Fencing::Fence) => {
            fence_and_drain(source, &target, &record, promotion).await?;
        }
        (Ok(source), Fencing::Force) => {
            tracing::warn!(
                "the source is not fenced: whatever is written there from now on is lost to this volume"
            );
            lost_versions = Some(source.read_log(record.cursor, 0).await?.last.saturating_sub(record.cursor));
        }
    }
    if let Ok(source) = &source {
        let counters = source.counters().await?;
        (first_inode, first_slice, sessions) =
            (counters.next_inode, counters.next_slice, counters.last_session);
        if promotion.fencing == Fencing::Fence {
            lost_versions = Some(0);
        }
    }
    let record = begin(&*target).await?;
    let counted = count::count(&*target, format.dir_stats).await?;
    first_inode = first_inode.max(counted.last_inode + 1);
    first_slice = first_slice.max(counted.last_slice + 1);
    let first_inode = jump(&*target, Sequence::Inode, first_inode).await?;
    let first_slice = jump(&*target, Sequence::Slice, first_slice).await?;
    jump(&*target, Sequence::Session, sessions).await?;
    let trash = target.counters().await?.last_trash;
    if counted.last_trash > trash {
        target.allocate(Sequence::TrashDir, counted.last_trash - trash, None).await?;
    }
    let broken = count::broken_files(&*target, &promotion.copier).await?;
    let epoch = uuid::Uuid::new_v4().to_string();
    open_up(&*target, &record, &epoch).await?;
    Ok(Promoted {
        name: record.display_name.clone(),
        epoch,
        version: record.cursor,
        version_ms: record.cursor_ms,
        lost_versions,
        first_inode,
        first_slice,
        broken_files: broken.named,
        broken_file_count: broken.count,
    })
}

/// Why nothing is done without a word about the source.
async fn refusal(source: &Result<Arc<dyn Engine>, String>, url: &str) -> String {
    let next = "--fence makes its clients leave first and loses nothing; --force leaves it as it is and loses what the \
                mirror has not";
    match source {
        Err(cause) => format!(
            "the source {url} does not answer ({cause}): if nobody can write there any more, promote with --force"
        ),
        Ok(source) => {
            let live = fence::live_sessions(&**source).await.map_or(0, |live| live.len());
            format!("the source {url} is alive, {live} clients have sessions there: {next}")
        }
    }
}

async fn fence_and_drain(
    source: &Arc<dyn Engine>,
    target: &Arc<dyn Engine>,
    record: &MirrorRecord,
    promotion: &Promotion,
) -> Result<()> {
    loop {
        fence::put(&**source, &record.display_name).await?;
        fence::wait_for_leave(&**source, promotion.patience).await?;
        if fence::stands(&**source).await? {
            break;
        }
        tracing::warn!("somebody took the fence away: it is put up again");
    }
    if record.state == State::Promoting {
        return Ok(());
    }
    let copier = record.bucket.is_own().then(|| promotion.copier.clone());
    let mut follower = Follower::new(source.clone(), target.clone(), copier.clone()).await?;
    let begun = Instant::now();
    loop {
        match follower.step().await {
            Ok(Turn::Idle | Turn::Dropped)
            | Err(Error::Overtaken | Error::Meta(juicefs_meta::Error::Conflict)) => {}
            Ok(Turn::Applied) => continue,
            Err(error) => return Err(error),
        }
        let now = follower.record().await?;
        let last = source.read_log(now.cursor, 0).await?.last;
        if matches!(now.state, State::Following | State::CatchingUp) && now.cursor >= last {
            break;
        }
        if begun.elapsed() >= promotion.patience {
            return Err(Error::BadRequest(format!(
                "the mirror is still {} versions behind its fenced source: promote again when it has caught up, or with --force",
                last.saturating_sub(now.cursor)
            )));
        }
        tokio::time::sleep(PAUSE).await;
    }
    if let Some(copier) = copier {
        let cursor = follower.record().await?.cursor;
        DataFollower::new(source.clone(), target.clone(), copier).bring_all(cursor).await?;
    }
    Ok(())
}

/// From here on nobody follows.
async fn begin(target: &dyn Engine) -> Result<MirrorRecord> {
    let text = target.setting().await?.ok_or(Error::NoMirror)?;
    loop {
        let record = mirror::read(target, &Format::parse(&text)?).await?.ok_or(Error::NoMirror)?;
        let promoting = MirrorRecord { state: State::Promoting, ..record.clone() };
        match commit(target, &record, &promoting, Vec::new()).await {
            // A follower was faster once more.
            Err(Error::Overtaken | Error::Meta(juicefs_meta::Error::Conflict)) => {}
            done => return done.map(|()| promoting),
        }
    }
}

/// Makes the next number of a sequence one that the source never gives out; answers it.
async fn jump(target: &dyn Engine, sequence: Sequence, known: u64) -> Result<u64> {
    let counters = target.counters().await?;
    let next = match sequence {
        Sequence::Inode => counters.next_inode,
        Sequence::Slice => counters.next_slice,
        Sequence::Session | Sequence::TrashDir => counters.last_session,
    };
    // Rounded, so that numbers tell in which life of the volume they were given out.
    let wanted = (known / GAP + 1) * GAP;
    // Done by a promotion that broke off later.
    if next >= wanted {
        return Ok(next);
    }
    Ok(target.allocate(sequence, wanted - next, None).await?.end)
}

/// The setting lets clients in, then the record says that it is no mirror any more.
async fn open_up(target: &dyn Engine, record: &MirrorRecord, epoch: &str) -> Result<()> {
    let own = Format::parse(&target.setting().await?.ok_or(Error::NoMirror)?)?;
    let source = mirror::read_source_setting(target).await?;
    let source = source.unwrap_or_else(|| Format {
        change_log: true,
        min_client_version: String::new(),
        ..own.clone()
    });
    let setting = Format {
        change_log: source.change_log,
        min_client_version: source.min_client_version.clone(),
        max_client_version: source.max_client_version.clone(),
        ..own
    };
    target.update_setting(&setting.to_text(), None, false).await?;
    let promoted = MirrorRecord { state: State::Promoted, epoch: epoch.to_owned(), ..record.clone() };
    commit(target, record, &promoted, Vec::new()).await
}
