//! A volume without the command line: `trial format META DIRECTORY NAME`, `trial mount [-d LOG] META MOUNTPOINT
//! CACHE`, `trial umount [-f] MOUNTPOINT`, `trial pod SOCKET`. For trials by hand and for tests.
#![expect(clippy::print_stderr, reason = "a program for the terminal")]

use juicefs_base::SecretString;
use juicefs_meta::port::NewVolume;
use juicefs_meta::{Attr, Format, Ino, Kind, MetaUrl, Time};
use juicefs_mount::{MountSettings, UmountOptions};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let filter = std::env::var("TRIAL_LOG").unwrap_or_else(|_| "info".to_owned());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        ["format", meta, directory, name] => format(meta, directory, name),
        ["mount", "-d", log, meta, mountpoint, cache] => {
            juicefs_mount::run_background(settings(meta, mountpoint, cache), Path::new(log))
        }
        ["mount", meta, mountpoint, cache] => {
            juicefs_mount::run_foreground(settings(meta, mountpoint, cache))
        }
        ["umount", mountpoint] => juicefs_mount::umount(Path::new(mountpoint), UmountOptions::default()),
        ["umount", "-f", mountpoint] => {
            juicefs_mount::umount(Path::new(mountpoint), UmountOptions { force: true, flush: false })
        }
        ["pod", socket] => juicefs_mount::run_mount_pod(Path::new(socket), &["worker".into()]),
        ["worker"] => juicefs_mount::run_pod_worker(nix::unistd::getuid().as_raw(), "trial"),
        _ => {
            eprintln!("usage: see the head of trial.rs");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn settings(meta: &str, mountpoint: &str, cache: &str) -> MountSettings {
    let mut settings = MountSettings::new(SecretString::from(meta), mountpoint);
    settings.options.cache_dirs = vec![PathBuf::from(cache)];
    settings
}

fn format(meta: &str, directory: &str, name: &str) -> juicefs_mount::Result<()> {
    let mut format = Format::new(name);
    format.bucket = format!("{}/", directory.trim_end_matches('/'));
    format.trash_days = 0;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let now = Time { sec: i64::try_from(now.as_secs()).unwrap_or_default(), nsec: 0 };
    let root = Attr::new(Kind::Directory, 0o777, 0, 0, Ino::ROOT, now);
    let volume = NewVolume { setting: format.to_text(), root, trash: None };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| juicefs_mount::Error::Io { what: "runtime".to_owned(), source })?;
    runtime.block_on(async {
        let engine = juicefs_meta::engines::open(&MetaUrl::parse(meta)?).await?;
        engine.create_volume(&volume).await?;
        Ok(())
    })
}
