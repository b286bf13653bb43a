//! Against a real PostgreSQL; the suites that all engines and all servers share are in `crate::conformance` and
//! `sql::server::tests`.

mod refusals;
pub(crate) mod server;
