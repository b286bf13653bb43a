//! Settings on their way to a mount pod: everything, secrets included, in a memfd that nobody can change any
//! more. Nothing else writes secrets anywhere.

use crate::error::{Error, Result};
use crate::settings::{MountOptions, MountSecrets, MountSettings};
use juicefs_base::{ExposeSecret, SecretString};
use juicefs_object::StoreVariables;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;

/// Largest settings document a worker reads.
const DOCUMENT_BYTES_MAX: u64 = 1 << 20;

impl MountSettings {
    /// Everything, secrets included, in a memfd that can no longer be changed by anybody.
    ///
    /// # Errors
    /// The kernel refuses the memfd or its seals.
    pub fn seal(&self) -> Result<OwnedFd> {
        let secret =
            |value: &Option<SecretString>| value.as_ref().map(|text| text.expose_secret().to_owned());
        let document = Document {
            v: DOCUMENT_VERSION,
            meta_url: self.secrets.meta_url.expose_secret().to_owned(),
            access_key: secret(&self.secrets.access_key),
            secret_key: secret(&self.secrets.secret_key),
            session_token: secret(&self.secrets.session_token),
            variables: self
                .secrets
                .variables
                .iter()
                .map(|(name, value)| (name.to_owned(), value.expose_secret().to_owned()))
                .collect(),
            options: self.options.clone(),
        };
        let mut text = serde_json::to_vec(&document)
            .map_err(|error| Error::Setting(format!("mount settings: {error}")))?;
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let refused = |errno: nix::Error| Error::io("settings memfd")(errno.into());
        let mut file = File::from(memfd_create(c"juicefs-settings", flags).map_err(refused)?);
        let written = file.write_all(&text);
        text.fill(0);
        written.map_err(Error::io("settings memfd"))?;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals())).map_err(refused)?;
        Ok(file.into())
    }

    /// Reads what [`MountSettings::seal`] wrote.
    ///
    /// # Errors
    /// A descriptor that is not fully sealed, too long, or of a newer version.
    pub fn unseal(memfd: OwnedFd) -> Result<Self> {
        let mut file = File::from(memfd);
        let found = fcntl(&file, FcntlArg::F_GET_SEALS)
            .map_err(|_| Error::Protocol("the settings are not in a memfd".to_owned()))?;
        if !SealFlag::from_bits_truncate(found).contains(seals()) {
            return Err(Error::Protocol("the settings memfd is not sealed".to_owned()));
        }
        file.rewind().map_err(Error::io("settings memfd"))?;
        let mut text = Vec::new();
        file.take(DOCUMENT_BYTES_MAX).read_to_end(&mut text).map_err(Error::io("settings memfd"))?;
        // The parser's message may quote the document: only its place is told.
        let parsed = serde_json::from_slice::<Document>(&text);
        text.fill(0);
        let document = parsed.map_err(|error| {
            Error::Protocol(format!(
                "the settings do not parse at line {} column {}",
                error.line(),
                error.column()
            ))
        })?;
        if document.v > DOCUMENT_VERSION {
            return Err(Error::Protocol(format!(
                "the settings have version {}, this mount process knows {DOCUMENT_VERSION}; upgrade its image",
                document.v
            )));
        }
        let secret = |value: Option<String>| value.map(SecretString::from);
        Ok(Self {
            secrets: MountSecrets {
                meta_url: SecretString::from(document.meta_url),
                access_key: secret(document.access_key),
                secret_key: secret(document.secret_key),
                session_token: secret(document.session_token),
                variables: StoreVariables::collect(|name| {
                    document.variables.get(name).map(|value| SecretString::from(value.as_str()))
                }),
            },
            options: document.options,
        })
    }
}

const DOCUMENT_VERSION: u32 = 1;

/// What the memfd holds; lives only inside `seal` and `unseal`.
#[derive(Serialize, Deserialize)]
struct Document {
    v: u32,
    meta_url: String,
    access_key: Option<String>,
    secret_key: Option<String>,
    session_token: Option<String>,
    #[serde(default)]
    variables: BTreeMap<String, String>,
    options: MountOptions,
}

fn seals() -> SealFlag {
    SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "canary-7f3a";

    fn settings() -> MountSettings {
        let mut settings =
            MountSettings::new(SecretString::from(format!("redis://:{CANARY}@db/1")), "/mnt/x");
        settings.secrets.secret_key = Some(SecretString::from(CANARY.to_owned()));
        settings.secrets.session_token = Some(SecretString::from(CANARY.to_owned()));
        settings.secrets.variables =
            StoreVariables::collect(|name| Some(SecretString::from(format!("{CANARY}-{name}"))));
        settings.options.subdir = Some("a/b".to_owned());
        settings.options.root_squash = Some((65534, 65534));
        settings
    }

    #[test]
    fn settings_survive_the_memfd_and_secrets_stay_out_of_debug() {
        let settings = settings();
        assert!(!format!("{settings:?}").contains(CANARY));
        assert!(!serde_json::to_string(&settings.options).unwrap().contains(CANARY));
        let back = MountSettings::unseal(settings.seal().unwrap()).unwrap();
        assert_eq!(back.options, settings.options);
        assert_eq!(back.secrets.meta_url.expose_secret(), settings.secrets.meta_url.expose_secret());
        assert_eq!(back.secrets.secret_key.unwrap().expose_secret(), CANARY);
        let passphrase = back.secrets.variables.get(StoreVariables::RSA_PASSPHRASE).unwrap();
        assert!(passphrase.expose_secret().starts_with(CANARY));
        assert!(back.secrets.access_key.is_none());
    }

    #[test]
    fn a_sealed_memfd_takes_no_writes_and_an_unsealed_one_is_refused() {
        let mut sealed = File::from(settings().seal().unwrap());
        assert!(sealed.write_all(b"x").is_err());
        let open = memfd_create(c"open", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).unwrap();
        assert!(matches!(MountSettings::unseal(open), Err(Error::Protocol(_))));
        assert!(MountSettings::unseal(tempfile::tempfile().unwrap().into()).is_err());
    }

    #[test]
    fn a_broken_document_is_reported_without_its_text() {
        let mut file =
            File::from(memfd_create(c"bad", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING).unwrap());
        write!(file, r#"{{"v":1,"meta_url":{CANARY}}}"#).unwrap();
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals())).unwrap();
        let error = MountSettings::unseal(file.into()).unwrap_err();
        assert!(!error.to_string().contains(CANARY) && error.to_string().contains("line 1"), "{error}");
    }
}
