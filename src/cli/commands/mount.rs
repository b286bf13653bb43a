//! `mount`, `umount` and the process of a mount pod.

use anyhow::Context;
use juicefs_base::ExposeSecret;
use juicefs_mount::{MountSettings, UmountOptions};
use std::path::Path;
use std::process::ExitCode;

use crate::args::{MountArgs, UmountArgs, juicefs_version};
use crate::environment::{self, Environment};

pub(super) fn mount(args: MountArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let settings = settings(&args, environment)?;
    if settings.options.update_fstab {
        // A path is written in full; a password comes from the environment at boot too.
        let whole = settings.secrets.meta_url.expose_secret();
        let is_file = whole.starts_with("sqlite");
        super::fstab::update(&args, if is_file { whole } else { &args.meta_url }, &settings.options);
    }
    if args.background {
        // Forks before any thread starts; the child's standard error becomes the file.
        let log = args.log.unwrap_or_else(juicefs_mount::default_log);
        let file = std::path::absolute(&log).context("--log")?;
        juicefs_mount::run_background(settings, &file)?;
    } else {
        juicefs_mount::run_foreground(settings)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn settings(args: &MountArgs, environment: &Environment) -> anyhow::Result<MountSettings> {
    let meta_url = super::whole_meta_url(&args.meta_url, environment)?;
    let mut settings = MountSettings::new(meta_url, args.mountpoint.clone());
    settings.options.version = juicefs_version().to_owned();
    settings.options.makes_subdir = true;
    settings.options.fuse_options.clone_from(&args.fuse_options);
    for (name, value) in &args.flags {
        if let Some(why) = settings.options.set(name, value)?
            && name != "no-usage-report"
        {
            tracing::warn!("--{name} has no effect: {why}");
        }
    }
    settings.secrets.access_key = environment.secret("ACCESS_KEY");
    settings.secrets.secret_key = environment.secret("SECRET_KEY");
    settings.secrets.session_token = environment.secret("SESSION_TOKEN");
    settings.secrets.variables = environment.store_variables();
    settings.options.region = environment::aws_region();
    settings.make_absolute()?;
    Ok(settings)
}

pub(super) fn umount(args: &UmountArgs) -> anyhow::Result<ExitCode> {
    juicefs_mount::umount(&args.mountpoint, UmountOptions { force: args.force, flush: args.flush })?;
    Ok(ExitCode::SUCCESS)
}

/// The first process of a mount pod; the one that serves gets its words and one more.
pub(super) fn pod(socket: &Path) -> anyhow::Result<ExitCode> {
    let words: Vec<_> = std::env::args_os().skip(1).chain(["--worker".into()]).collect();
    juicefs_mount::run_mount_pod(socket, &words)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn pod_worker(broker_uid: u32) -> anyhow::Result<ExitCode> {
    juicefs_mount::run_pod_worker(broker_uid, juicefs_version())?;
    Ok(ExitCode::SUCCESS)
}
