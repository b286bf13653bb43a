//! The secrets of a setting: plain text in the document, or AES-128-GCM under a key made of the volume's UUID
//! (format 1.5).

use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes128Gcm, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use juicefs_base::{ExposeSecret, SecretString};
use md5::{Digest, Md5};
use serde::{Deserialize, Deserializer, Serializer};

use crate::error::{Error, Result};

pub(super) fn cipher(uuid: &str) -> Aes128Gcm {
    Aes128Gcm::new(&Md5::digest(uuid.as_bytes()))
}

const NONCE_BYTES: usize = 12;

pub(super) fn encrypt(cipher: &Aes128Gcm, secret: &SecretString) -> Result<SecretString> {
    let nonce: [u8; NONCE_BYTES] = rand::random();
    let sealed =
        cipher.encrypt(Nonce::<U12>::from_slice(&nonce), secret.expose_secret().as_bytes()).map_err(
            |_| Error::Corrupt { record: "setting".to_owned(), cause: "a secret is too long".to_owned() },
        )?;
    Ok(SecretString::from(BASE64.encode([&nonce[..], &sealed].concat())))
}

pub(super) fn decrypt(cipher: &Aes128Gcm, secret: &SecretString) -> Result<SecretString> {
    let text = secret.expose_secret();
    if text == "removed" {
        return Err(Error::Unsupported(
            "a secret of the volume was removed by dump: set it again with `juicefs config`".to_owned(),
        ));
    }
    let corrupt = |cause: &str| Error::Corrupt { record: "setting".to_owned(), cause: cause.to_owned() };
    let sealed = BASE64.decode(text).map_err(|_| corrupt("an encrypted secret is not base64"))?;
    let (nonce, sealed) =
        sealed.split_at_checked(NONCE_BYTES).ok_or_else(|| corrupt("an encrypted secret is too short"))?;
    let open = cipher
        .decrypt(Nonce::<U12>::from_slice(nonce), sealed)
        .map_err(|_| corrupt("an encrypted secret does not match the volume's UUID"))?;
    String::from_utf8(open).map(SecretString::from).map_err(|_| corrupt("a secret is not UTF-8"))
}

pub(super) fn is_empty(secret: &SecretString) -> bool {
    secret.expose_secret().is_empty()
}

pub(super) fn serialize<S: Serializer>(
    secret: &SecretString,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<SecretString, D::Error> {
    String::deserialize(deserializer).map(SecretString::from)
}
