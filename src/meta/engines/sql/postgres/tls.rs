//! Whom a connection trusts. `sslmode` says it in the words of libpq: `prefer` and `require` encrypt without looking at
//! who is there, `verify-ca` asks for a known authority, `verify-full` for the host's name, too.

use rustls::RootCertStore;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::engines::trust;
pub(super) use crate::engines::trust::Trust;
use crate::error::{Error, Result};
use crate::url::ServerUrl;

/// # Errors
/// Files that can't be read, or hold no certificate or key.
pub(super) fn connector(url: &ServerUrl, trust: Trust) -> Result<MakeRustlsConnect> {
    let roots = match (trust, url.param("sslrootcert")) {
        (Trust::Anyone, _) => RootCertStore::empty(),
        (_, Some(path)) => trust::read_roots("sslrootcert", path)?,
        (_, None) => {
            return Err(Error::Engine(
                "sslmode=verify-ca and verify-full need sslrootcert, the file of the authority's certificate"
                    .to_owned(),
            ));
        }
    };
    let identity = ["sslcert", "sslkey"].map(|option| (option, url.param(option)));
    Ok(MakeRustlsConnect::new(trust::client_config("PostgreSQL", trust, roots, identity)?))
}
