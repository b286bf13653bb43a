//! The volume as a whole: setting, counters, jobs.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use juicefs_base::backoff;

use super::store::{ABSENT, Ask, Batch, Check, Found, Key, Store};
use super::{KvEngine, keys, records};
use crate::engines::packed;
use crate::error::{Error, Result};
use crate::port::{Counters, Job, NewVolume, Sequence};
use crate::types::{Attr, Ino, Usage};

/// How often a counter that others move is tried.
const TRIES: u32 = 100;

/// A key as it was read, for what is written in its place.
struct Slot {
    key: Key,
    value: Option<Bytes>,
    check: Check,
}

impl<S: Store> KvEngine<S> {
    /// Reads single keys.
    async fn slots<const N: usize>(&self, keys: [Key; N]) -> Result<[Slot; N]> {
        let asks = keys.clone().map(Ask::Key);
        let mut found = self.read_all(&asks).await?.into_iter();
        Ok(keys.map(|key| {
            let Found { records, moment, .. } = found.next().unwrap_or_default();
            let record = records.into_iter().next();
            let version = record.as_ref().map_or(ABSENT, |record| record.version);
            let check = Check::Unchanged { version, moment, or_gone: false };
            Slot { key, value: record.map(|record| record.value), check }
        }))
    }

    pub(super) async fn read_setting(&self) -> Result<Option<String>> {
        let [slot] = self.slots([keys::SETTING.to_vec()]).await?;
        let Some(value) = slot.value else { return Ok(None) };
        let text = String::from_utf8(value.into());
        text.map(Some).map_err(|_| records::corrupt(keys::SETTING, "not UTF-8"))
    }

    pub(super) async fn make_volume(&self, volume: &NewVolume) -> Result<()> {
        let mut writes = vec![
            (keys::SETTING.to_vec(), volume.setting.clone().into_bytes().into()),
            (keys::sequence(Sequence::Inode), records::count(2)),
            (keys::sequence(Sequence::Slice), records::count(1)),
            (keys::node(Ino::ROOT), packed::encode_attr(&volume.root).into()),
        ];
        if let Some(trash) = &volume.trash {
            writes.push((keys::node(Ino::TRASH), packed::encode_attr(trash).into()));
        }
        let batch = Batch {
            checks: vec![(keys::SETTING.to_vec(), Check::Absent)],
            writes: writes.into_iter().map(|(key, value)| (key, Some(value))).collect(),
            ..Batch::default()
        };
        match self.store.commit(batch).await {
            Err(Error::Conflict) => {
                Err(Error::Engine(format!("{} holds a volume already", self.store.place())))
            }
            outcome => outcome,
        }
    }

    pub(super) async fn write_setting(
        &self,
        setting: &str,
        trash: Option<Attr>,
        reset_dir_stats: bool,
    ) -> Result<()> {
        for round in 0..TRIES {
            let [held, node] = self.slots([keys::SETTING.to_vec(), keys::node(Ino::TRASH)]).await?;
            if held.value.is_none() {
                return Err(Error::NotFormatted(
                    "the database holds no volume: run `juicefs format` first".to_owned(),
                ));
            }
            let mut batch = Batch {
                checks: vec![(held.key.clone(), Check::Present)],
                writes: vec![(held.key, Some(Bytes::copy_from_slice(setting.as_bytes())))],
                ..Batch::default()
            };
            if let Some(trash) = trash.filter(|_| node.value.is_none()) {
                batch.checks.push((node.key.clone(), node.check));
                batch.writes.push((node.key, Some(packed::encode_attr(&trash).into())));
            }
            if reset_dir_stats {
                batch.cleared.push(super::store::Range::prefix(b"U".to_vec()));
            }
            match self.store.commit(batch).await {
                Err(Error::Conflict) => pause(round).await,
                outcome => return outcome,
            }
        }
        Err(Error::Unavailable("the setting is busy".to_owned()))
    }

    /// Moves counters by amounts, whatever others do meanwhile; what they hold then.
    async fn add<const N: usize>(&self, moves: [(&str, i64, i64); N]) -> Result<[i64; N]> {
        for round in 0..TRIES {
            let slots = self.slots(moves.map(|(name, ..)| keys::counter(name))).await?;
            let mut batch = Batch::default();
            let mut values = [0; N];
            for ((slot, (_, at_first, by)), value) in slots.into_iter().zip(moves).zip(&mut values) {
                let held = slot.value.as_ref().map(|held| records::little_endian(&slot.key, held));
                *value = held.transpose()?.unwrap_or(at_first) + by;
                if by != 0 {
                    batch.checks.push((slot.key.clone(), slot.check));
                    batch.writes.push((slot.key, Some(records::count(*value))));
                }
            }
            match self.store.commit(batch).await {
                Err(Error::Conflict) => pause(round).await,
                outcome => return outcome.map(|()| values),
            }
        }
        Err(Error::Unavailable(format!("the counter {} is busy", moves[0].0)))
    }

    pub(super) async fn next_numbers(&self, sequence: Sequence, count: u64) -> Result<Range<u64>> {
        let name = sequence.counter();
        let by = i64::try_from(count.max(1));
        let by = by.map_err(|_| Error::Engine(format!("{count} numbers of {name} at once")))?;
        // Inode and slice counters hold the next free number, the others the last one used.
        let (at_first, is_next) = match sequence {
            Sequence::Inode => (2, true),
            Sequence::Slice => (1, true),
            Sequence::Session | Sequence::TrashDir => (0, false),
        };
        let [now] = self.add([(name, at_first, by)]).await?;
        let end = if is_next { now } else { now + 1 };
        Ok((end - by).cast_unsigned()..end.cast_unsigned())
    }

    pub(super) async fn win(&self, job: Job, now: i64, gap_sec: i64) -> Result<bool> {
        let [slot] = self.slots([keys::job(job)]).await?;
        let last = slot.value.as_ref().map(|value| records::big_endian(&slot.key, value)).transpose()?;
        if last.unwrap_or(0) > now - gap_sec {
            return Ok(false);
        }
        let batch = Batch {
            checks: vec![(slot.key.clone(), slot.check)],
            writes: vec![(slot.key, Some(records::seconds(now)))],
            ..Batch::default()
        };
        match self.store.commit(batch).await {
            Ok(()) => Ok(true),
            Err(Error::Conflict) => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn write_usage(&self) -> Result<()> {
        let delta = self.pending.get();
        if delta == Usage::default() {
            return Ok(());
        }
        self.add([(keys::USED_SPACE, 0, delta.space), (keys::TOTAL_INODES, 0, delta.inodes)]).await?;
        self.pending.take(delta);
        Ok(())
    }

    /// As stored.
    pub(super) async fn read_counters(&self) -> Result<Counters> {
        let fresh = Counters { next_inode: 2, next_slice: 1, ..Counters::default() }.named();
        let slots = self.slots(fresh.map(|(name, _)| keys::counter(name))).await?;
        let mut values = fresh.map(|(_, value)| value);
        for (slot, value) in slots.iter().zip(&mut values) {
            if let Some(held) = &slot.value {
                *value = records::little_endian(&slot.key, held)?;
            }
        }
        let [space, inodes, next_inode, next_slice, last_session, last_trash] = values;
        Ok(Counters {
            usage: Usage { space, inodes },
            next_inode: next_inode.cast_unsigned(),
            next_slice: next_slice.cast_unsigned(),
            last_session: last_session.cast_unsigned(),
            last_trash: last_trash.cast_unsigned(),
        })
    }

    pub(super) async fn find_foreign(&self) -> Result<Vec<&'static str>> {
        let acls = super::store::Range::prefix(b"R".to_vec());
        let ask = Ask::Range { range: acls, records_max: 1, keys_only: true };
        let found = self.read_all(&[ask]).await?;
        Ok(found.iter().filter(|found| !found.records.is_empty()).map(|_| "ACL").collect())
    }
}

async fn pause(round: u32) {
    let longest = Duration::from_millis(200);
    tokio::time::sleep(backoff::quadratic_jitter(round).min(longest)).await;
}
