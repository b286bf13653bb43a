//! Who a request is made for, after squashing, and with which groups.

use super::Adapter;
use crate::request::Request;
use juicefs_vfs::Caller;

impl Adapter {
    pub(super) fn caller(&self, request: &Request) -> Caller {
        let options = &self.options;
        let (uid, gid) = match (options.all_squash, options.root_squash) {
            (Some(squashed), _) => squashed,
            (None, Some(squashed)) if request.uid == 0 => squashed,
            _ => (request.uid, request.gid),
        };
        let is_squashed = (uid, gid) != (request.uid, request.gid);
        let groups =
            if options.default_permissions || is_squashed { Vec::new() } else { groups_of(request.pid) };
        Caller { uid, gid, groups, pid: request.pid, checks_permission: !options.default_permissions }
    }

    /// The groups that [`Self::caller`] leaves out where the kernel checks permissions; none for a squashed caller.
    pub(super) fn add_groups(&self, request: &Request, caller: &mut Caller) {
        if caller.groups.is_empty() && (caller.uid, caller.gid) == (request.uid, request.gid) {
            caller.groups = groups_of(request.pid);
        }
    }
}

/// Supplementary groups of a process; none when it is gone or not visible from here.
fn groups_of(pid: u32) -> Vec<u32> {
    std::fs::read_to_string(format!("/proc/{pid}/status"))
        .map(|status| parse_groups(&status))
        .unwrap_or_default()
}

fn parse_groups(status: &str) -> Vec<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Groups:"));
    line.unwrap_or_default().split_whitespace().filter_map(|group| group.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_read_from_the_status_of_a_process() {
        assert_eq!(parse_groups("Name:\tx\nGroups:\t4 24 1000 \nNStgid:\t1\n"), [4, 24, 1000]);
        assert!(parse_groups("Name:\tx\nGroups:\t\n").is_empty());
        assert!(groups_of(u32::MAX).is_empty());
    }
}
