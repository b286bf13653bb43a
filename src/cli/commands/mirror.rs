//! `mirror`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use juicefs_base::{ExposeSecret, SecretString};
use juicefs_meta::Time;
use juicefs_meta::port::Engine;
use juicefs_meta::url::MetaUrl;
use juicefs_meta::{Format, engines, mirror};
use juicefs_object::{Bandwidth, Store, Throttled};
use juicefs_replication::{
    BlockCopier, Difference, Fencing, Follower, NewMirror, OwnBucket, Promotion, SampleReport, check,
    check_blocks, create, drop_mirror, promote, status,
};

use super::{meta_url, say, storage_access};
use crate::args::{CheckArgs, CreateArgs, FollowArgs, MirrorCommand, PromoteArgs};
use crate::environment::Environment;

/// How long rows that differ may need to become equal while a mirror is followed.
const CHECK_PATIENCE: Duration = Duration::from_secs(10);
/// Blocks that a promotion brings at the same time.
const COPIED_AT_ONCE: usize = 16;
/// Differences that are told one by one.
const TOLD_MAX: usize = 100;

pub(super) async fn run(command: MirrorCommand, environment: &Environment) -> anyhow::Result<ExitCode> {
    match command {
        MirrorCommand::Create(args) => make(&args, environment).await?,
        MirrorCommand::Run(args) => {
            let target = engines::open(&meta_url(&args.follow.mirror, environment)?).await?;
            let source = engines::open(&source_of(&args.follow, &*target, environment).await?).await?;
            let copier = copier(&*target, environment, args.threads, args.download_limit).await?;
            Follower::new(source, target, copier).await?.run().await?;
            tracing::info!("the mirror was dropped or promoted");
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
            let status = status(source, &*target, Time::now().unix_ms()).await?;
            say(&serde_json::to_string_pretty(&status).context("status")?);
        }
        MirrorCommand::Check(args) => compare(&args, environment).await?,
        MirrorCommand::Promote(args) => become_a_volume(&args, environment).await?,
        MirrorCommand::Drop(args) => {
            let target = engines::open(&meta_url(&args.mirror, environment)?).await?;
            let record = drop_mirror(&*target).await?;
            say(&format!("mirror {} is given up; its database can be deleted", record.display_name));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn make(args: &CreateArgs, environment: &Environment) -> anyhow::Result<()> {
    let source = source_url(&args.source, environment)?;
    let target = engines::open(&meta_url(&args.mirror, environment)?).await?;
    let engine = engines::open(&source).await?;
    let bucket = match &args.bucket {
        Some(bucket) => Some(own_bucket(args, bucket, &*engine, environment).await?),
        None => None,
    };
    let new = NewMirror { display_name: args.name.clone(), source, bucket, rejoins: args.rejoin };
    create(&*engine, &*target, &new).await?;
    say(&format!("mirror {} is made; `juicefs mirror run {}` copies and follows", args.name, args.mirror));
    Ok(())
}

/// The bucket of a mirror, and how it reads the source's.
async fn own_bucket(
    args: &CreateArgs,
    bucket: &str,
    source: &dyn Engine,
    environment: &Environment,
) -> anyhow::Result<OwnBucket> {
    let open = juicefs_volume::load_format(source).await?.decrypted()?;
    let key = |flag: &Option<String>, name| {
        flag.clone().or_else(|| environment.secret(name).map(|key| key.expose_secret().to_owned()))
    };
    let setting = Format {
        storage: args.storage.clone().unwrap_or_else(|| open.storage.clone()),
        bucket: absolute(args.storage.as_deref().unwrap_or(&open.storage), bucket)?,
        access_key: key(&args.access_key, "ACCESS_KEY").unwrap_or_default(),
        secret_key: args.secret_key.clone().or_else(|| environment.secret("SECRET_KEY")).unwrap_or_default(),
        session_token: SecretString::default(),
        shards: 0,
        ..open.clone()
    };
    let source_setting = key(&args.source_access_key, "SOURCE_ACCESS_KEY").map(|access_key| Format {
        access_key,
        secret_key: args
            .source_secret_key
            .clone()
            .or_else(|| environment.secret("SOURCE_SECRET_KEY"))
            .unwrap_or_default(),
        session_token: SecretString::default(),
        ..open.clone()
    });
    let near = stored_bytes(&setting, environment).await?;
    let far = stored_bytes(source_setting.as_ref().unwrap_or(&open), environment).await?;
    Ok(OwnBucket { setting, source_setting, is_data_first: args.data_first, near, far })
}

/// As `format` takes a directory.
fn absolute(storage: &str, bucket: &str) -> anyhow::Result<String> {
    if storage != "file" {
        return Ok(bucket.to_owned());
    }
    let path = std::path::absolute(bucket).with_context(|| format!("--bucket {bucket}"))?;
    let path = path.to_string_lossy();
    Ok(if path.ends_with('/') { path.into_owned() } else { format!("{path}/") })
}

/// A store whose objects are neither opened nor sealed.
async fn stored_bytes(setting: &Format, environment: &Environment) -> anyhow::Result<Arc<dyn Store>> {
    let setting = Format { encrypt_key: SecretString::default(), ..setting.clone() };
    Ok(juicefs_volume::open_store(&setting, &storage_access(environment)).await?)
}

/// What brings blocks to a mirror with a bucket of its own; nothing for another one.
async fn copier(
    target: &dyn Engine,
    environment: &Environment,
    at_once: usize,
    download_mbps: u32,
) -> anyhow::Result<Option<Arc<BlockCopier>>> {
    let text = target.setting().await?.ok_or(juicefs_replication::Error::NoMirror)?;
    let format = Format::parse(&text)?;
    let record = mirror::read(target, &format).await?.ok_or(juicefs_replication::Error::NoMirror)?;
    if !record.bucket.is_own() {
        return Ok(None);
    }
    let source =
        mirror::read_source_setting(target).await?.context("the mirror does not know the source's bucket")?;
    let near = stored_bytes(&format, environment).await?;
    let far = stored_bytes(&source, environment).await?;
    let limit = Bandwidth::of_mbps(0, download_mbps.into());
    let far: Arc<dyn Store> = Arc::new(Throttled::new(far, Box::new(move || limit)));
    Ok(Some(Arc::new(BlockCopier::new(far, near, &format, at_once))))
}

async fn become_a_volume(args: &PromoteArgs, environment: &Environment) -> anyhow::Result<()> {
    let target = engines::open(&meta_url(&args.follow.mirror, environment)?).await?;
    let url = source_of(&args.follow, &*target, environment).await?;
    let source = engines::open(&url).await.map_err(|error| error.to_string());
    let fencing = match (args.fence, args.force) {
        (true, _) => Fencing::Fence,
        (_, true) => Fencing::Force,
        _ => Fencing::None,
    };
    let copier = match copier(&*target, environment, COPIED_AT_ONCE, 0).await? {
        // Without the source's bucket, what is not near is lost.
        Some(copier) if answers(copier.from()).await => copier,
        _ => {
            let text = target.setting().await?.ok_or(juicefs_replication::Error::NoMirror)?;
            let format = Format::parse(&text)?;
            let near = stored_bytes(&format, environment).await?;
            Arc::new(BlockCopier::new(near.clone(), near, &format, COPIED_AT_ONCE))
        }
    };
    let promotion = Promotion { fencing, patience: Duration::from_secs(args.wait), copier };
    let promoted = promote(source, &url.to_string(), target, &promotion).await?;
    say(&serde_json::to_string_pretty(&promoted).context("report")?);
    Ok(())
}

async fn answers(store: &dyn Store) -> bool {
    match store.get("juicefs_uuid", None).await {
        Ok(_) => true,
        Err(error) if error.is_not_found() => true,
        Err(error) => {
            tracing::warn!(%error, "the source's bucket does not answer: what is not in the mirror's is lost");
            false
        }
    }
}

async fn compare(args: &CheckArgs, environment: &Environment) -> anyhow::Result<()> {
    let target = engines::open(&meta_url(&args.follow.mirror, environment)?).await?;
    let source = engines::open(&source_of(&args.follow, &*target, environment).await?).await?;
    let differences = check(&*source, &*target, CHECK_PATIENCE).await?;
    for difference in differences.iter().take(TOLD_MAX) {
        let Difference { path, row, source, mirror } = difference;
        tracing::error!("{path}: {row}: source {source}, mirror {mirror}");
    }
    let mut blocks = SampleReport::default();
    if let Some(copier) = copier(&*target, environment, 1, 0).await? {
        blocks = check_blocks(&*target, &copier, args.blocks).await?;
        for difference in blocks.differences.iter().take(TOLD_MAX) {
            tracing::error!("{}: block {}: {}", difference.path, difference.key, difference.what);
        }
    }
    match (differences.len(), blocks.differences.len()) {
        (0, 0) if blocks.blocks > 0 => {
            say(&format!("source and mirror are equal; {} blocks were compared", blocks.blocks));
        }
        (0, 0) => say("source and mirror are equal"),
        (rows, differ) => anyhow::bail!(
            "{rows} rows and {differ} of {} blocks differ: is the mirror followed (`juicefs mirror status`)?",
            blocks.blocks
        ),
    }
    Ok(())
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
