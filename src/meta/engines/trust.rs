//! Whom a TLS connection to a database trusts, for drivers that ask `rustls` themselves.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::{Error, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    Anyone,
    /// A known authority, whatever the name.
    Authority,
    /// And the host's name.
    Name,
}

/// A client's certificate and its key, as the options that name the files, and the files.
pub(super) type Identity<'a> = [(&'a str, Option<&'a str>); 2];

/// `roots` are needed unless anyone is trusted.
///
/// # Errors
/// Files that can't be read, or hold no certificate or key.
pub(super) fn client_config(
    server: &str,
    trust: Trust,
    roots: RootCertStore,
    identity: Identity<'_>,
) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let broken = |cause: rustls::Error| Error::Engine(format!("TLS for {server} can't be set up: {cause}"));
    let inner = match trust {
        Trust::Anyone => None,
        Trust::Authority | Trust::Name => {
            let verifier =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
            let unusable = |cause| Error::Engine(format!("TLS for {server} can't be set up: {cause}"));
            Some(verifier.map_err(unusable)?)
        }
    };
    let verifier = Verifier { trust, inner, provider: Arc::clone(&provider) };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(broken)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    match identity {
        [(option, Some(certificate)), (key_option, Some(key))] => {
            let chain = read_certificates(option, certificate)?;
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|cause| Error::Engine(format!("can't read {key_option}={key}: {cause}")))?;
            builder.with_client_auth_cert(chain, key).map_err(broken)
        }
        [(_, None), (_, None)] => Ok(builder.with_no_client_auth()),
        [(option, _), (key_option, _)] => {
            Err(Error::Engine(format!("{option} and {key_option} go together: give both")))
        }
    }
}

/// The authorities in a file.
///
/// # Errors
/// As [`client_config`].
pub(super) fn read_roots(option: &str, path: &str) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(option, path)? {
        roots.add(certificate).map_err(|cause| Error::Engine(format!("{option}={path}: {cause}")))?;
    }
    Ok(roots)
}

fn read_certificates(option: &str, path: &str) -> Result<Vec<CertificateDer<'static>>> {
    let unreadable =
        |cause: rustls::pki_types::pem::Error| Error::Engine(format!("can't read {option}={path}: {cause}"));
    let found = CertificateDer::pem_file_iter(Path::new(path)).map_err(unreadable)?;
    let found = found.collect::<std::result::Result<Vec<_>, _>>().map_err(unreadable)?;
    match found.is_empty() {
        true => Err(Error::Engine(format!("{option}={path} holds no certificate"))),
        false => Ok(found),
    }
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
