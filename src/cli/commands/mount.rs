//! `mount`, `umount` and the process of a mount pod.

use anyhow::Context;
use juicefs_base::SecretString;
use juicefs_mount::{MountSettings, UmountOptions};
use std::path::Path;
use std::process::ExitCode;

use crate::args::{MountArgs, UmountArgs, juicefs_version};
use crate::environment;

pub(super) fn mount(args: MountArgs) -> anyhow::Result<ExitCode> {
    let settings = settings(&args)?;
    if args.background {
        // Forks before any thread starts; the child's standard error becomes the file.
        let file = std::path::absolute(&args.log).context("--log")?;
        juicefs_mount::run_background(settings, &file)?;
    } else {
        juicefs_mount::run_foreground(settings)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn settings(args: &MountArgs) -> anyhow::Result<MountSettings> {
    let mut settings = MountSettings::new(SecretString::from(args.meta_url.clone()), args.mountpoint.clone());
    settings.options.version = juicefs_version().to_owned();
    settings.options.fuse_options.clone_from(&args.fuse_options);
    for (name, value) in &args.flags {
        if let Some(why) = settings.options.set(name, value)?
            && name != "no-usage-report"
        {
            tracing::warn!("--{name} has no effect: {why}");
        }
    }
    settings.secrets.access_key = environment::access_key().map(SecretString::from);
    settings.secrets.secret_key = environment::secret_key();
    settings.secrets.session_token = environment::session_token();
    settings.options.region = environment::aws_region();
    settings.make_absolute()?;
    Ok(settings)
}

pub(super) fn umount(args: &UmountArgs) -> anyhow::Result<ExitCode> {
    juicefs_mount::umount(&args.mountpoint, UmountOptions { force: args.force, flush: args.flush })?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn pod(socket: &Path, broker_uid: u32) -> anyhow::Result<ExitCode> {
    juicefs_mount::run_pod_worker(socket, broker_uid, juicefs_version())?;
    Ok(ExitCode::SUCCESS)
}
