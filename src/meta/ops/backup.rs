//! Whose turn it is to back up the metadata. The moment of the last backup stands in an extended attribute of the root,
//! as RFC 3339, where every client of the volume looks (format 7.6).

use bytes::Bytes;
use jiff::Timestamp;
use juicefs_base::Errno;
use std::time::Duration;

use crate::change_log::Entry;
use crate::error::Result;
use crate::meta::Meta;
use crate::port::{Change, Hold};
use crate::txn::{Operation, Txn, XattrOf};
use crate::types::{Ino, Time};

const LAST_BACKUP: &[u8] = b"lastBackup";

impl Meta {
    /// True for the one client that may back up now: nobody did within `interval`.
    ///
    /// # Errors
    /// EROFS, or as the engine's.
    pub async fn claim_backup(&self, interval: Duration) -> Result<bool> {
        self.check_writable()?;
        let (last,) = self.peek((XattrOf(Ino::ROOT, &Bytes::from_static(LAST_BACKUP), Hold::Peek),)).await?;
        // Most clients lose most claims: look before holding anything.
        if !is_due(last.as_deref(), Time::now().sec, interval) {
            return Ok(false);
        }
        self.transact(&ClaimBackup { interval }).await
    }
}

/// What can't be read is no backup.
fn is_due(last: Option<&[u8]>, now_sec: i64, interval: Duration) -> bool {
    let last = last.and_then(|text| std::str::from_utf8(text).ok()?.parse::<Timestamp>().ok());
    let interval_sec = i64::try_from(interval.as_secs()).unwrap_or(i64::MAX);
    last.is_none_or(|last| now_sec.saturating_sub(last.as_second()) >= interval_sec)
}

struct ClaimBackup {
    interval: Duration,
}

impl Operation for ClaimBackup {
    type Output = bool;
    const NAME: &'static str = "setxattr";
    const FLUSHES: u32 = 2;

    fn contends_on(&self) -> [Option<Ino>; 2] {
        [Some(Ino::ROOT), None]
    }

    async fn run(&self, txn: &mut Txn<'_>) -> Result<bool> {
        let (ino, name) = (Ino::ROOT, Bytes::from_static(LAST_BACKUP));
        let (last,) = txn.read((XattrOf(ino, &name, Hold::Update),)).await?;
        let now = txn.now().sec;
        if !is_due(last.as_deref(), now, self.interval) {
            return Ok(false);
        }
        let value = Timestamp::from_second(now).map_err(|_| Errno::EINVAL)?.to_string();
        let value = Bytes::from(value);
        txn.log(&Entry::SetXattr { ino, name: &name, value: &value, flags: 0 });
        txn.change(Change::SetXattr { ino, name, value });
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_is_due_after_its_interval() {
        let hour = Duration::from_secs(3600);
        let now = "2026-11-25T12:00:00Z".parse::<Timestamp>().expect("a time").as_second();
        for (last, due) in [
            (None, true),
            (Some(&b"2026-11-25T11:00:00Z"[..]), true),
            (Some(b"2026-11-25T11:00:01Z"), false),
            // As a peer in another time zone writes it.
            (Some(b"2026-11-25T12:30:00+01:00"), false),
            (Some(b"2026-11-25T12:00:00+01:00"), true),
            (Some(b"2026-11-25T13:00:00Z"), false),
            (Some(b"yesterday"), true),
            (Some(b"\xff"), true),
        ] {
            assert_eq!(is_due(last, now, hour), due, "{last:?}");
        }
    }
}
