//! `dump` and `load`.

use clap::Args;
use std::path::PathBuf;

pub(crate) const DUMP_EXAMPLES: &str = "Examples:
  # A backup; .gz and .zstd are compressed
  juicefs dump redis://localhost meta.json.gz

  # One directory, to standard output
  juicefs dump redis://localhost --subdir /projects

  # Smaller and faster, with everything that the database counts
  juicefs dump redis://localhost meta.bin --binary";

pub(crate) const LOAD_EXAMPLES: &str = "Examples:
  # Into an empty database, of whatever kind; the old one must not be used any more
  juicefs load sqlite3:///srv/meta.db meta.json.gz
  juicefs load redis://localhost/1 meta.bin --binary

  # Look into a binary dump
  juicefs load meta.bin --binary --stat
  juicefs load meta.bin --binary --stat --offset -1";

/// `dump`.
#[derive(Args, Debug)]
pub(crate) struct DumpArgs {
    /// Address of the metadata engine
    pub meta_url: String,
    /// File to write, replaced when the dump is whole [default: standard output]
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Only this directory and what is below it
    #[arg(long, value_name = "PATH")]
    pub subdir: Option<String>,
    /// Keep the keys of the object store in the dump: keep it as secret as they are
    #[arg(long)]
    pub keep_secret_key: bool,
    /// No effect: reading is pipelined
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub threads: usize,
    /// No effect: nothing has to be held in memory to be fast
    #[arg(long)]
    pub fast: bool,
    /// Leave out what is in the trash
    #[arg(long)]
    pub skip_trash: bool,
    /// Write the binary document; --subdir and --skip-trash don't apply to it
    #[arg(long)]
    pub binary: bool,
}

/// `load`.
#[derive(Args, Debug)]
pub(crate) struct LoadArgs {
    /// Address of an empty metadata engine; with --stat, the file
    #[arg(value_name = "META_URL")]
    pub meta_url: String,
    /// File to read, compressed or not [default: standard input]
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Private key (PEM) of the volume, for a backup out of an encrypted volume's bucket; its passphrase is in the
    /// environment: JFS_RSA_PASSPHRASE
    #[arg(long, value_name = "FILE")]
    pub encrypt_rsa_key: Option<PathBuf>,
    /// Cipher of that volume: aes256gcm-rsa, chacha20-rsa
    #[arg(long, value_name = "ALGORITHM", default_value = "aes256gcm-rsa")]
    pub encrypt_algo: String,
    /// The dump is binary
    #[arg(long)]
    pub binary: bool,
    /// Show what is in a binary dump, load nothing
    #[arg(long, requires = "binary")]
    pub stat: bool,
    /// With --stat: show the segment that begins here, or where each begins (-1)
    #[arg(long, value_name = "BYTE", default_value_t = 0, allow_negative_numbers = true)]
    pub offset: i64,
    /// No effect: writing is pipelined
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub threads: usize,
}
