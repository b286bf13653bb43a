//! What attributes a new node gets and what a change makes of them.

use juicefs_base::Errno;

use super::access::{WRITE, permits};
use crate::request::{NewNode, SetAttr, SetTime};
use crate::types::{Attr, Caller, Ino, Kind, Time, flags};

const SUID: u16 = 0o4000;
const SGID: u16 = 0o2000;
const GROUP_EXECUTE: u16 = 0o010;

/// Attributes of a node made by `caller` in `directory`, whose inode is `parent`.
pub(crate) fn born(caller: &Caller, parent: Ino, directory: &Attr, new: &NewNode, now: Time) -> Attr {
    let mut mode = new.mode & !new.umask & 0o7777;
    let mut gid = caller.gid;
    if directory.mode & SGID != 0 {
        gid = directory.gid;
        if new.kind == Kind::Directory {
            mode |= SGID;
        } else if mode & (SGID | GROUP_EXECUTE) == SGID | GROUP_EXECUTE
            && caller.checks_permission
            && caller.uid != 0
            && !caller.is_in_group(gid)
        {
            mode &= !SGID;
        }
    }
    let mut attr = Attr::new(new.kind, mode, caller.uid, gid, parent, now);
    attr.flags = directory.flags & flags::SKIP_TRASH;
    attr.tier = directory.tier;
    match new.kind {
        Kind::Symlink => attr.length = new.target.as_ref().map_or(0, |target| target.len() as u64),
        Kind::BlockDevice | Kind::CharDevice => attr.rdev = new.rdev,
        _ => {}
    }
    attr
}

/// The attributes after `set`, or `None` when nothing changes (then nothing is written, not even ctime).
pub(crate) fn changed(caller: &Caller, was: &Attr, set: &SetAttr, now: Time) -> Result<Option<Attr>, Errno> {
    if was.parent > Ino::TRASH {
        return Err(Errno::EPERM);
    }
    check_flags(was, set)?;
    if caller.checks_permission && caller.uid != 0 {
        check_owner(caller, was, set)?;
    }
    let mut attr = *was;
    let is_chown = set.uid.is_some() || set.gid.is_some();
    attr.uid = set.uid.unwrap_or(attr.uid);
    attr.gid = set.gid.unwrap_or(attr.gid);
    if let Some(mode) = set.mode {
        attr.mode = mode & 0o7777;
        if is_chown {
            attr.mode |= was.mode & (SUID | SGID);
        }
        let is_stranger = caller.checks_permission && caller.uid != 0 && !caller.is_in_group(attr.gid);
        if is_stranger {
            attr.mode &= !SGID;
        }
    }
    if is_chown && was.mode & (SUID | SGID) != 0 && was.kind != Kind::Directory {
        attr.mode &= !SUID;
        // Without group execution the bit means mandatory locking; root may keep it.
        if caller.uid != 0 || attr.mode & GROUP_EXECUTE != 0 {
            attr.mode &= !SGID;
        }
    }
    if set.clear_suid {
        attr.mode = without_suid(&attr);
    }
    let moment = |time: Option<SetTime>, old: Time| match time {
        None => old,
        Some(SetTime::Now) => now,
        Some(SetTime::At(time)) => time,
    };
    if let Some(wanted) = set.flags {
        attr.flags = was.flags & !flags::ALL | wanted & flags::ALL;
    }
    attr.atime = moment(set.atime, was.atime);
    attr.mtime = moment(set.mtime, was.mtime);
    attr.ctime = moment(set.ctime, was.ctime);
    if attr == *was {
        return Ok(None);
    }
    attr.ctime = moment(set.ctime, now);
    Ok(Some(attr))
}

/// The mode after somebody without privilege changed the data.
pub(crate) fn without_suid(attr: &Attr) -> u16 {
    if attr.kind == Kind::Directory {
        return attr.mode;
    }
    let sgid = if attr.mode & GROUP_EXECUTE != 0 { SGID } else { 0 };
    attr.mode & !SUID & !sgid
}

fn check_flags(was: &Attr, set: &SetAttr) -> Result<(), Errno> {
    let is_given = |time: Option<SetTime>| matches!(time, Some(SetTime::At(_)));
    let is_touch = set.atime == Some(SetTime::Now) || set.mtime == Some(SetTime::Now);
    let is_change = set.mode.is_some() || set.uid.is_some() || set.gid.is_some();
    let is_change = is_change || is_given(set.atime) || is_given(set.mtime);
    let is_refused = was.flags & flags::IMMUTABLE != 0 && (is_change || is_touch)
        || was.flags & flags::APPEND != 0 && is_change;
    if is_refused { Err(Errno::EPERM) } else { Ok(()) }
}

fn check_owner(caller: &Caller, was: &Attr, set: &SetAttr) -> Result<(), Errno> {
    let is_owner = caller.uid == was.uid;
    if set.flags.is_some_and(|wanted| !is_owner || (wanted ^ was.flags) & flags::ALL != 0) {
        return Err(Errno::EPERM);
    }
    let may_chown = set.uid.is_none_or(|uid| is_owner && uid == was.uid);
    let may_chgrp = set.gid.is_none_or(|gid| is_owner && (gid == was.gid || caller.is_in_group(gid)));
    if !may_chown || !may_chgrp || (set.mode.is_some() && !is_owner) {
        return Err(Errno::EPERM);
    }
    for time in [set.atime, set.mtime].into_iter().flatten() {
        match time {
            SetTime::At(_) if !is_owner => return Err(Errno::EPERM),
            SetTime::Now if !is_owner && !permits(caller, was, WRITE) => return Err(Errno::EACCES),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time { sec: 1000, nsec: 5 };

    fn caller(uid: u32, gid: u32) -> Caller {
        Caller { uid, gid, groups: Vec::new(), pid: 1, checks_permission: true }
    }

    fn file(mode: u16) -> Attr {
        Attr::new(Kind::File, mode, 10, 20, Ino::ROOT, Time { sec: 1, nsec: 0 })
    }

    fn chown(uid: u32) -> SetAttr {
        SetAttr { uid: Some(uid), ..SetAttr::default() }
    }

    fn chmod(mode: u16) -> SetAttr {
        SetAttr { mode: Some(mode), ..SetAttr::default() }
    }

    #[test]
    fn sgid_directories_pass_on_their_group() {
        let directory = Attr::new(Kind::Directory, 0o2777, 1, 50, Ino::ROOT, NOW);
        let child = born(&caller(10, 20), Ino(9), &directory, &NewNode::directory(0o755, 0o022), NOW);
        assert_eq!((child.gid, child.mode, child.nlink), (50, 0o2755, 2));
        let stranger = born(&caller(10, 20), Ino(9), &directory, &NewNode::file(0o2771, 0), NOW);
        assert_eq!((stranger.gid, stranger.mode), (50, 0o771));
        let member = born(&caller(10, 50), Ino(9), &directory, &NewNode::file(0o2771, 0), NOW);
        assert_eq!(member.mode, 0o2771);
        let locked = born(&caller(10, 20), Ino(9), &directory, &NewNode::file(0o2761, 0), NOW);
        assert_eq!(locked.mode, 0o2761, "without group execution sgid stays");
    }

    #[test]
    fn skip_trash_and_tier_are_inherited() {
        let mut directory = Attr::new(Kind::Directory, 0o777, 1, 1, Ino::ROOT, NOW);
        directory.flags = flags::SKIP_TRASH | flags::APPEND;
        directory.tier = 2;
        let child = born(&caller(10, 20), Ino(9), &directory, &NewNode::file(0o644, 0), NOW);
        assert_eq!((child.flags, child.tier), (flags::SKIP_TRASH, 2));
    }

    #[test]
    fn chown_takes_suid_from_files_and_keeps_it_on_directories() {
        let changed_mode =
            |caller: &Caller, was: &Attr| changed(caller, was, &chown(30), NOW).unwrap().unwrap().mode;
        let root = caller(0, 0);
        assert_eq!(changed_mode(&root, &file(0o6755)), 0o755);
        assert_eq!(changed_mode(&root, &file(0o6745)), 0o2745, "no group execution: sgid stays for root");
        let directory = Attr { kind: Kind::Directory, ..file(0o6755) };
        assert_eq!(changed_mode(&root, &directory), 0o6755);
        let owner = Caller { groups: vec![21], ..caller(10, 20) };
        let to_group = SetAttr { gid: Some(21), ..SetAttr::default() };
        let attr = changed(&owner, &file(0o6745), &to_group, NOW).unwrap().unwrap();
        assert_eq!((attr.mode, attr.gid, attr.ctime), (0o745, 21, NOW));
    }

    #[test]
    fn only_the_owner_changes_the_mode_and_only_root_the_owner() {
        assert_eq!(changed(&caller(11, 20), &file(0o644), &chmod(0o600), NOW), Err(Errno::EPERM));
        assert_eq!(changed(&caller(10, 20), &file(0o644), &chown(11), NOW), Err(Errno::EPERM));
        let to_group = SetAttr { gid: Some(99), ..SetAttr::default() };
        assert_eq!(changed(&caller(10, 20), &file(0o644), &to_group, NOW), Err(Errno::EPERM));
        let attr = changed(&caller(10, 99), &file(0o644), &chmod(0o2755), NOW).unwrap().unwrap();
        assert_eq!(attr.mode, 0o755, "sgid of a foreign group is dropped");
    }

    #[test]
    fn nothing_changed_writes_nothing() {
        assert_eq!(changed(&caller(10, 20), &file(0o644), &chmod(0o644), NOW), Ok(None));
    }

    #[test]
    fn a_writer_may_touch_but_not_set_times() {
        let touch = SetAttr { mtime: Some(SetTime::Now), ..SetAttr::default() };
        let given = SetAttr { mtime: Some(SetTime::At(Time { sec: 3, nsec: 0 })), ..SetAttr::default() };
        let writer = caller(11, 20);
        let attr = changed(&writer, &file(0o664), &touch, NOW).unwrap().unwrap();
        assert_eq!((attr.mtime, attr.ctime), (NOW, NOW));
        assert_eq!(changed(&writer, &file(0o664), &given, NOW), Err(Errno::EPERM));
        assert_eq!(changed(&writer, &file(0o644), &touch, NOW), Err(Errno::EACCES));
        let attr = changed(&caller(10, 20), &file(0o644), &given, NOW).unwrap().unwrap();
        assert_eq!((attr.mtime.sec, attr.ctime), (3, NOW));
    }

    #[test]
    fn trash_and_immutable_nodes_do_not_change() {
        let trashed = Attr { parent: Ino(Ino::TRASH.0 + 1), ..file(0o644) };
        assert_eq!(changed(&caller(0, 0), &trashed, &chmod(0), NOW), Err(Errno::EPERM));
        let immutable = Attr { flags: flags::IMMUTABLE, ..file(0o644) };
        assert_eq!(changed(&caller(0, 0), &immutable, &chmod(0), NOW), Err(Errno::EPERM));
        let append = Attr { flags: flags::APPEND, ..file(0o644) };
        let touch = SetAttr { mtime: Some(SetTime::Now), ..SetAttr::default() };
        assert!(changed(&caller(0, 0), &append, &touch, NOW).is_ok());
    }

    #[test]
    fn only_root_changes_flags_and_those_of_other_systems_stay() {
        let set = |wanted| SetAttr { flags: Some(wanted), ..SetAttr::default() };
        let was = Attr { flags: flags::SKIP_TRASH | 8, ..file(0o644) };
        let now = changed(&caller(0, 0), &was, &set(flags::IMMUTABLE), NOW).unwrap().unwrap();
        assert_eq!((now.flags, now.ctime), (flags::IMMUTABLE | 8, NOW));
        assert_eq!(changed(&caller(0, 0), &now, &set(0), NOW).unwrap().unwrap().flags, 8);
        let owner = caller(10, 20);
        for wanted in [0, flags::APPEND, flags::SKIP_TRASH | flags::APPEND] {
            assert_eq!(changed(&owner, &was, &set(wanted), NOW), Err(Errno::EPERM));
        }
        assert_eq!(changed(&owner, &was, &set(flags::SKIP_TRASH), NOW), Ok(None));
        assert_eq!(changed(&caller(11, 20), &was, &set(flags::SKIP_TRASH), NOW), Err(Errno::EPERM));
    }

    #[test]
    fn a_write_by_somebody_else_clears_suid() {
        assert_eq!(without_suid(&file(0o6755)), 0o755);
        assert_eq!(without_suid(&file(0o6745)), 0o2745);
        let set = SetAttr { clear_suid: true, ..SetAttr::default() };
        assert_eq!(changed(&caller(0, 0), &file(0o4755), &set, NOW).unwrap().unwrap().mode, 0o755);
    }
}
