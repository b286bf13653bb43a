//! The environment variables that commands read, in one place (`reference/cli.md` 3.4).

use juicefs_base::SecretString;
use std::time::Duration;

fn text(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// `AWS_REGION`, else `AWS_DEFAULT_REGION`.
pub(crate) fn aws_region() -> Option<String> {
    text("AWS_REGION").or_else(|| text("AWS_DEFAULT_REGION"))
}

pub(crate) fn access_key() -> Option<String> {
    text("ACCESS_KEY")
}

pub(crate) fn secret_key() -> Option<SecretString> {
    text("SECRET_KEY").map(SecretString::from)
}

pub(crate) fn session_token() -> Option<SecretString> {
    text("SESSION_TOKEN").map(SecretString::from)
}

pub(crate) fn skips_store_check() -> bool {
    text("JFS_NO_CHECK_OBJECT_STORAGE").is_some()
}

/// Age below which `gc` passes an object over: `JFS_GC_SKIPPEDTIME` in seconds, 1 h.
pub(crate) fn gc_skipped_age() -> Duration {
    Duration::from_secs(text("JFS_GC_SKIPPEDTIME").and_then(|value| value.parse().ok()).unwrap_or(3600))
}
