//! What `.config` in the root of a mount says: tools of the peer read it, so every key of theirs is there. What changes
//! while it is mounted (the setting, the session, the process) the vfs says itself.

use crate::error::Result;
use crate::settings::{MountOptions, MountSettings};
use juicefs_fuse::FuseOptions;
use juicefs_meta::Format;
use juicefs_object::Bandwidth;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// The client's configuration without secrets.
pub(crate) fn shown(settings: &MountSettings, format: &Format) -> Result<Map<String, Value>> {
    let options = &settings.options;
    let config = json!({
        "Meta": meta(options),
        "Chunk": chunk(settings, format),
        "Security": { "EnableCap": options.enable_cap, "EnableSELinux": options.enable_selinux },
        "Port": {},
        "Version": options.version,
        "AttrTimeout": nanos(options.attr_ttl),
        "DirEntryTimeout": nanos(options.dir_entry_ttl),
        "NegEntryTimeout": nanos(options.negative_ttl),
        "EntryTimeout": nanos(options.entry_ttl),
        "ReaddirCache": options.readdir_cache,
        "BackupMeta": nanos(options.backup_meta),
        "BackupSkipTrash": options.backup_skip_trash,
        "PrefixInternal": options.prefix_internal,
        "HideInternal": options.hide_internal,
        "UMask": options.umask.unwrap_or(u16::MAX),
        "CommPath": "",
        "StatePath": "",
        "FuseOpts": fuse(options, &options.fuse(&format.name)?),
        "Mountpoint": "",
    });
    Ok(match config {
        Value::Object(shown) => shown,
        _ => Map::new(),
    })
}

/// A duration as the peer writes it.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn meta(options: &MountOptions) -> Value {
    json!({
        "Retries": options.io_retries,
        "MaxDeletes": options.max_deletes,
        "SkipDirNlink": 20,
        "CaseInsensi": false,
        "ReadOnly": options.read_only,
        "NoBGJob": options.no_bgjob,
        "OpenCache": nanos(options.open_cache),
        "OpenCacheLimit": options.open_cache_limit,
        "Heartbeat": nanos(options.heartbeat),
        "MountPoint": options.mountpoint,
        "Subdir": options.subdir.as_deref().unwrap_or_default(),
        "AtimeMode": options.atime_mode,
        "DirStatFlushPeriod": 1_000_000_000,
        "SkipDirMtime": nanos(options.skip_dir_mtime),
        "SortDir": false,
        "FastStatfs": false,
        "NetworkInterfaces": null,
    })
}

fn chunk(settings: &MountSettings, format: &Format) -> Value {
    let options = &settings.options;
    let bandwidth = Bandwidth::of_mbps(
        options.upload_limit_mbps.map_or(format.upload_limit, i64::from),
        options.download_limit_mbps.map_or(format.download_limit, i64::from),
    );
    json!({
        "CacheDir": cache_dirs(settings, &format.uuid),
        "CacheMode": options.cache_mode,
        "CacheSize": options.cache_bytes,
        "CacheItems": options.cache_items,
        "CacheChecksum": options.verify_cache_checksum,
        "CacheEviction": options.cache_eviction,
        "CacheScanInterval": nanos(options.cache_scan_interval),
        "CacheExpire": nanos(options.cache_expire),
        "OSCache": true,
        "FreeSpace": options.free_space_ratio,
        "AutoCreate": true,
        "Compress": format.compression,
        "MaxUpload": options.max_uploads,
        "MaxDownload": options.max_downloads,
        "MaxStageWrite": options.max_stage_write,
        "MaxRetries": options.io_retries,
        "UploadLimit": bandwidth.upload,
        "DownloadLimit": bandwidth.download,
        "Writeback": options.writeback,
        "WritebackThresholdSize": options.writeback_threshold_bytes,
        "UploadDelay": nanos(options.upload_delay),
        "UploadHours": options.upload_hours,
        "HashPrefix": format.hash_prefix,
        "BlockSize": format.block_bytes(),
        "GetTimeout": nanos(options.get_timeout),
        "PutTimeout": nanos(options.put_timeout),
        "CacheFullBlock": !options.cache_partial_only,
        "CacheLargeWrite": options.cache_large_write,
        "BufferSize": options.buffer_bytes,
        "Readahead": options.readahead_bytes.unwrap_or(juicefs_vfs::VfsConfig::default().readahead_bytes),
        "Prefetch": options.prefetch,
    })
}

fn fuse(options: &MountOptions, fuse: &FuseOptions) -> Value {
    let mut words = options.fuse_options.clone();
    if fuse.default_permissions {
        words.push("default_permissions".to_owned());
    }
    json!({
        "AllowOther": fuse.allow_other,
        "Options": words,
        "MaxBackground": fuse.max_background,
        "MaxWrite": fuse.io_bytes,
        "MaxReadAhead": juicefs_fuse::READAHEAD_BYTES,
        "IgnoreSecurityLabels": false,
        "RememberInodes": false,
        "FsName": fuse.source(),
        "Name": "juicefs",
        "SingleThreaded": false,
        "DisableXAttrs": !options.enable_xattr,
        "Debug": false,
        "EnableLocks": true,
        "EnableSymlinkCaching": true,
        "ExplicitDataCacheControl": false,
        "DirectMount": true,
        "DirectMountFlags": 0,
        "EnableAcl": false,
        "EnableReadDirPlusAuto": true,
        "EnableWriteback": false,
        "DontUmask": options.umask.is_some(),
        "OtherCaps": 0,
        "NoAllocForRead": false,
        "Timeout": 0,
    })
}

fn cache_dirs(settings: &MountSettings, uuid: &str) -> String {
    let dirs = settings.cache_dirs_of(uuid);
    if dirs.is_empty() {
        return "memory".to_owned();
    }
    dirs.iter().map(|directory| directory.to_string_lossy()).collect::<Vec<_>>().join(":")
}
