//! NodeUnpublishVolume: the bind goes, and with the last one the kernel mount and the mount pod.

use juicefs_k8s::pod;
use kube::ResourceExt;
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::Status;

use super::{Node, blocking, table};
use crate::pb;

const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// A worker flushes what was written before it says that it closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(60);

impl Node {
    pub(super) async fn unpublish(&self, request: pb::NodeUnpublishVolumeRequest) -> Result<(), Status> {
        for (text, name) in [(&request.volume_id, "volume_id"), (&request.target_path, "target_path")] {
            if text.is_empty() {
                return Err(Status::invalid_argument(format!("{name} is missing")));
            }
        }
        let _held = self.locks.take(&request.volume_id)?;
        let target = PathBuf::from(request.target_path);
        blocking("unmounting the target", CALL_TIMEOUT, move || unbind(&target)).await?;
        self.sweep(&request.volume_id).await
    }

    /// Takes down every kernel mount of the volume that no target uses, and the pods behind them.
    async fn sweep(&self, id: &str) -> Result<(), Status> {
        let (kubelet_dir, own) = (self.settings.kubelet_dir.clone(), id.to_owned());
        let (unused, is_used) = blocking("reading the mount table", CALL_TIMEOUT, move || {
            let table = table::read()?;
            let (used, unused): (Vec<_>, Vec<_>) = table::mounts_of(&table, &kubelet_dir, &own)
                .into_iter()
                .partition(|mount| table::users_of(&table, mount, &kubelet_dir) > 0);
            let unused: Vec<PathBuf> = unused.into_iter().map(|mount| mount.mount_point.clone()).collect();
            Ok((unused, !used.is_empty()))
        })
        .await?;
        for path in unused {
            blocking("unmounting", CALL_TIMEOUT, move || take_down(&path)).await?;
        }
        if is_used {
            return Ok(());
        }
        for pod in self.pods_of(id).await? {
            let socket = pod::socket_on_host(&self.settings.kubelet_dir, &pod.uid().unwrap_or_default());
            let own = id.to_owned();
            let closed = blocking("closing", CLOSE_TIMEOUT, move || {
                let worker = u32::try_from(juicefs_k8s::POD_UID).unwrap_or(u32::MAX);
                let broker = juicefs_mount::Broker::connect(&socket, worker, CALL_TIMEOUT);
                let closed = broker.and_then(|broker| broker.close(&own, CLOSE_TIMEOUT));
                closed.map_err(|error| Status::unavailable(error.to_string()))
            });
            // The pod's own end flushes too; a worker that is gone has nothing to flush.
            if let Err(status) = closed.await {
                tracing::warn!(id, pod = pod.name_any(), "closing: {}", status.message());
            }
            self.remove_pod(&pod.name_any()).await?;
        }
        Ok(())
    }
}

/// The target goes: never recursively, and only once nothing is mounted on it.
pub(super) fn unbind(target: &Path) -> Result<(), Status> {
    let failed =
        |error: &dyn std::fmt::Display| Status::unavailable(format!("{}: {error}", target.display()));
    while table::read()?.at(target).is_some() {
        match umount2(target, MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) | Err(Errno::EINVAL) => {}
            // The kubelet calls when the containers are gone; what still holds it is a leftover.
            Err(Errno::EBUSY) => umount2(target, MntFlags::MNT_DETACH).map_err(|errno| failed(&errno))?,
            Err(errno) => return Err(failed(&errno)),
        }
    }
    match std::fs::remove_dir(target) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(&error)),
        _ => Ok(()),
    }
}

fn take_down(path: &Path) -> Result<(), Status> {
    match umount2(path, MntFlags::empty()) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(Errno::EBUSY | Errno::ENOTCONN) => umount2(path, MntFlags::MNT_DETACH)
            .map_err(|errno| Status::unavailable(format!("{}: {errno}", path.display())))?,
        Err(errno) => return Err(Status::unavailable(format!("{}: {errno}", path.display()))),
    }
    let _ = std::fs::remove_dir(path);
    Ok(())
}
