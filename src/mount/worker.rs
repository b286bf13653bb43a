//! An open volume: the rooms below, assembled from settings, and taken down in the right order.

use crate::backups::Backups;
use crate::config_file;
use crate::error::{Error, Result};
use crate::metrics::{self, MetricsSocket};
use crate::mirror_store::{self, MirrorStore};
use crate::settings::{MountOptions, MountSettings, cache_name};
use crate::store_follower::StoreFollower;
use juicefs_base::budget::Budget;
use juicefs_base::metrics::Samples;
use juicefs_base::{Errno, ExposeSecret};
use juicefs_chunk::{ChecksumLevel, ChunkConfig, ChunkStore, Compression, Eviction, UploadHours, Writeback};
use juicefs_fuse::Session;
use juicefs_meta::{AtimeMode, Format, Meta, MetaOptions, MetaUrl};
use juicefs_object::layers::switch::Switch;
use juicefs_object::{Bandwidth, BandwidthSource, Debts, PAYERS, RetryPolicy, Store, Throttled, Traffic};
use juicefs_vfs::{Vfs, VfsConfig};
use juicefs_volume::StorageAccess;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, watch};
use tokio::task::AbortHandle;

/// How long the end of a volume may take before it is left to the clean-up of other clients.
const CLOSE_DEADLINE: Duration = Duration::from_secs(120);
/// What `--open-cache-limit 0` means.
const OPENS_MAX: usize = 1_000_000;

/// How long the end of a mount waits for copies to the far bucket; the journal keeps what is left.
const DRAIN_DEADLINE: Duration = Duration::from_secs(20);

/// How long a mount that begins waits for the object store.
const PROBE_DEADLINE: Duration = Duration::from_secs(10);

/// A volume that can be served.
pub struct OpenVolume {
    meta: Arc<Meta>,
    vfs: Arc<Vfs>,
    settings: MountSettings,
    /// What the user should know before using it.
    notices: Vec<String>,
    /// Why the volume is gone, once it is.
    gone: watch::Receiver<Option<String>>,
    /// Serves `--metrics`.
    metrics: Option<AbortHandle>,
    /// Takes over what `config` says of the store.
    following: AbortHandle,
    /// Copies that the far one of two buckets lacks, and who makes them.
    debts: Arc<Debts>,
    payers: Vec<AbortHandle>,
    /// Backs up the metadata.
    backups: Option<AbortHandle>,
    /// Set by the first of those that close it.
    closed: OnceCell<()>,
}

impl OpenVolume {
    /// Connects to metadata and objects and starts a session (none when read-only).
    ///
    /// # Errors
    /// One sentence naming what can't be reached or what the volume asks for in vain.
    pub async fn open(settings: &MountSettings) -> Result<Self> {
        let options = &settings.options;
        let url = MetaUrl::parse(settings.secrets.meta_url.expose_secret())?;
        let engine = juicefs_meta::engines::open(&url).await?;
        let meta =
            Meta::open(engine, meta_options(settings)).await.map_err(|error| about_subdir(options, error))?;
        let format = meta.format();
        let mut notices = Vec::new();
        match meta.read_only_reason() {
            Some(reason) if !options.read_only => notices.push(format!("{reason}; mounting read-only")),
            _ => {}
        }
        let traffic = Arc::new(Traffic::default());
        let access = storage_access(settings);
        let record = juicefs_meta::replication::read(meta.engine().as_ref(), &format).await?;
        let debts = Debts::open(journal_dir(settings, &format, meta.mirror_name()).as_deref());
        let store = juicefs_volume::open_replicated_store(
            &format,
            record.as_ref(),
            &access,
            traffic.clone(),
            Some(debts.clone()),
        )
        .await?;
        let switch = Arc::new(Switch::new(store));
        let store: Arc<dyn Store> = Arc::new(Throttled::new(switch.clone(), bandwidth(settings, &meta)));
        probe(&*store, options.check_storage).await?;
        let MirrorStore { store, far_reads } =
            mirror_store::of(&meta, store, &access, traffic.clone()).await?;
        let budget = Budget::new(usize::try_from(options.buffer_bytes).unwrap_or(usize::MAX));
        let chunks =
            ChunkStore::new(store.clone(), chunk_config(settings, &format, meta.mirror_name())?, budget)
                .map_err(|error| Error::Setting(error.to_string()))?;
        notices.extend(chunks.notices());
        let socket = MetricsSocket::open(options).await?;
        let (report, gone) = watch::channel(None);
        meta.set_volume_gone_sink(Box::new(move |reason| {
            // Nobody may be waiting any more.
            let _ = report.send(Some(reason.to_owned()));
        }));
        meta.start_session().await?;
        for notice in &notices {
            tracing::warn!("{notice}");
        }
        let mut config = vfs_config(settings, &meta)?;
        config.shown.extend(socket.as_ref().map(shown_port));
        let follower = StoreFollower {
            switch,
            access,
            traffic: traffic.clone(),
            interval: options.heartbeat,
            debts: debts.clone(),
        };
        let payers = (0..PAYERS).map(|_| tokio::spawn(debts.clone().pay()).abort_handle()).collect();
        let counted = debts.clone();
        let labels = metrics::labels(options, &format.name);
        let following = tokio::spawn(follower.run(Arc::downgrade(&meta), format, record)).abort_handle();
        let backups = backups(settings, &meta, store)
            .map(|backups| tokio::spawn(backups.run(Arc::downgrade(&meta))).abort_handle());
        let vfs = Vfs::new(meta.clone(), chunks, config);
        vfs.metrics().add_source(Box::new(move |samples| {
            put_traffic(samples, &traffic);
            put_debts(samples, &counted);
            put_far_reads(samples, far_reads.as_deref());
        }));
        let metrics = socket.map(|socket| socket.serve(&meta, &vfs, labels));
        let settings = settings.clone();
        Ok(Self {
            meta,
            vfs,
            settings,
            notices,
            gone,
            metrics,
            following,
            debts,
            payers,
            backups,
            closed: OnceCell::new(),
        })
    }

    /// Serves a mounted descriptor. Blocks until the kernel has said its first word.
    ///
    /// # Errors
    /// A descriptor that is not a mounted fuse device.
    pub fn serve(&self, device: OwnedFd, runtime: Handle) -> Result<Session> {
        Ok(juicefs_fuse::serve_fd(device, self.vfs.clone(), self.fuse_options()?, runtime)?)
    }

    /// Serves a descriptor whose former process has died.
    ///
    /// # Errors
    /// See [`juicefs_fuse::inherit_fd`].
    pub(crate) fn inherit(&self, device: OwnedFd, runtime: Handle) -> Result<Session> {
        Ok(juicefs_fuse::inherit_fd(device, self.vfs.clone(), self.fuse_options()?, runtime)?)
    }

    /// # Errors
    /// An `-o` word that is not known.
    pub(crate) fn fuse_options(&self) -> Result<juicefs_fuse::FuseOptions> {
        let mut options = self.settings.options.fuse(&self.meta.format().name)?;
        options.read_only |= self.meta.read_only_reason().is_some();
        Ok(options)
    }

    /// Number of the session in the metadata; 0 when there is none.
    #[must_use]
    pub fn session_id(&self) -> u64 {
        self.meta.session_id()
    }

    /// What the user should know before using the mount.
    #[must_use]
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Name of the volume.
    #[must_use]
    pub fn name(&self) -> String {
        self.meta.format().name.clone()
    }

    /// Waits until the volume is no longer the one that was opened; says why.
    pub async fn until_gone(&self) -> Error {
        let mut gone = self.gone.clone();
        let reason = gone.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        let Some(reason) = reason else {
            // The sender lives in the metadata room as long as this volume.
            return std::future::pending().await;
        };
        Error::VolumeGone(format!("{reason}; unmounting"))
    }

    /// Flushes everything and ends the session; the second caller waits for the first.
    ///
    /// # Errors
    /// The session could not be ended, or not in time: other clients clean it up later.
    pub async fn close(&self) -> Result<()> {
        let mut end = Ok(());
        self.closed
            .get_or_init(|| async {
                let closing = async {
                    self.vfs.shutdown().await;
                    if !self.debts.drain(DRAIN_DEADLINE).await {
                        let pending = self.debts.counts().pending;
                        tracing::warn!(
                            "{pending} blocks are not in both buckets yet: the next mount with this cache directory copies \
                             them, or `juicefs heal`"
                        );
                    }
                    self.payers.iter().for_each(AbortHandle::abort);
                    self.metrics.iter().for_each(AbortHandle::abort);
                    self.following.abort();
                    self.backups.iter().for_each(AbortHandle::abort);
                    self.meta.close_session().await
                };
                end = match tokio::time::timeout(CLOSE_DEADLINE, closing).await {
                    Ok(done) => done.map_err(Error::from),
                    Err(_) => Err(Error::Deadline {
                        what: "flushing and closing".to_owned(),
                        deadline: CLOSE_DEADLINE,
                    }),
                };
            })
            .await;
        end
    }

    /// The same where nobody waits for the answer.
    pub(crate) async fn close_quietly(&self) {
        if let Err(error) = self.close().await {
            tracing::error!("{error}");
        }
    }
}

fn meta_options(settings: &MountSettings) -> MetaOptions {
    let options = &settings.options;
    let mut meta = MetaOptions {
        read_only: options.read_only,
        heartbeat: options.heartbeat,
        skip_dir_mtime: options.skip_dir_mtime,
        atime: match &*options.atime_mode {
            "strictatime" => AtimeMode::Strict,
            "relatime" => AtimeMode::Relative,
            _ => AtimeMode::Never,
        },
        open_cache: options.open_cache,
        open_cache_limit: if options.open_cache_limit == 0 { OPENS_MAX } else { options.open_cache_limit },
        mount_point: options.mountpoint.to_string_lossy().into_owned(),
        no_bgjob: options.no_bgjob,
        subdir: options.subdir.clone(),
        makes_subdir: options.makes_subdir,
        ..MetaOptions::default()
    };
    if !options.version.is_empty() {
        meta.version.clone_from(&options.version);
    }
    meta
}

/// Says which directory is meant where the volume lacks the one that shall be the root.
fn about_subdir(options: &MountOptions, error: juicefs_meta::Error) -> Error {
    match (&options.subdir, error.errno()) {
        (Some(subdir), Errno::ENOENT) => Error::Setting(format!(
            "--subdir {subdir}: the volume has no such directory; make it on a mount that may write"
        )),
        (Some(subdir), Errno::ENOTDIR) => Error::Setting(format!(
            "--subdir {subdir}: the volume has something there that is no directory; name another one"
        )),
        _ => error.into(),
    }
}

fn storage_access(settings: &MountSettings) -> StorageAccess {
    let MountSettings { secrets, options } = settings;
    StorageAccess {
        storage: options.storage.clone(),
        bucket: options.bucket.clone(),
        access_key: secrets.access_key.clone(),
        secret_key: secrets.secret_key.clone(),
        session_token: secrets.session_token.clone(),
        storage_class: options.storage_class.clone(),
        tag: options.tag.clone(),
        region: options.region.clone(),
        variables: secrets.variables.clone(),
        retry: retries(settings),
        flip: options.flip,
    }
}

fn retries(settings: &MountSettings) -> RetryPolicy {
    let options = &settings.options;
    RetryPolicy {
        get_timeout: options.get_timeout,
        put_timeout: options.put_timeout,
        retries: options.io_retries.max(1),
    }
}

fn chunk_config(settings: &MountSettings, format: &Format, mirror: Option<&str>) -> Result<ChunkConfig> {
    let options = &settings.options;
    let unknown = |what: &str, word: &str, known: &str| {
        Error::Setting(format!("{what} {word:?} is not known: use {known}"))
    };
    Ok(ChunkConfig {
        block_bytes: format.block_bytes(),
        compression: match format.compression.to_lowercase().as_str() {
            "" | "none" => Compression::None,
            "lz4" => Compression::Lz4,
            "zstd" => Compression::Zstd,
            word => return Err(unknown("compression", word, "none, lz4 or zstd")),
        },
        hash_prefix: format.hash_prefix,
        cache_dirs: settings.cache_dirs_of(&cache_name(&format.uuid, mirror)),
        cache_bytes: options.cache_bytes,
        cache_items: options.cache_items,
        free_space_ratio: options.free_space_ratio,
        cache_mode: options.cache_mode,
        verify: match options.verify_cache_checksum.as_str() {
            "none" => ChecksumLevel::None,
            "full" => ChecksumLevel::Full,
            "shrink" => ChecksumLevel::Shrink,
            "extend" => ChecksumLevel::Extend,
            word => return Err(unknown("verify-cache-checksum", word, "none, full, shrink or extend")),
        },
        cache_scan_interval: options.cache_scan_interval,
        cache_expire: options.cache_expire,
        cache_eviction: match options.cache_eviction.as_str() {
            "none" => Eviction::None,
            "2-random" => Eviction::TwoRandom,
            "lru" => Eviction::Lru,
            word => return Err(unknown("cache-eviction", word, "none, 2-random or lru")),
        },
        cache_full_blocks: !options.cache_partial_only,
        cache_large_write: options.cache_large_write,
        writeback: options.writeback.then(|| Writeback {
            below_bytes: options.writeback_threshold_bytes,
            writers: options.max_stage_write,
            delay: options.upload_delay,
            hours: UploadHours::parse(&options.upload_hours).ok(),
        }),
        stores_staged: !options.read_only,
        max_uploads: options.max_uploads,
        max_downloads: options.max_downloads,
        max_deletes: options.max_deletes.max(1),
        prefetch: options.prefetch,
        memory_wait: retries(settings).longest_get(),
        ..ChunkConfig::default()
    })
}

/// The mount's own limits before the volume's, which may change while it is mounted.
fn bandwidth(settings: &MountSettings, meta: &Arc<Meta>) -> BandwidthSource {
    let (upload, download) = (settings.options.upload_limit_mbps, settings.options.download_limit_mbps);
    let meta = Arc::clone(meta);
    Box::new(move || {
        let format = meta.format();
        Bandwidth::of_mbps(
            upload.map_or(format.upload_limit, i64::from),
            download.map_or(format.download_limit, i64::from),
        )
    })
}

fn put_traffic(samples: &mut Samples, traffic: &Traffic) {
    for (method, requests) in traffic.by_method() {
        if requests.count() > 0 {
            let name = "object_request_durations_histogram_seconds";
            samples.put_sum(name, method, requests.count(), requests.seconds());
        }
        if requests.bytes() > 0 {
            samples.put_labelled("object_request_data_bytes", method, requests.bytes() as f64);
        }
    }
    samples.put("object_request_errors", traffic.errors() as f64);
}

/// Where metrics are, as `.config` tells it.
fn shown_port(socket: &MetricsSocket) -> (String, serde_json::Value) {
    ("Port".to_owned(), serde_json::json!({ "PrometheusAgent": socket.address.to_string() }))
}

/// Reads of a mirror that its own bucket could not answer.
fn put_far_reads(samples: &mut Samples, far_reads: Option<&AtomicU64>) {
    if let Some(far_reads) = far_reads {
        samples.put("mirror_far_reads", far_reads.load(Ordering::Relaxed) as f64);
    }
}

fn put_debts(samples: &mut Samples, debts: &Debts) {
    let counts = debts.counts();
    for (name, value) in [
        ("replication_pending_objects", counts.pending),
        ("replication_oldest_pending_seconds", counts.oldest_sec),
        ("replication_copied_objects", counts.copied),
        ("replication_copied_bytes", counts.copied_bytes),
        ("replication_deleted_objects", counts.deleted),
        ("replication_errors", counts.errors),
        ("replication_left_to_heal", counts.overflowed),
        ("replication_fallback_reads", counts.fallbacks),
    ] {
        samples.put(name, value as f64);
    }
}

/// Where the copies that are still to be made are written down: in the first cache directory; nowhere without one.
fn journal_dir(
    settings: &MountSettings,
    format: &Format,
    mirror: Option<&str>,
) -> Option<std::path::PathBuf> {
    let dirs = settings.cache_dirs_of(&cache_name(&format.uuid, mirror));
    dirs.first().filter(|_| !settings.options.read_only).map(|dir| dir.join("replication"))
}

fn vfs_config(settings: &MountSettings, meta: &Arc<Meta>) -> Result<VfsConfig> {
    let options = &settings.options;
    let mut config = VfsConfig {
        attr_ttl: options.attr_ttl,
        entry_ttl: options.entry_ttl,
        dir_entry_ttl: options.dir_entry_ttl,
        negative_ttl: options.negative_ttl,
        io_retries: options.io_retries,
        max_deletes: options.max_deletes.max(1),
        read_only: meta.read_only_reason().is_some(),
        hide_internal: options.hide_internal,
        prefix_internal: options.prefix_internal,
        hidden_name: options.hidden_name.clone(),
        shown: config_file::shown(settings, &meta.format())?,
        ..VfsConfig::default()
    };
    if let Some(bytes) = options.readahead_bytes {
        config.readahead_bytes = bytes;
    }
    if !options.version.is_empty() {
        config.version.clone_from(&options.version);
    }
    Ok(config)
}

/// Whether the bucket is there and takes us. One that only does not answer may be back before anybody needs it, unless
/// `must_answer`.
async fn probe(store: &dyn juicefs_object::Store, must_answer: bool) -> Result<()> {
    // A body, not a HEAD: only an answer with one tells a missing bucket from a missing object.
    let asked = tokio::time::timeout(PROBE_DEADLINE, store.get("juicefs_uuid", None)).await;
    match asked {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) if error.is_not_found() => Ok(()),
        Ok(Err(error)) if must_answer || !error.may_retry() => Err(error.into()),
        Ok(Err(error)) => {
            tracing::warn!("mounting although the object store does not answer: {error}");
            Ok(())
        }
        Err(_) if must_answer => {
            let what =
                format!("asking the object store {store} (is the server up, and is the address right?)");
            Err(Error::Deadline { what, deadline: PROBE_DEADLINE })
        }
        Err(_) => {
            tracing::warn!("mounting although the object store {store} does not answer");
            Ok(())
        }
    }
}

/// Who backs up the metadata from this mount: nobody where it changes nothing.
fn backups(settings: &MountSettings, meta: &Meta, store: Arc<dyn Store>) -> Option<Backups> {
    let options = &settings.options;
    let is_on = !options.backup_meta.is_zero() && !options.no_bgjob && meta.session_id() != 0;
    is_on.then(|| Backups { store, interval: options.backup_meta, skip_trash: options.backup_skip_trash })
}
