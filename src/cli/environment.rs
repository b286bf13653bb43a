//! The environment variables that commands read, in one place (`reference/cli.md` 3.4).

use juicefs_base::{SecretString, secrets};
use juicefs_object::StoreVariables;
use std::collections::BTreeMap;
use std::time::Duration;

/// Variables that hold secrets or tell where one is.
const SECRETS: &[&str] = &[
    "ACCESS_KEY",
    "META_PASSWORD",
    "META_PASSWORD_FILE",
    "REDIS_PASSWORD",
    "SECRET_KEY",
    "SECRET_KEY2",
    "SENTINEL_PASSWORD",
    "SENTINEL_PASSWORD_FOR_OBJ",
    "SESSION_TOKEN",
    "SOURCE_ACCESS_KEY",
    "SOURCE_META_PASSWORD",
    "SOURCE_SECRET_KEY",
];

/// Flags whose values are secrets.
pub(crate) const SECRET_FLAGS: &[&str] = &[
    "access-key",
    "secret-key",
    "session-token",
    "source-access-key",
    "source-secret-key",
    "access-key2",
    "secret-key2",
];

/// What the process was started with. Secrets are here and nowhere else: the process's own environment, and so that
/// of its children, holds none once this is made.
pub(crate) struct Environment {
    secrets: BTreeMap<String, SecretString>,
    /// Why secrets can still be seen in `/proc`, if they can.
    pub shown_because: Option<std::io::Error>,
}

impl Environment {
    /// Takes the secrets. Called once, before anything else reads them and before any thread starts.
    pub(crate) fn take() -> Self {
        let names = [SECRETS, StoreVariables::NAMES].concat();
        let (secrets, hidden) = secrets::take_variables(&names);
        Self { secrets, shown_because: hidden.err() }
    }

    /// A variable that holds a secret.
    pub(crate) fn secret(&self, name: &str) -> Option<SecretString> {
        self.secrets.get(name).cloned()
    }

    /// What stores ask for.
    pub(crate) fn store_variables(&self) -> StoreVariables {
        StoreVariables::collect(|name| self.secret(name))
    }
}

fn text(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// `AWS_REGION`, else `AWS_DEFAULT_REGION`.
pub(crate) fn aws_region() -> Option<String> {
    text("AWS_REGION").or_else(|| text("AWS_DEFAULT_REGION"))
}

pub(crate) fn skips_store_check() -> bool {
    text("JFS_NO_CHECK_OBJECT_STORAGE").is_some()
}

/// Age below which `gc` passes an object over: `JFS_GC_SKIPPEDTIME` in seconds, 1 h.
pub(crate) fn gc_skipped_age() -> Duration {
    Duration::from_secs(text("JFS_GC_SKIPPEDTIME").and_then(|value| value.parse().ok()).unwrap_or(3600))
}
