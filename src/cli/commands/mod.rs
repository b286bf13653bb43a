//! One file per command: settings in, one call, words out.

mod bench;
mod changelog;
mod config;
mod csi;
mod destroy;
mod dump;
mod format;
mod fstab;
mod kubernetes;
mod mirror;
mod mount;
mod profile;
mod quota;
mod report;
mod restore;
mod stats;
mod status;
mod tools;
mod warmup;

use anyhow::Context;
use juicefs_base::log::{self, LogSettings};
use juicefs_base::{ExposeSecret, SecretString};
use juicefs_meta::url::MetaUrl;
use juicefs_object::RetryPolicy;
use juicefs_volume::StorageAccess;
use std::future::Future;
use std::process::ExitCode;

use crate::args::{Cli, Command, GlobalArgs};
use crate::environment::{self, Environment};

pub(crate) fn run(cli: Cli, environment: &Environment) -> anyhow::Result<ExitCode> {
    let settings = log_settings(&cli.global);
    log::init(&settings, None).context("standard error")?;
    if let Some(cause) = &environment.shown_because {
        tracing::warn!("secrets of the environment and of the arguments can be seen in /proc: {cause}");
    }
    match cli.command {
        Command::Format(args) => wait(format::run(args, environment)),
        Command::Config(args) => wait(config::run(args, environment)),
        Command::Changelog(args) => wait(changelog::run(args, environment)),
        Command::Status(args) => wait(status::run(args, environment)),
        Command::Gc(args) => wait(report::gc(args, environment)),
        Command::Heal(args) => wait(report::heal(args, environment)),
        Command::Fsck(args) => wait(report::fsck(args, environment)),
        Command::Mirror(command) => wait(mirror::run(command, environment)),
        Command::Mount(args) => mount::mount(args, environment),
        Command::Destroy(args) => wait(destroy::run(args, environment)),
        Command::Dump(args) => wait(dump::dump(args, environment)),
        Command::Load(args) => wait(dump::load(args, environment)),
        Command::Quota(args) => wait(quota::run(args, environment)),
        Command::Restore(args) => wait(restore::run(args, environment)),
        Command::Compact(args) => tools::compact(&args),
        Command::Info(args) => tools::info(&args),
        Command::Rmr(args) => tools::rmr(&args),
        Command::Summary(args) => tools::summary(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Stats(args) => stats::run(&args),
        Command::Profile(args) => profile::run(&args),
        Command::Warmup(args) => warmup::run(&args),
        Command::Umount(args) => mount::umount(&args),
        Command::Operator(args) => wait(kubernetes::operator(args)),
        Command::FormatJob(args) => wait(kubernetes::format_job(args)),
        Command::MirrorFollower(args) => wait(kubernetes::mirror_follower(args)),
        Command::Crds => Ok(kubernetes::crds()),
        Command::MountPod { broker_uid, worker: true, .. } => mount::pod_worker(broker_uid),
        Command::MountPod { socket, .. } => mount::pod(&socket),
        Command::Csi(role) => wait(csi::run(role)),
        Command::Version => {
            version();
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// `version` and `--version`.
pub(crate) fn version() {
    say(&format!("juicefs version {}", crate::args::juicefs_version()));
}

fn log_settings(global: &GlobalArgs) -> LogSettings {
    let verbosity = if global.quiet { -1 } else { i8::from(global.verbose).max(2 * i8::from(global.trace)) };
    let tag = match global.log_id.as_deref() {
        None | Some("") => String::new(),
        Some("random") => format!("{:08x} ", std::process::id().wrapping_mul(0x9E37_79B1)),
        Some(id) => format!("{id} "),
    };
    LogSettings { verbosity, tag }
}

/// Drives one command to its end.
fn wait(command: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("the runtime did not start")?;
    runtime.block_on(command)
}

/// The engine's address with the password that the environment may hold for it.
fn whole_meta_url(text: &str, environment: &Environment) -> anyhow::Result<SecretString> {
    Ok(MetaUrl::with_password(text, |name| environment.secret(name))?)
}

/// The engine's address, logged without its password.
fn meta_url(text: &str, environment: &Environment) -> anyhow::Result<MetaUrl> {
    let url = MetaUrl::parse(whole_meta_url(text, environment)?.expose_secret())?;
    tracing::info!("Meta address: {url}");
    Ok(url)
}

fn storage_access(environment: &Environment) -> StorageAccess {
    // A command a person waits for gives up sooner than a mount does.
    let patience = std::time::Duration::from_secs(20);
    let retry = RetryPolicy { retries: 1, get_timeout: patience, put_timeout: patience };
    StorageAccess {
        region: environment::aws_region(),
        variables: environment.store_variables(),
        retry,
        ..StorageAccess::default()
    }
}

/// What a command was asked for, on standard output.
#[expect(clippy::print_stdout, reason = "the answer of a command")]
fn say(text: &str) {
    println!("{text}");
}
