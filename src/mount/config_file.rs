//! What `.config` in the root of a mount says: tools of the peer read it.

use crate::settings::MountSettings;
use juicefs_meta::{Format, Meta};
use serde_json::{Map, Value, json};

/// The client's configuration without secrets.
pub(crate) fn shown(settings: &MountSettings, meta: &Meta, format: &Format) -> Map<String, Value> {
    let options = &settings.options;
    let format: Value = serde_json::from_str(&format.to_shown_text()).unwrap_or(Value::Null);
    let nanos = |duration: std::time::Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let config = json!({
        "Meta": {
            "Strict": true,
            "Retries": options.io_retries,
            "ReadOnly": options.read_only,
            "NoBGJob": options.no_bgjob,
            "Heartbeat": nanos(options.heartbeat),
            "MountPoint": options.mountpoint,
            "Subdir": options.subdir.as_deref().unwrap_or_default(),
            "SkipDirMtime": nanos(options.skip_dir_mtime),
            "Sid": meta.session_id(),
        },
        "Format": format,
        "Chunk": {
            "CacheDir": cache_dirs(settings, format["UUID"].as_str().unwrap_or_default()),
            "CacheMode": options.cache_mode,
            "CacheSize": options.cache_bytes,
            "CacheItems": options.cache_items,
            "CacheChecksum": options.verify_cache_checksum,
            "CacheEviction": options.cache_eviction,
            "FreeSpace": options.free_space_ratio,
            "BlockSize": meta.format().block_bytes(),
            "GetTimeout": nanos(options.get_timeout),
            "PutTimeout": nanos(options.put_timeout),
            "CacheFullBlock": !options.cache_partial_only,
            "CacheLargeWrite": options.cache_large_write,
            "BufferSize": options.buffer_bytes,
            "Prefetch": options.prefetch,
            "MaxUpload": options.max_uploads,
            "MaxDownload": options.max_downloads,
            "MaxRetries": options.io_retries,
            "Writeback": false,
        },
        "Port": {},
        "Version": options.version,
        "AttrTimeout": nanos(options.attr_ttl),
        "DirEntryTimeout": nanos(options.dir_entry_ttl),
        "NegEntryTimeout": nanos(options.negative_ttl),
        "EntryTimeout": nanos(options.entry_ttl),
        "ReaddirCache": options.readdir_cache,
        "HideInternal": options.hide_internal,
        "PrefixInternal": options.prefix_internal,
        "Pid": std::process::id(),
        "PPid": nix::unistd::getppid().as_raw(),
        "FuseOpts": { "Options": options.fuse_options, "MaxWrite": options.max_fuse_io_bytes },
    });
    match config {
        Value::Object(shown) => shown,
        _ => Map::new(),
    }
}

fn cache_dirs(settings: &MountSettings, uuid: &str) -> String {
    let dirs = settings.cache_dirs_of(uuid);
    if dirs.is_empty() {
        return "memory".to_owned();
    }
    dirs.iter().map(|directory| directory.to_string_lossy()).collect::<Vec<_>>().join(":")
}
