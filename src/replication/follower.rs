//! The follower: one step after the other, each whole or not at all. It keeps no state of its own that matters: what
//! is applied is in the mirror's record.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use juicefs_meta::change_log::time_of;
use juicefs_meta::format::META_VERSION_MAX;
use juicefs_meta::mirror::{self, BucketMode, MirrorRecord, NO_CLIENT, SOURCE_SIDE, State};
use juicefs_meta::port::{Change, Engine, Get, Got};
use juicefs_meta::{Format, Usage};

use crate::apply::{commit, rows};
use crate::blocks::BlockCopier;
use crate::data::{self, DataFollower};
use crate::dirty::Dirty;
use crate::error::{Error, Result};
use crate::heartbeats;
use crate::reconcile::{self, copy_subtree};

/// Lines that one batch may hold; more of them are a backlog.
const LINES_MAX: usize = 500;
/// Before the next look at a log that had nothing new.
const IDLE: Duration = Duration::from_millis(20);
const OUTAGE_PAUSE: Duration = Duration::from_secs(1);
/// Between two looks at the source's setting and its usage, which no line tells.
const SETTING_PERIOD: Duration = Duration::from_secs(3);
/// How often a step waits for blocks that the source's bucket lacks: what was deleted there is soon told by the log.
const LACKING_TRIES: u32 = 40;
const LACKING_PAUSE: Duration = Duration::from_millis(100);

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing has happened at the source.
    Idle,
    Applied,
    /// The mirror was dropped or promoted.
    Dropped,
}

/// Follows one source into one mirror.
pub struct Follower {
    source: Arc<dyn Engine>,
    mirror: Arc<dyn Engine>,
    /// Where the mirror has a bucket of its own.
    copier: Option<Arc<BlockCopier>>,
    setting_seen: Option<Instant>,
    /// Steps in a row that found blocks in no bucket.
    lacking_tries: u32,
}

impl Follower {
    /// `copier` brings blocks from the source's bucket to the mirror's own; a mirror that has one needs it.
    ///
    /// # Errors
    /// [`Error::NoMirror`], [`Error::OtherVolume`]; as the engines'.
    pub async fn new(
        source: Arc<dyn Engine>,
        mirror: Arc<dyn Engine>,
        copier: Option<Arc<BlockCopier>>,
    ) -> Result<Self> {
        let follower = Self { source, mirror, copier, setting_seen: None, lacking_tries: 0 };
        if follower.record().await?.bucket.is_own() && follower.copier.is_none() {
            return Err(Error::BadRequest(
                "the mirror has a bucket of its own, and nobody copies".to_owned(),
            ));
        }
        Ok(follower)
    }

    /// The mirror's record as it is now.
    ///
    /// # Errors
    /// [`Error::NoMirror`]; as the engine's.
    pub async fn record(&self) -> Result<MirrorRecord> {
        let text = self.mirror.setting().await?.ok_or(Error::NoMirror)?;
        mirror::read_any(&*self.mirror, &Format::parse(&text)?).await?.ok_or(Error::NoMirror)
    }

    /// Follows until the mirror is dropped or promoted. What may pass by itself is waited for and said once.
    ///
    /// # Errors
    /// What does not pass: another volume at the source, no mirror any more, a refusal of an engine.
    pub async fn run(&mut self) -> Result<()> {
        let Some(copier) = self.copier.clone() else { return self.follow().await };
        let mut blocks = DataFollower::new(self.source.clone(), self.mirror.clone(), copier);
        tokio::select! {
            end = self.follow() => end,
            () = blocks.run() => Ok(()),
        }
    }

    async fn follow(&mut self) -> Result<()> {
        let mut is_failing = false;
        loop {
            let error = match self.step().await {
                Ok(Turn::Dropped) => return Ok(()),
                Ok(turn) => {
                    if std::mem::take(&mut is_failing) {
                        tracing::info!("the source is followed again");
                    }
                    if turn == Turn::Idle {
                        tokio::time::sleep(IDLE).await;
                    }
                    continue;
                }
                Err(error) => error,
            };
            let pause = match &error {
                Error::Overtaken | Error::Meta(juicefs_meta::Error::Conflict) => IDLE,
                error if error.may_pass() => {
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::warn!(%error, "the source can't be followed at the moment");
                    }
                    OUTAGE_PAUSE
                }
                _ => return Err(error),
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// One step.
    ///
    /// # Errors
    /// As the engines'; whatever may be retried was not applied.
    pub async fn step(&mut self) -> Result<Turn> {
        let record = self.record().await?;
        match record.state {
            State::Dropped | State::Promoting | State::Promoted => return Ok(Turn::Dropped),
            State::Copying => return self.copy_all(record).await,
            State::CatchingUp | State::Following => {}
        }
        self.look_at_setting(&record).await?;
        let cursor = record.cursor;
        let new =
            |lines: &[(u64, Bytes)]| lines.iter().skip_while(|line| line.0 <= cursor).cloned().collect();
        let questions = |lines: &[(u64, Bytes)]| -> Vec<Get> {
            let lines: Vec<_> = new(lines);
            Dirty::of(&lines).questions()
        };
        // The line at the cursor comes along: another one there is another history.
        let after = if record.cursor_mark.is_empty() { cursor } else { cursor.saturating_sub(1) };
        let followed = self.source.follow(after, LINES_MAX, &questions).await?;
        let mut page = followed.page;
        let is_other = page.lines.first().is_some_and(|(version, line)| {
            *version == cursor && !record.cursor_mark.is_empty() && mark_of(line) != record.cursor_mark
        });
        if is_other || page.first > cursor.saturating_add(1) || page.last < cursor {
            tracing::warn!(
                cursor,
                first = page.first,
                last = page.last,
                is_other,
                "the source does not keep what the mirror has yet to see, or its history is another one: everything is compared"
            );
            self.begin_anew(&record).await?;
            return Ok(Turn::Applied);
        }
        page.lines = new(&page.lines);
        let Some((version, line)) = page.lines.last() else {
            if record.state == State::CatchingUp {
                // Nothing has happened since the rows were read.
                let now = MirrorRecord { state: State::Following, ..record.clone() };
                commit(&*self.mirror, &record, &now, Vec::new()).await?;
            }
            return Ok(Turn::Idle);
        };
        let dirty = Dirty::of(&page.lines);
        if dirty.is_unknown {
            self.begin_anew(&record).await?;
            return Ok(Turn::Applied);
        }
        for ino in &dirty.subtrees {
            copy_subtree(&*self.source, &*self.mirror, &record, *ino).await?;
        }
        let gets = dirty.questions();
        let (answers, state) = match followed.answers {
            Some(answers) => (answers, State::Following),
            // Newer than the cursor at times; the lines that made them so are yet to come.
            None => (self.source.read(&gets).await?, State::CatchingUp),
        };
        if record.bucket == BucketMode::DataFirst && !self.has_blocks(&gets, &answers).await? {
            tokio::time::sleep(LACKING_PAUSE).await;
            return Ok(Turn::Applied);
        }
        let cursor_ms =
            time_of(line).map_or(record.cursor_ms, |at| at.sec * 1000 + i64::from(at.nsec / 1_000_000));
        let now =
            MirrorRecord { state, cursor: *version, cursor_ms, cursor_mark: mark_of(line), ..record.clone() };
        self.apply(record, now, rows(&gets, answers)).await?;
        Ok(Turn::Applied)
    }

    /// Everything is compared, rows and blocks.
    async fn begin_anew(&self, record: &MirrorRecord) -> Result<()> {
        let copying = MirrorRecord {
            state: State::Copying,
            cursor_mark: String::new(),
            has_gap: false,
            ..record.clone()
        };
        commit(&*self.mirror, record, &copying, vec![data::removal()]).await
    }

    /// Whether the blocks that rows name are near, once they were copied as far as there are any.
    async fn has_blocks(&mut self, gets: &[Get], answers: &[Got]) -> Result<bool> {
        let Some(copier) = &self.copier else { return Ok(true) };
        let wanted = data::wanted_of(gets, answers);
        let lacking = copier.bring(wanted.into_iter().map(|(_, _, id, size)| (id, size))).await?;
        if lacking.is_empty() {
            self.lacking_tries = 0;
            return Ok(true);
        }
        // What the source deletes it tells: the next look at its rows names them no more.
        self.lacking_tries += 1;
        if self.lacking_tries < LACKING_TRIES {
            return Ok(false);
        }
        tracing::error!(
            ?lacking,
            "the source's own bucket lacks blocks of these slices: the mirror goes on without"
        );
        self.lacking_tries = 0;
        Ok(true)
    }

    /// In one transaction where it fits; the parts before the last are of no version, which the record says.
    async fn apply(&self, mut was: MirrorRecord, now: MirrorRecord, mut changes: Vec<Change>) -> Result<()> {
        let at_once = self.mirror.limits().changes_max / 4;
        while changes.len() > at_once {
            let rest = changes.split_off(at_once);
            let part = MirrorRecord { state: State::CatchingUp, ..was.clone() };
            commit(&*self.mirror, &was, &part, changes).await?;
            (was, changes) = (part, rest);
        }
        commit(&*self.mirror, &was, &now, changes).await
    }

    /// Everything, compared with what is there: for the first time, or when history was lost.
    async fn copy_all(&mut self, record: MirrorRecord) -> Result<Turn> {
        self.look_at_setting(&record).await?;
        let cursor = self.source.read_log(0, 0).await?.last;
        let page = self.source.read_log(cursor.saturating_sub(1), 1).await?;
        let at_cursor = page.lines.into_iter().find(|(version, _)| *version == cursor);
        let cursor_mark = at_cursor.map(|(_, line)| mark_of(&line)).unwrap_or_default();
        tracing::info!(cursor, "copying the whole volume {}", record.display_name);
        let rows = reconcile::copy(&*self.source, &*self.mirror, &record).await?;
        if let Some(copier) = self.copier.clone().filter(|_| record.bucket == BucketMode::DataFirst) {
            DataFollower::new(self.source.clone(), self.mirror.clone(), copier).bring_all(cursor).await?;
        }
        let now = MirrorRecord { state: State::CatchingUp, cursor, cursor_mark, ..record.clone() };
        commit(&*self.mirror, &record, &now, Vec::new()).await?;
        tracing::info!(rows, "copied; following the change log from version {cursor}");
        Ok(Turn::Applied)
    }

    /// Settings and usage are told by no line.
    async fn look_at_setting(&mut self, record: &MirrorRecord) -> Result<()> {
        if self.setting_seen.is_some_and(|at| at.elapsed() < SETTING_PERIOD) {
            return Ok(());
        }
        let Some(text) = self.source.setting().await? else {
            return Err(Error::OtherVolume { wanted: record.source_uuid.clone(), found: "none".to_owned() });
        };
        let source = Format::parse(&text)?;
        if source.uuid != record.source_uuid {
            return Err(Error::OtherVolume { wanted: record.source_uuid.clone(), found: source.uuid });
        }
        if !source.change_log && !record.has_gap {
            tracing::error!(
                "the source keeps no change log any more: `juicefs config SOURCE --changelog`, then the mirror compares everything"
            );
            let gap = MirrorRecord { has_gap: true, ..record.clone() };
            commit(&*self.mirror, record, &gap, Vec::new()).await?;
            return Err(Error::Overtaken);
        }
        if source.change_log && record.has_gap {
            // Clients that have not heard of it yet write what no line tells.
            heartbeats::wait_until_all_have_read(&*self.source).await?;
            self.begin_anew(record).await?;
            return Err(Error::Overtaken);
        }
        if source.meta_version > META_VERSION_MAX {
            // Fenced: what it says now is for its clients.
            self.setting_seen = Some(Instant::now());
            return Ok(());
        }
        let known = self.mirror.setting().await?.ok_or(Error::NoMirror)?;
        let wanted = mirrored_setting(&source, &Format::parse(&known)?);
        if wanted.to_text() != known {
            self.mirror.update_setting(&wanted.to_text(), None, false).await?;
        }
        self.keep_source_setting(record, &source).await?;
        let (there, here) = (self.source.usage().await?, self.mirror.usage().await?);
        if there != here {
            let Usage { space, inodes } = there;
            let change = Change::AddUsage { space: space - here.space, inodes: inodes - here.inodes };
            commit(&*self.mirror, record, record, vec![change]).await?;
            self.mirror.flush().await?;
        }
        self.setting_seen = Some(Instant::now());
        Ok(())
    }
}

impl Follower {
    /// Where the source's blocks are, for who reads what is not near yet, and what a promotion gives back.
    async fn keep_source_setting(&self, record: &MirrorRecord, source: &Format) -> Result<()> {
        let known = mirror::read_source_setting(&*self.mirror).await?;
        let wanted = match &known {
            Some(known) if record.has_own_source_key => with_key_of(source, known)?,
            _ => source.clone(),
        };
        if known.is_some_and(|known| known.to_text() == wanted.to_text()) {
            return Ok(());
        }
        let put = Change::PutSide { name: SOURCE_SIDE.to_owned(), value: wanted.to_text().into() };
        commit(&*self.mirror, record, record, vec![put]).await
    }
}

/// When, by whom and as which of theirs a line was written: no two lines have it in common.
fn mark_of(line: &[u8]) -> String {
    let mut fields = line.split(|byte| *byte == b'|');
    let (moment, who) = (fields.next().unwrap_or_default(), fields.next_back().unwrap_or_default());
    format!("{}|{}", moment.escape_ascii(), who.escape_ascii())
}

/// `source` with the key of `known`, as it is stored there. Both are of one volume, so that one UUID opens both.
fn with_key_of(source: &Format, known: &Format) -> Result<Format> {
    let key = known.decrypted()?;
    let open = source.decrypted()?;
    let wanted = Format {
        access_key: key.access_key.clone(),
        secret_key: key.secret_key.clone(),
        session_token: key.session_token.clone(),
        ..open
    };
    let same = |one: &Format, other: &Format| one.to_text() == other.to_text();
    // Sealed twice a secret looks like another one.
    if same(&wanted, &key) { Ok(known.clone()) } else { Ok(wanted.encrypted()?) }
}

/// The source's setting with what is the mirror's own: where its data is, and that stock clients stay away.
pub(crate) fn mirrored_setting(source: &Format, own: &Format) -> Format {
    Format {
        storage: own.storage.clone(),
        bucket: own.bucket.clone(),
        shards: own.shards,
        access_key: own.access_key.clone(),
        secret_key: own.secret_key.clone(),
        session_token: own.session_token.clone(),
        key_encrypted: own.key_encrypted,
        encrypt_key: own.encrypt_key.clone(),
        meta_version: own.meta_version,
        change_log: false,
        min_client_version: NO_CLIENT.to_owned(),
        ..source.clone()
    }
}
