//! One sealed object: `u16 key length, u8 nonce length, wrapped data key, nonce, ciphertext, tag` (format 6.10).

use aws_lc_rs::aead::{
    AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};
use aws_lc_rs::rsa::{
    OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey,
};
use bytes::{Buf, Bytes, BytesMut};
use zeroize::Zeroizing;

use super::{Encryption, pem};
use crate::error::{Error, Result};

/// What the data keys are wrapped for (OAEP's label).
const LABEL: &[u8] = b"keys";
/// Both algorithms take keys of 256 bits.
const DATA_KEY_BYTES: usize = 32;
const HEADER_BYTES: usize = 3;

/// The volume's private key, ready to seal and open. Its `Debug` shows nothing of it.
pub struct VolumeKey {
    public: OaepPublicEncryptingKey,
    private: OaepPrivateDecryptingKey,
    algorithm: &'static Algorithm,
}

impl std::fmt::Debug for VolumeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VolumeKey").field("bits", &self.private.key_size_bits()).finish_non_exhaustive()
    }
}

impl VolumeKey {
    /// # Errors
    /// [`Error::BadSpec`]: an unknown algorithm, text that is no RSA key, a passphrase that is missing or wrong.
    pub fn open_pem(encryption: &Encryption) -> Result<Self> {
        let algorithm = match encryption.algorithm.as_str() {
            "" | "aes256gcm-rsa" => &AES_256_GCM,
            "chacha20-rsa" => &CHACHA20_POLY1305,
            other => {
                return Err(Error::BadSpec(format!(
                    "encryption algorithm `{other}` is not supported: use aes256gcm-rsa or chacha20-rsa"
                )));
            }
        };
        let der = pem::pkcs8_of(&encryption.key, encryption.passphrase.as_ref()).map_err(Error::BadSpec)?;
        let private = PrivateDecryptingKey::from_pkcs8(der.as_bytes()).map_err(|cause| {
            Error::BadSpec(format!("the private key is no RSA key of 2048 to 8192 bits ({cause})"))
        })?;
        let refused = |_| Error::BadSpec("the private key can't be used with OAEP".to_owned());
        Ok(Self {
            public: OaepPublicEncryptingKey::new(private.public_key()).map_err(refused)?,
            private: OaepPrivateDecryptingKey::new(private).map_err(refused)?,
            algorithm,
        })
    }

    /// # Errors
    /// A sentence when the library refuses.
    pub fn seal(&self, body: &[u8]) -> Result<Bytes, String> {
        let data_key = Zeroizing::new(rand::random::<[u8; DATA_KEY_BYTES]>());
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut wrapped = vec![0; self.public.ciphertext_size()];
        let wrapped = self
            .public
            .encrypt(&OAEP_SHA256_MGF1SHA256, &*data_key, &mut wrapped, Some(LABEL))
            .map_err(|_| "the data key can't be wrapped".to_owned())?;
        let key_bytes = u16::try_from(wrapped.len()).map_err(|_| "the private key is too long".to_owned())?;
        let head = HEADER_BYTES + wrapped.len() + nonce.len();
        let mut sealed = Vec::with_capacity(head + body.len() + self.algorithm.tag_len());
        sealed.extend_from_slice(&key_bytes.to_be_bytes());
        sealed.push(NONCE_LEN as u8);
        sealed.extend_from_slice(wrapped);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(body);
        let text = sealed.get_mut(head..).unwrap_or_default();
        let tag = self
            .cipher(&data_key[..])?
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), text)
            .map_err(|_| "the object is too long to be encrypted".to_owned())?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed.into())
    }

    /// The body, in the memory of the sealed object where nobody else holds it.
    ///
    /// # Errors
    /// A sentence: not sealed, sealed for another key, or changed since.
    pub fn open(&self, sealed: Bytes) -> Result<Bytes, String> {
        let short = || format!("{} bytes are no encrypted object", sealed.len());
        let (&[high, low, nonce_bytes], rest) =
            sealed.split_first_chunk::<HEADER_BYTES>().ok_or_else(short)?;
        let key_bytes = usize::from(u16::from_be_bytes([high, low]));
        let head = HEADER_BYTES + key_bytes + usize::from(nonce_bytes);
        if key_bytes != self.private.key_size_bytes() || usize::from(nonce_bytes) != NONCE_LEN {
            return Err("it is not encrypted, or not with this volume's kind of key".to_owned());
        }
        let (wrapped, rest) = rest.split_at_checked(key_bytes).ok_or_else(short)?;
        let nonce = rest.first_chunk::<NONCE_LEN>().ok_or_else(short)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let mut data_key = Zeroizing::new(vec![0; self.private.min_output_size()]);
        let data_key = self
            .private
            .decrypt(&OAEP_SHA256_MGF1SHA256, wrapped, &mut data_key, Some(LABEL))
            .map_err(|_| "it is encrypted with another private key".to_owned())?;
        let cipher = self.cipher(data_key)?;
        let mut body = sealed.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        body.advance(head);
        let length = cipher
            .open_in_place(nonce, Aad::empty(), &mut body)
            .map_err(|_| "its encrypted bytes were changed".to_owned())?
            .len();
        body.truncate(length);
        Ok(body.freeze())
    }

    fn cipher(&self, data_key: &[u8]) -> Result<LessSafeKey, String> {
        let key = UnboundKey::new(self.algorithm, data_key);
        Ok(LessSafeKey::new(key.map_err(|_| "its data key has a wrong length".to_owned())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use juicefs_base::SecretString;

    const PASSPHRASE: &str = "correct horse";

    fn encryption(pem: &str, algorithm: &str) -> Encryption {
        Encryption {
            key: SecretString::from(pem),
            algorithm: algorithm.to_owned(),
            passphrase: Some(SecretString::from(PASSPHRASE)),
        }
    }

    const KEYS: [&str; 5] = [
        include_str!("../../tests/golden/rsa-pkcs8.pem"),
        include_str!("../../tests/golden/rsa-pkcs1.pem"),
        include_str!("../../tests/golden/rsa-pkcs8-encrypted.pem"),
        include_str!("../../tests/golden/rsa-pkcs1-aes256.pem"),
        include_str!("../../tests/golden/rsa-pkcs1-3des.pem"),
    ];

    #[test]
    fn every_form_of_the_key_opens_what_every_other_sealed() {
        let keys = KEYS.map(|pem| VolumeKey::open_pem(&encryption(pem, "")).expect("a key"));
        for sealer in &keys {
            let sealed = sealer.seal(b"body").expect("sealed");
            assert_eq!(sealed.len(), 3 + 256 + 12 + 4 + 16);
            for opener in &keys {
                assert_eq!(opener.open(sealed.clone()).expect("opened"), "body");
            }
        }
    }

    #[test]
    fn what_the_peer_sealed_opens() {
        let check = |algorithm: &str, sealed: &'static [u8], uuid: &str| {
            let key = VolumeKey::open_pem(&encryption(KEYS[0], algorithm)).expect("a key");
            assert_eq!(key.open(Bytes::from_static(sealed)).expect(algorithm), uuid);
        };
        check(
            "aes256gcm-rsa",
            include_bytes!("../../tests/golden/uuid-aes256gcm-rsa.bin"),
            include_str!("../../tests/golden/uuid-aes256gcm-rsa.txt"),
        );
        check(
            "chacha20-rsa",
            include_bytes!("../../tests/golden/uuid-chacha20-rsa.bin"),
            include_str!("../../tests/golden/uuid-chacha20-rsa.txt"),
        );
    }

    #[test]
    fn anything_but_the_sealed_bytes_is_refused() {
        let key = VolumeKey::open_pem(&encryption(KEYS[0], "")).expect("a key");
        let sealed = key.seal(&[7; 1000]).expect("sealed");
        for at in [0, 2, 3, 200, 260, 280, sealed.len() - 1] {
            let mut wrong = sealed.to_vec();
            wrong[at] ^= 1;
            assert!(key.open(wrong.into()).is_err(), "byte {at}");
        }
        for length in [0, 2, 3, 270, 271, 280] {
            assert!(key.open(sealed.slice(..length)).is_err(), "{length} bytes");
        }
        assert!(key.open(Bytes::from_static(b"plain text, as a volume without a key has it")).is_err());
    }

    #[test]
    fn a_key_that_can_not_be_used_is_explained_without_showing_it() {
        let wrong = SecretString::from("wrong");
        for (pem, passphrase, word) in [
            (KEYS[2], None, "JFS_RSA_PASSPHRASE"),
            (KEYS[3], None, "JFS_RSA_PASSPHRASE"),
            (KEYS[2], Some(wrong.clone()), "does not open"),
            (KEYS[3], Some(wrong.clone()), "does not open"),
            (KEYS[4], Some(wrong), "does not open"),
            ("nothing", None, "PEM"),
            ("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n", None, "RSA"),
            ("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n", None, "2048"),
        ] {
            let encryption = Encryption { passphrase, ..encryption(pem, "") };
            let error = VolumeKey::open_pem(&encryption).expect_err(word).to_string();
            assert!(error.contains(word) && !error.contains("MII"), "{error}");
        }
        let error = VolumeKey::open_pem(&encryption(KEYS[0], "sm4gcm")).expect_err("sm4").to_string();
        assert!(error.contains("sm4gcm") && error.contains("aes256gcm-rsa"), "{error}");
    }
}
