//! Buckets: one port, its backends and the layers around them. Never knows what it stores.
//!
//! [`Store`] is the port. [`open`] picks a backend by the volume's storage type; [`open_volume_store`] adds
//! what every volume needs: the `NAME/` prefix, a deadline per request and retries.

pub mod backends;
mod error;
pub mod layers;
mod open;
mod storages;
mod store;
mod variables;

pub use error::{Error, Result};
pub use layers::encrypt::{Encryption, unsealed};
pub use layers::meter::Traffic;
pub use layers::retry::RetryPolicy;
pub use layers::throttle::{Bandwidth, BandwidthSource, Throttled};
pub use layers::twin::{DebtCounts, Debts, PAYERS, Side, Sides};
pub use open::{
    StoreSpec, TwinSpec, open, open_metered_store, open_sides, open_twin_store, open_volume_store,
};
pub use store::{Key, Limits, Listed, Store, StoreExt};
pub use variables::StoreVariables;
