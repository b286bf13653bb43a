//! Whom a connection trusts. `sslmode` says it in the words of libpq: `prefer` and `require` encrypt without looking at
//! who is there, `verify-ca` asks for a known authority, `verify-full` for the host's name, too.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::{Error, Result};
use crate::url::ServerUrl;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    Anyone,
    Authority,
    Name,
}

/// # Errors
/// Files that can't be read, or hold no certificate or key.
pub(super) fn connector(url: &ServerUrl, trust: Trust) -> Result<MakeRustlsConnect> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let broken = |cause: rustls::Error| Error::Engine(format!("TLS for PostgreSQL can't be set up: {cause}"));
    let verifier = Verifier { trust, inner: inner(url, trust, &provider)?, provider: Arc::clone(&provider) };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(broken)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let config = match (url.param("sslcert"), url.param("sslkey")) {
        (Some(certificate), Some(key)) => {
            let chain = read_certificates("sslcert", certificate)?;
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|cause| Error::Engine(format!("can't read sslkey={key}: {cause}")))?;
            builder.with_client_auth_cert(chain, key).map_err(broken)?
        }
        (None, None) => builder.with_no_client_auth(),
        _ => return Err(Error::Engine("sslcert and sslkey go together: give both".to_owned())),
    };
    Ok(MakeRustlsConnect::new(config))
}

fn read_certificates(option: &str, path: &str) -> Result<Vec<CertificateDer<'static>>> {
    let unreadable =
        |cause: rustls::pki_types::pem::Error| Error::Engine(format!("can't read {option}={path}: {cause}"));
    let found = CertificateDer::pem_file_iter(path).map_err(unreadable)?;
    let found = found.collect::<std::result::Result<Vec<_>, _>>().map_err(unreadable)?;
    match found.is_empty() {
        true => Err(Error::Engine(format!("{option}={path} holds no certificate"))),
        false => Ok(found),
    }
}

/// What checks a chain; none where nobody is asked.
fn inner(
    url: &ServerUrl,
    trust: Trust,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<WebPkiServerVerifier>>> {
    if trust == Trust::Anyone {
        return Ok(None);
    }
    let mut roots = RootCertStore::empty();
    let Some(path) = url.param("sslrootcert") else {
        return Err(Error::Engine(
            "sslmode=verify-ca and verify-full need sslrootcert, the file of the authority's certificate"
                .to_owned(),
        ));
    };
    for certificate in read_certificates("sslrootcert", path)? {
        roots.add(certificate).map_err(|cause| Error::Engine(format!("sslrootcert={path}: {cause}")))?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
    let verifier = verifier.map_err(|cause| Error::Engine(format!("sslrootcert={path}: {cause}")))?;
    Ok(Some(verifier))
}

#[derive(Debug)]
struct Verifier {
    trust: Trust,
    inner: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let Some(inner) = &self.inner else { return Ok(ServerCertVerified::assertion()) };
        match inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.trust == Trust::Authority => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
