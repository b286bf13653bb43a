//! Commands on a whole volume.

use clap::Args;

pub(crate) const FORMAT_EXAMPLES: &str = "Examples:
  # SQLite and a folder: needs no server
  juicefs format sqlite3:///srv/meta.db myjfs --bucket /srv/data

  # Redis and S3; the secrets from the environment
  META_PASSWORD=... ACCESS_KEY=... SECRET_KEY=... \\
    juicefs format redis://localhost/1 myjfs --storage s3 \\
    --bucket https://mybucket.s3.us-east-1.amazonaws.com

  # Any S3-compatible endpoint, blocks compressed
  juicefs format redis://localhost myjfs --compress lz4 \\
    --storage s3 --bucket http://localhost:9000/mybucket

  # Nobody reads the bucket without the key; the passphrase is asked for with every mount
  openssl genrsa -aes256 -out key.pem 2048
  JFS_RSA_PASSPHRASE=... juicefs format redis://localhost myjfs --encrypt-rsa-key key.pem \\
    --storage s3 --bucket http://localhost:9000/mybucket";

pub(crate) const CONFIG_EXAMPLES: &str = "Examples:
  # Show the settings
  juicefs config redis://localhost

  # Keep deleted files for a week, at most 100 GiB in all
  juicefs config redis://localhost --trash-days 7 --capacity 100";

pub(crate) const CHANGELOG_EXAMPLES: &str = "Examples:
  # What happens from now on
  juicefs config redis://localhost --changelog
  juicefs changelog redis://localhost

  # What happened after a version, as long as it is kept
  juicefs changelog redis://localhost --from 100";

pub(crate) const STATUS_EXAMPLES: &str = "Examples:
  juicefs status redis://localhost
  juicefs status redis://localhost --session 3

  # With what is in the trash and what waits to be deleted
  juicefs status redis://localhost --more";

pub(crate) const GC_EXAMPLES: &str = "Examples:
  # Look only; nothing is changed
  juicefs gc redis://localhost

  # Files with many small writes read faster afterwards
  juicefs gc redis://localhost --compact

  # Take less space in the bucket
  juicefs gc redis://localhost --delete
  juicefs gc redis://localhost --json | jq .leaked";

pub(crate) const FSCK_EXAMPLES: &str = "Examples:
  juicefs fsck redis://localhost

  # What is below a path only, and whether the records of its directories are right
  juicefs fsck redis://localhost --path /d1/d2 --recursive

  # Repair broken directories
  juicefs fsck redis://localhost --path /d1/d2 --repair

  # Count the statistics of all directories and the volume's usage anew
  juicefs fsck redis://localhost --path / --recursive --repair --sync-dir-stat";

pub(crate) const RESTORE_EXAMPLES: &str = "Examples:
  # Rebuild the trees of an hour (UTC) inside the trash, to look at them
  juicefs restore redis://localhost 2026-05-10-01

  # Put all of two hours back to where it was
  juicefs restore redis://localhost 2026-05-10-01 2026-05-10-02 --put-back";

pub(crate) const DESTROY_EXAMPLES: &str = "Examples:
  # The UUID is what `juicefs status` shows
  juicefs destroy redis://localhost e94d66a8-2339-4abd-b8d8-6812df737892";

/// `destroy`.
#[derive(Args, Debug)]
pub(crate) struct DestroyArgs {
    /// Address of the metadata engine
    pub meta_url: String,
    /// UUID of the volume
    pub uuid: String,
    /// Answer every question with yes
    #[arg(short, long)]
    pub yes: bool,
    /// Also while it is mounted
    #[arg(long)]
    pub force: bool,
}

/// `restore`.
#[derive(Args, Debug)]
pub(crate) struct RestoreArgs {
    /// Address of the metadata engine
    pub meta_url: String,
    /// Directories in the trash, one an hour: `YYYY-MM-DD-HH`, UTC
    #[arg(required = true, value_name = "HOUR")]
    pub hours: Vec<String>,
    /// Move what was removed back to where it was; nothing is replaced
    #[arg(long)]
    pub put_back: bool,
    /// Moves at the same time
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub threads: usize,
}

/// Where data is, for `format` and `config`. Absent flags leave the setting as it is.
#[derive(Args, Debug, Clone, Default)]
pub(crate) struct StoreFlags {
    /// Type of the object store: file; s3 or a service that speaks it (minio, wasabi, scw, space, eos, oos); wasb (Azure
    /// Blob: AZURE_STORAGE_CONNECTION_STRING or account and key); gs (Google: GOOGLE_APPLICATION_CREDENTIALS); webdav;
    /// sftp (HOST:PATH/, password or SSH_PRIVATE_KEY_PATH)
    /// [default for a new volume: file]
    #[arg(long, value_name = "TYPE")]
    pub storage: Option<String>,
    /// URL of the bucket, or a directory [default for a new volume: /var/jfs]
    #[arg(long, value_name = "URL")]
    pub bucket: Option<String>,
    /// Access key (environment: ACCESS_KEY)
    #[arg(long, value_name = "KEY")]
    pub access_key: Option<String>,
    /// Secret key (safer by the environment: SECRET_KEY)
    #[arg(long, value_name = "KEY")]
    pub secret_key: Option<juicefs_base::SecretString>,
    /// Session token (safer by the environment: SESSION_TOKEN)
    #[arg(long, value_name = "TOKEN")]
    pub session_token: Option<juicefs_base::SecretString>,
    /// Storage class of new objects
    #[arg(long, value_name = "CLASS")]
    pub storage_class: Option<String>,
    /// Tag of new objects: key=value
    #[arg(long, value_name = "K=V")]
    pub tag: Option<String>,
    /// Limit of the volume's size in GiB, 0 = none
    #[arg(long, value_name = "GIB")]
    pub capacity: Option<String>,
    /// Limit of the volume's inodes, 0 = none
    #[arg(long, value_name = "N")]
    pub inodes: Option<u64>,
    /// Days that deleted files stay in the trash, 0 = no trash [default for a new volume: 1]
    #[arg(long, value_name = "DAYS")]
    pub trash_days: Option<u32>,
}

/// `format`.
#[derive(Args, Debug)]
pub(crate) struct FormatArgs {
    /// Address of the metadata engine
    pub meta_url: String,
    /// Name of the volume
    pub name: String,
    #[command(flatten)]
    pub store: StoreFlags,
    /// Size of a block in KiB [default: 4M]
    #[arg(long, value_name = "SIZE")]
    pub block_size: Option<String>,
    /// Compression of blocks: none, lz4, zstd [default: none]
    #[arg(long, value_name = "ALGORITHM")]
    pub compress: Option<String>,
    /// Spread objects over directories by a hash of their id
    #[arg(long)]
    pub hash_prefix: bool,
    /// File with an RSA private key (PEM) that every object is encrypted with; its passphrase is in the environment:
    /// JFS_RSA_PASSPHRASE
    #[arg(long, value_name = "FILE")]
    pub encrypt_rsa_key: Option<std::path::PathBuf>,
    /// Cipher of encrypted objects: aes256gcm-rsa, chacha20-rsa [default: aes256gcm-rsa]
    #[arg(long, value_name = "ALGORITHM")]
    pub encrypt_algo: Option<String>,
    /// Spread objects over N buckets by a hash of their names; --bucket holds %d for the number
    #[arg(long, value_name = "N")]
    pub shards: Option<u32>,
    /// Replace settings that a volume keeps for ever
    #[arg(long)]
    pub force: bool,
    /// Leave an existing volume as it is
    #[arg(long)]
    pub no_update: bool,
}

/// `config`.
#[derive(Args, Debug)]
pub(crate) struct ConfigArgs {
    /// Address of the metadata engine
    pub meta_url: String,
    #[command(flatten)]
    pub store: StoreFlags,
    /// Default upload limit of clients in Mbps
    #[arg(long, value_name = "MBPS")]
    pub upload_limit: Option<i64>,
    /// Default download limit of clients in Mbps
    #[arg(long, value_name = "MBPS")]
    pub download_limit: Option<i64>,
    /// Keep statistics of every directory
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub dir_stats: Option<bool>,
    /// Keep quotas of users and groups
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub user_group_quota: Option<bool>,
    /// Encrypt the secrets in the setting
    #[arg(long)]
    pub encrypt_secret: bool,
    /// Keep a log of every change of metadata, for `changelog` and for mirrors
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub changelog: Option<bool>,
    /// How long lines of the change log are kept, such as 2h or 30m; 0 = no limit [default once it is on: 2h]
    #[arg(long, value_name = "AGE")]
    pub changelog_max_age: Option<String>,
    /// How many lines of the change log are kept; 0 = no limit
    #[arg(long, value_name = "N")]
    pub changelog_max_lines: Option<i64>,
    /// Second bucket of the volume: what is written goes to both, reads to the nearer one
    #[arg(long, value_name = "URL")]
    pub bucket2: Option<String>,
    /// Type of the second bucket's store [default: the first one's]
    #[arg(long, value_name = "TYPE")]
    pub storage2: Option<String>,
    /// Access key of the second bucket
    #[arg(long, value_name = "KEY")]
    pub access_key2: Option<String>,
    /// Secret key of the second bucket (safer by the environment: SECRET_KEY2)
    #[arg(long, value_name = "KEY")]
    pub secret_key2: Option<juicefs_base::SecretString>,
    /// The second bucket comes first, where a mount says nothing else
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub flip: Option<bool>,
    /// off: take the second bucket away; async: a write waits for the near bucket, and for both where the second comes
    /// first; sync: for both
    #[arg(long, value_name = "MODE")]
    pub replication: Option<String>,
    /// Oldest client that may mount
    #[arg(long, value_name = "VERSION")]
    pub min_client_version: Option<String>,
    /// Newest client that may mount
    #[arg(long, value_name = "VERSION")]
    pub max_client_version: Option<String>,
    /// Answer every question with yes
    #[arg(short, long)]
    pub yes: bool,
    /// Skip the trial of a changed store
    #[arg(long)]
    pub force: bool,
}

/// `changelog`.
#[derive(Args, Debug)]
pub(crate) struct ChangelogArgs {
    /// Address of the metadata engine
    pub meta_url: String,
    /// Begin after this version, 0 = after the newest
    #[arg(long, value_name = "VERSION", default_value_t = 0, allow_negative_numbers = true)]
    pub from: i64,
}

/// `status`.
#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// Address of the metadata engine
    pub meta_url: String,
    /// Show one session in detail
    #[arg(short, long, value_name = "SID", default_value_t = 0, hide_default_value = true)]
    pub session: u64,
    /// Also count what is in the trash and what waits to be deleted; may take long
    #[arg(short, long)]
    pub more: bool,
}

/// `gc`.
#[derive(Args, Debug)]
pub(crate) struct GcArgs {
    /// Address of the metadata engine
    pub meta_url: String,
    /// Make chunks of many small slices into few large ones
    #[arg(long)]
    pub compact: bool,
    /// Delete leaked objects, what is past its days in the trash, and what deleted files left
    #[arg(long)]
    pub delete: bool,
    /// Compactions and deletions at the same time
    #[arg(short = 'p', long, value_name = "N", default_value_t = 10)]
    pub threads: usize,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// `fsck`.
#[derive(Args, Debug)]
pub(crate) struct FsckArgs {
    /// Address of the metadata engine
    pub meta_url: String,
    /// Check only what lies at this absolute path within the volume, and its directory records
    #[arg(long)]
    pub path: Option<String>,
    /// Repair what is wrong at the path: link counts, statistics, missing records of directories
    #[arg(long)]
    pub repair: bool,
    /// Check or repair everything below the path, too
    #[arg(long, short)]
    pub recursive: bool,
    /// Count the statistics of every directory anew, also where they look right
    #[arg(long)]
    pub sync_dir_stat: bool,
    /// Permissions (octal) of directories whose record is made anew
    #[arg(long, value_name = "MODE", default_value = "0755")]
    pub repair_dir_mode: String,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

pub(crate) const HEAL_EXAMPLES: &str = "Examples:
  juicefs heal redis://localhost/1                  # copy what one bucket lacks, delete what is dead in both
  juicefs heal redis://localhost/1 --dry --json     # only look
  juicefs heal redis://localhost/1 --bwlimit 100    # with 100 Mbps at most";

/// `heal`.
#[derive(Args, Debug)]
pub(crate) struct HealArgs {
    /// Address of the metadata engine
    pub meta_url: String,
    /// Only look
    #[arg(long, alias = "dry-run")]
    pub dry: bool,
    /// Copies and deletions at the same time
    #[arg(short = 'p', long, value_name = "N", default_value_t = 10)]
    pub threads: usize,
    /// Most Mbps in each direction, 0 = no limit
    #[arg(long, value_name = "MBPS", default_value_t = 0)]
    pub bwlimit: u32,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}
