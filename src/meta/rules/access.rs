//! Who may do what.

use juicefs_base::Errno;

use crate::types::{Attr, Caller, Kind, flags};

pub(crate) const EXECUTE: u8 = 1;
pub(crate) const WRITE: u8 = 2;
pub(crate) const READ: u8 = 4;

/// Whether the mode grants all of `mask`.
pub(crate) fn permits(caller: &Caller, attr: &Attr, mask: u8) -> bool {
    if caller.uid == 0 {
        return mask & EXECUTE == 0 || attr.kind == Kind::Directory || attr.mode & 0o111 != 0;
    }
    let shift = if caller.uid == attr.uid {
        6
    } else if caller.is_in_group(attr.gid) {
        3
    } else {
        0
    };
    let granted = (attr.mode >> shift) & 7;
    u16::from(mask) & !granted == 0
}

/// [`permits`] for callers that nobody has checked yet.
pub(crate) fn check(caller: &Caller, attr: &Attr, mask: u8) -> Result<(), Errno> {
    if !caller.checks_permission || permits(caller, attr, mask) { Ok(()) } else { Err(Errno::EACCES) }
}

/// Whether a name may be added to a directory.
pub(crate) fn check_add(caller: &Caller, directory: &Attr) -> Result<(), Errno> {
    check(caller, directory, WRITE | EXECUTE)?;
    if directory.flags & flags::IMMUTABLE != 0 { Err(Errno::EPERM) } else { Ok(()) }
}

/// Whether a name may be taken from a directory; `node` is what it names.
pub(crate) fn check_remove(caller: &Caller, directory: &Attr, node: &Attr) -> Result<(), Errno> {
    check(caller, directory, WRITE | EXECUTE)?;
    if (directory.flags | node.flags) & (flags::IMMUTABLE | flags::APPEND) != 0 {
        return Err(Errno::EPERM);
    }
    check_sticky(caller, directory, node)
}

/// Whether an extended attribute may be read or written: `user.` like the node's data, on files and directories; the
/// other namespaces are root's. Immutable and append-only nodes keep theirs, whoever has checked the caller.
pub(crate) fn check_xattr(caller: &Caller, attr: &Attr, name: &[u8], mask: u8) -> Result<(), Errno> {
    let is_write = mask == WRITE;
    if is_write && attr.flags & (flags::IMMUTABLE | flags::APPEND) != 0 {
        return Err(Errno::EPERM);
    }
    if !caller.checks_permission {
        return Ok(());
    }
    let denied = if is_write { Errno::EPERM } else { Errno::ENODATA };
    if !name.starts_with(b"user.") {
        let is_free = caller.uid == 0 || (!is_write && name.starts_with(b"security."));
        return if is_free { Ok(()) } else { Err(denied) };
    }
    if !matches!(attr.kind, Kind::File | Kind::Directory) {
        return Err(denied);
    }
    let is_foreign = attr.kind == Kind::Directory && attr.mode & 0o1000 != 0 && caller.uid != attr.uid;
    if is_write && is_foreign && caller.uid != 0 {
        return Err(denied);
    }
    check(caller, attr, mask)
}

/// In a sticky directory only root and the owners of directory and node may take the name away. The kernel's
/// own check may be older than the directory's mode, so it is done for every caller.
fn check_sticky(caller: &Caller, directory: &Attr, node: &Attr) -> Result<(), Errno> {
    let is_bound = directory.mode & 0o1000 != 0 && caller.uid != 0;
    if is_bound && caller.uid != directory.uid && caller.uid != node.uid {
        Err(Errno::EACCES)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Ino, Time};

    fn caller(uid: u32, gid: u32, groups: &[u32]) -> Caller {
        Caller { uid, gid, groups: groups.to_vec(), pid: 1, checks_permission: true }
    }

    fn attr(kind: Kind, mode: u16, uid: u32, gid: u32) -> Attr {
        Attr::new(kind, mode, uid, gid, Ino::ROOT, Time::default())
    }

    #[test]
    fn the_first_matching_class_decides_alone() {
        let file = attr(Kind::File, 0o074, 10, 20);
        assert!(!permits(&caller(10, 20, &[]), &file, READ), "the owner, though in the group");
        assert!(permits(&caller(11, 20, &[]), &file, READ | WRITE | EXECUTE));
        assert!(permits(&caller(11, 5, &[20]), &file, WRITE), "a supplementary group");
        assert!(permits(&caller(11, 5, &[]), &file, READ));
        assert!(!permits(&caller(11, 5, &[]), &file, READ | WRITE));
    }

    #[test]
    fn root_may_all_but_execute_what_nobody_may() {
        let root = caller(0, 0, &[]);
        assert!(permits(&root, &attr(Kind::File, 0, 1, 1), READ | WRITE));
        assert!(!permits(&root, &attr(Kind::File, 0o644, 1, 1), EXECUTE));
        assert!(permits(&root, &attr(Kind::File, 0o010, 1, 1), EXECUTE));
        assert!(permits(&root, &attr(Kind::Directory, 0, 1, 1), EXECUTE));
    }

    #[test]
    fn sticky_directories_keep_what_belongs_to_others() {
        let directory = attr(Kind::Directory, 0o1777, 10, 10);
        let file = attr(Kind::File, 0o666, 11, 11);
        assert_eq!(check_remove(&caller(12, 12, &[]), &directory, &file), Err(Errno::EACCES));
        for uid in [0, 10, 11] {
            assert_eq!(check_remove(&caller(uid, 12, &[]), &directory, &file), Ok(()));
        }
        let unchecked = Caller { checks_permission: false, ..caller(12, 12, &[]) };
        assert_eq!(check_remove(&unchecked, &directory, &file), Err(Errno::EACCES));
    }

    #[test]
    fn user_attributes_follow_the_mode_and_the_others_are_roots() {
        let (owner, other) = (caller(10, 10, &[]), caller(11, 11, &[]));
        let file = attr(Kind::File, 0o640, 10, 10);
        assert_eq!(check_xattr(&owner, &file, b"user.a", WRITE), Ok(()));
        assert_eq!(check_xattr(&other, &file, b"user.a", READ), Err(Errno::EACCES));
        assert_eq!(check_xattr(&owner, &file, b"trusted.a", WRITE), Err(Errno::EPERM));
        assert_eq!(check_xattr(&owner, &file, b"trusted.a", READ), Err(Errno::ENODATA));
        assert_eq!(check_xattr(&caller(0, 0, &[]), &file, b"trusted.a", WRITE), Ok(()));
        let link = attr(Kind::Symlink, 0o777, 10, 10);
        assert_eq!(check_xattr(&owner, &link, b"user.a", WRITE), Err(Errno::EPERM));
        let shared = attr(Kind::Directory, 0o1777, 0, 0);
        assert_eq!(check_xattr(&owner, &shared, b"user.a", WRITE), Err(Errno::EPERM));
        let unchecked = Caller { checks_permission: false, ..other };
        assert_eq!(check_xattr(&unchecked, &file, b"trusted.a", WRITE), Ok(()), "the kernel has looked");
        let frozen = Attr { flags: flags::IMMUTABLE, ..file };
        assert_eq!(check_xattr(&unchecked, &frozen, b"user.a", WRITE), Err(Errno::EPERM));
    }

    #[test]
    fn immutable_and_append_only_nodes_keep_their_names() {
        let mut directory = attr(Kind::Directory, 0o777, 0, 0);
        let mut file = attr(Kind::File, 0o666, 0, 0);
        let root = caller(0, 0, &[]);
        file.flags = flags::APPEND;
        assert_eq!(check_remove(&root, &directory, &file), Err(Errno::EPERM));
        file.flags = 0;
        directory.flags = flags::APPEND;
        assert_eq!(check_remove(&root, &directory, &file), Err(Errno::EPERM));
        assert_eq!(check_add(&root, &directory), Ok(()), "append-only directories grow");
        directory.flags = flags::IMMUTABLE;
        assert_eq!(check_add(&root, &directory), Err(Errno::EPERM));
    }
}
