//! The kernel's mount table as the plugin reads it: which mounts of a volume there are, and who uses them.

use juicefs_mount::mountinfo::{MountEntry, Mountinfo};
use nix::mount::MsFlags;
use std::path::{Path, PathBuf};
use tonic::Status;

/// Where kernel mounts of this driver lie.
pub(crate) fn mounts_dir(kubelet_dir: &Path) -> PathBuf {
    kubelet_dir.join("plugins").join(juicefs_k8s::DRIVER_NAME).join("mnt")
}

/// A volume's mount for one generation (a mount pod's UID) of its mount process.
pub(crate) fn mount_path(kubelet_dir: &Path, id: &str, generation: &str) -> PathBuf {
    let generation = generation.split('-').next().unwrap_or(generation);
    mounts_dir(kubelet_dir).join(format!("{}-{generation}", safe_name(id)))
}

/// An id as one path component.
fn safe_name(id: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if id.len() <= 128 && id.bytes().all(is_plain) && !id.starts_with('.') {
        return id.to_owned();
    }
    juicefs_k8s::name::hash_of(&[id], 40)
}

pub(crate) fn read() -> Result<Mountinfo, Status> {
    Mountinfo::read().map_err(|error| Status::internal(format!("/proc/self/mountinfo: {error}")))
}

/// Kernel mounts of the volume `id`, of any generation.
pub(crate) fn mounts_of<'a>(table: &'a Mountinfo, kubelet_dir: &Path, id: &str) -> Vec<&'a MountEntry> {
    let folder = mounts_dir(kubelet_dir);
    let prefix = format!("{}-", safe_name(id));
    let is_of = |entry: &&MountEntry| {
        entry.mount_point.parent() == Some(&*folder)
            && entry.mount_point.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
                // A generation is eight digits of a UID, so another id that begins with this one does not match.
                name.strip_prefix(&prefix).is_some_and(|rest| rest.len() == 8 && !rest.contains('-'))
            })
    };
    table.iter().filter(is_of).collect()
}

/// The flags of a mount that a bind of it keeps.
pub(crate) fn flags_of(mount: &MountEntry) -> MsFlags {
    let flag = |word| match word {
        "noexec" => MsFlags::MS_NOEXEC,
        "noatime" => MsFlags::MS_NOATIME,
        "nodiratime" => MsFlags::MS_NODIRATIME,
        "ro" => MsFlags::MS_RDONLY,
        _ => MsFlags::empty(),
    };
    mount.options.split(',').map(flag).collect()
}

/// Targets bound to a kernel mount: every other mount of its device.
pub(crate) fn users_of(table: &Mountinfo, mount: &MountEntry, kubelet_dir: &Path) -> usize {
    let folder = mounts_dir(kubelet_dir);
    table.of_device(mount.major, mount.minor).filter(|entry| !entry.mount_point.starts_with(&folder)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
31 30 0:50 / /k/plugins/csi.juicefs.com/mnt/pvc-1-0a1b2c3d rw - fuse.juicefs JuiceFS:a rw
32 30 0:50 / /k/pods/u1/volumes/kubernetes.io~csi/pvc-1/mount rw - fuse.juicefs JuiceFS:a rw
33 30 0:51 / /k/plugins/csi.juicefs.com/mnt/pvc-1-2-0a1b2c3d rw - fuse.juicefs JuiceFS:a rw
34 30 0:52 / /k/pods/u2/volumes/x rw - tmpfs tmpfs rw
";

    #[test]
    fn users_are_other_mounts_of_the_same_device() {
        let table = Mountinfo::parse(TABLE.as_bytes());
        let kubelet = Path::new("/k");
        let mounts = mounts_of(&table, kubelet, "pvc-1");
        assert_eq!(mounts.len(), 1);
        assert_eq!(users_of(&table, mounts[0], kubelet), 1);
        let other = mounts_of(&table, kubelet, "pvc-1-2");
        assert_eq!((other.len(), users_of(&table, other[0], kubelet)), (1, 0));
        assert!(mounts_of(&table, kubelet, "pvc").is_empty());
    }

    #[test]
    fn a_bind_keeps_the_flags_of_its_mount() {
        let text = "31 30 0:50 / /m rw,nosuid,nodev,noexec,noatime - fuse.juicefs JuiceFS:a rw\n";
        let table = Mountinfo::parse(text.as_bytes());
        let mount = table.at(Path::new("/m")).expect("mounted");
        assert_eq!(flags_of(mount), MsFlags::MS_NOEXEC | MsFlags::MS_NOATIME);
    }

    #[test]
    fn an_id_is_one_component() {
        let path = mount_path(Path::new("/k"), "a/../b", "0a1b2c3d-1111");
        assert_eq!(path.parent(), Some(&*mounts_dir(Path::new("/k"))));
        assert_eq!(
            mount_path(Path::new("/k"), "pvc-1", "0a1b2c3d-1111"),
            mounts_dir(Path::new("/k")).join("pvc-1-0a1b2c3d")
        );
    }
}
