//! Against a real MariaDB; the suite that all engines share is in `crate::conformance`.

pub(crate) mod server;
