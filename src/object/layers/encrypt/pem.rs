//! The private key's text to its PKCS#8 form. Understood are PKCS#1 and PKCS#8, plain or under a passphrase, in the
//! old form of OpenSSL (`DEK-Info`) as in the new one (PBES2).

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockDecryptMut, KeyIvInit};
use juicefs_base::{ExposeSecret, SecretString};
use md5::{Digest, Md5};
use pkcs8::der::SecretDocument;
use pkcs8::{AlgorithmIdentifierRef, EncryptedPrivateKeyInfo, ObjectIdentifier, PrivateKeyInfo};
use zeroize::Zeroizing;

/// RFC 8017, appendix A.1.
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
/// OpenSSL's old key derivation salts with the first bytes of the IV.
const SALT_BYTES: usize = 8;

const NEEDS_PASSPHRASE: &str =
    "the volume's private key has a passphrase: set the environment variable JFS_RSA_PASSPHRASE";
const WRONG_PASSPHRASE: &str = "the passphrase in JFS_RSA_PASSPHRASE does not open the volume's private key";

/// # Errors
/// A sentence; it never quotes the key or the passphrase.
pub(super) fn pkcs8_of(
    text: &SecretString,
    passphrase: Option<&SecretString>,
) -> Result<SecretDocument, String> {
    let block = ::pem::parse(text.expose_secret())
        .map_err(|_| "the private key is not in PEM form (-----BEGIN ... PRIVATE KEY-----)".to_owned())?;
    match block.tag() {
        "PRIVATE KEY" => document(block.contents()),
        "ENCRYPTED PRIVATE KEY" => {
            let passphrase = passphrase.ok_or(NEEDS_PASSPHRASE)?;
            let info = EncryptedPrivateKeyInfo::try_from(block.contents())
                .map_err(|cause| format!("the encrypted private key can't be read: {cause}"))?;
            info.decrypt(passphrase.expose_secret()).map_err(|_| WRONG_PASSPHRASE.to_owned())
        }
        "RSA PRIVATE KEY" => match block.headers().get("DEK-Info") {
            None => wrapped(block.contents()),
            Some(info) => {
                let passphrase = passphrase.ok_or(NEEDS_PASSPHRASE)?;
                let der = old_openssl(info, block.contents(), passphrase)?;
                // A wrong passphrase may still give a right padding.
                wrapped(&der).map_err(|_| WRONG_PASSPHRASE.to_owned())
            }
        },
        other => Err(format!("the private key is a `{other}`: an RSA private key is needed")),
    }
}

fn document(der: &[u8]) -> Result<SecretDocument, String> {
    SecretDocument::try_from(der).map_err(|cause| format!("the private key can't be read: {cause}"))
}

/// PKCS#1 in PKCS#8.
fn wrapped(pkcs1: &[u8]) -> Result<SecretDocument, String> {
    // Anything but one DER sequence is no key.
    document(pkcs1)?;
    let algorithm =
        AlgorithmIdentifierRef { oid: RSA_ENCRYPTION, parameters: Some(pkcs8::der::asn1::AnyRef::NULL) };
    SecretDocument::encode_msg(&PrivateKeyInfo::new(algorithm, pkcs1))
        .map_err(|cause| format!("the private key can't be read: {cause}"))
}

/// `Proc-Type: 4,ENCRYPTED`: CBC under a key of MD5 sums of passphrase and salt, one feeding the next.
fn old_openssl(info: &str, sealed: &[u8], passphrase: &SecretString) -> Result<Zeroizing<Vec<u8>>, String> {
    let (cipher, iv) = info.split_once(',').ok_or("the private key has a broken DEK-Info line")?;
    let iv = from_hex(iv.trim()).ok_or("the private key has a broken DEK-Info line")?;
    let key_bytes = match cipher.trim() {
        "AES-128-CBC" => 16,
        "AES-192-CBC" | "DES-EDE3-CBC" => 24,
        "AES-256-CBC" => 32,
        other => {
            return Err(format!("the private key is encrypted with {other}; encrypt it with AES-256-CBC"));
        }
    };
    let salt = iv.get(..SALT_BYTES).ok_or("the private key has a broken DEK-Info line")?;
    let mut key = Zeroizing::new(Vec::with_capacity(key_bytes + 16));
    let mut last = Zeroizing::new(Vec::new());
    while key.len() < key_bytes {
        let sum = Md5::new()
            .chain_update(last.as_slice())
            .chain_update(passphrase.expose_secret().as_bytes())
            .chain_update(salt)
            .finalize();
        last = Zeroizing::new(sum.to_vec());
        key.extend_from_slice(&last);
    }
    let key = key.get(..key_bytes).unwrap_or_default();
    let mut der = Zeroizing::new(sealed.to_vec());
    let length = match cipher.trim() {
        "AES-128-CBC" => open_cbc::<cbc::Decryptor<aes::Aes128>>(key, &iv, &mut der),
        "AES-192-CBC" => open_cbc::<cbc::Decryptor<aes::Aes192>>(key, &iv, &mut der),
        "AES-256-CBC" => open_cbc::<cbc::Decryptor<aes::Aes256>>(key, &iv, &mut der),
        _ => open_cbc::<cbc::Decryptor<des::TdesEde3>>(key, &iv, &mut der),
    };
    der.truncate(length.ok_or(WRONG_PASSPHRASE)?);
    Ok(der)
}

fn open_cbc<C: BlockDecryptMut + KeyIvInit>(key: &[u8], iv: &[u8], data: &mut [u8]) -> Option<usize> {
    let cipher = C::new_from_slices(key, iv).ok()?;
    cipher.decrypt_padded_mut::<Pkcs7>(data).ok().map(<[u8]>::len)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if digits.len() % 2 == 1 {
        return None;
    }
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(byte).collect()
}
