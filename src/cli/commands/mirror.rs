//! `mirror`.

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use juicefs_base::ExposeSecret;
use juicefs_meta::engines;
use juicefs_meta::url::MetaUrl;
use juicefs_replication::{Follower, NewMirror, check, create, drop_mirror, status};

use super::{meta_url, say};
use crate::args::{FollowArgs, MirrorCommand};
use crate::environment::Environment;

/// How long rows that differ may need to become equal while a mirror is followed.
const CHECK_PATIENCE: Duration = Duration::from_secs(10);
/// Differences that are told one by one.
const TOLD_MAX: usize = 100;

pub(super) async fn run(command: MirrorCommand, environment: &Environment) -> anyhow::Result<ExitCode> {
    match command {
        MirrorCommand::Create { bucket: Some(_), .. } => {
            anyhow::bail!(
                "a bucket of the mirror's own is not supported yet: leave --bucket out and data is read from the source's"
            )
        }
        MirrorCommand::Create { source, mirror, name, bucket: None } => {
            let source = source_url(&source, environment)?;
            let target = engines::open(&meta_url(&mirror, environment)?).await?;
            let engine = engines::open(&source).await?;
            create(&*engine, &*target, &NewMirror { display_name: name.clone(), source }).await?;
            say(&format!("mirror {name} is made; `juicefs mirror run {mirror}` copies and follows"));
        }
        MirrorCommand::Run(args) => {
            let mut follower = open(&args, environment).await?;
            follower.run().await?;
            tracing::info!("the mirror was dropped");
        }
        MirrorCommand::Status(args) => {
            let target = engines::open(&meta_url(&args.mirror, environment)?).await?;
            let source = match source_of(&args, &*target, environment).await {
                Ok(url) => engines::open(&url).await,
                Err(error) => Err(juicefs_meta::Error::Engine(format!("{error:#}"))),
            };
            let source = match &source {
                Ok(engine) => Ok(&**engine),
                Err(error) => Err(juicefs_meta::Error::Unavailable(error.to_string())),
            };
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let now_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
            let status = status(source, &*target, now_ms).await?;
            say(&serde_json::to_string_pretty(&status).context("status")?);
        }
        MirrorCommand::Check(args) => {
            let target = engines::open(&meta_url(&args.mirror, environment)?).await?;
            let source = engines::open(&source_of(&args, &*target, environment).await?).await?;
            let differences = check(&*source, &*target, CHECK_PATIENCE).await?;
            for difference in differences.iter().take(TOLD_MAX) {
                tracing::error!(
                    "{}: source {}, mirror {}",
                    difference.row,
                    difference.source,
                    difference.mirror
                );
            }
            if !differences.is_empty() {
                anyhow::bail!(
                    "{} rows differ: is the mirror followed (`juicefs mirror status`)?",
                    differences.len()
                );
            }
            say("source and mirror are equal");
        }
        MirrorCommand::Promote(_) => anyhow::bail!("promoting a mirror is not supported yet"),
        MirrorCommand::Drop(args) => {
            let target = engines::open(&meta_url(&args.mirror, environment)?).await?;
            let record = drop_mirror(&*target).await?;
            say(&format!("mirror {} is given up; its database can be deleted", record.display_name));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn open(args: &FollowArgs, environment: &Environment) -> anyhow::Result<Follower> {
    let target = engines::open(&meta_url(&args.mirror, environment)?).await?;
    let source = engines::open(&source_of(args, &*target, environment).await?).await?;
    Ok(Follower::new(source, target).await?)
}

/// Where the source is: as said, else as the mirror's record says.
async fn source_of(
    args: &FollowArgs,
    target: &dyn juicefs_meta::port::Engine,
    environment: &Environment,
) -> anyhow::Result<MetaUrl> {
    if let Some(source) = &args.source {
        return source_url(source, environment);
    }
    let setting = target.setting().await?.ok_or(juicefs_replication::Error::NoMirror)?;
    let format = juicefs_meta::Format::parse(&setting)?;
    let record = juicefs_meta::mirror::read(target, &format).await?;
    source_url(&record.ok_or(juicefs_replication::Error::NoMirror)?.source, environment)
}

/// The source's address; its password is another one than the mirror's.
fn source_url(text: &str, environment: &Environment) -> anyhow::Result<MetaUrl> {
    let whole = MetaUrl::with_password(text, |_| environment.secret("SOURCE_META_PASSWORD"))?;
    let url = MetaUrl::parse(whole.expose_secret())?;
    tracing::info!("Source: {url}");
    Ok(url)
}
