//! What stores are told by the environment, and by what stands in its place in a pod.

use juicefs_base::SecretString;
use std::collections::BTreeMap;

/// Values by the names of the environment's variables. All of them are kept as secrets, as most are.
#[derive(Clone, Debug, Default)]
pub struct StoreVariables(BTreeMap<&'static str, SecretString>);

impl StoreVariables {
    /// Opens a volume's private key.
    pub const RSA_PASSPHRASE: &str = "JFS_RSA_PASSPHRASE";

    /// Account, key and address of Azure Blob; wins over the keys of the setting.
    pub const AZURE_CONNECTION_STRING: &str = "AZURE_STORAGE_CONNECTION_STRING";
    /// The file with Google's credentials.
    pub const GOOGLE_CREDENTIALS: &str = "GOOGLE_APPLICATION_CREDENTIALS";
    /// A server in the place of Google's, which asks for no credentials.
    pub const GOOGLE_EMULATOR: &str = "STORAGE_EMULATOR_HOST";

    /// The file of a private key for SSH.
    pub const SSH_PRIVATE_KEY: &str = "SSH_PRIVATE_KEY_PATH";
    /// The file of the hosts' keys; without it they are not checked.
    pub const SSH_KNOWN_HOSTS: &str = "SSH_KNOWN_HOSTS";

    /// Every name that a store may ask for.
    pub const NAMES: &[&str] = &[
        Self::RSA_PASSPHRASE,
        Self::AZURE_CONNECTION_STRING,
        Self::GOOGLE_CREDENTIALS,
        Self::GOOGLE_EMULATOR,
        Self::SSH_PRIVATE_KEY,
        Self::SSH_KNOWN_HOSTS,
        "EOS_ACCESS_KEY",
        "EOS_SECRET_KEY",
        "MINIO_ACCESS_KEY",
        "MINIO_REGION",
        "MINIO_SECRET_KEY",
        "SCW_ACCESS_KEY",
        "SCW_SECRET_KEY",
    ];

    /// What `lookup` knows of [`Self::NAMES`].
    pub fn collect(lookup: impl Fn(&str) -> Option<SecretString>) -> Self {
        Self(Self::NAMES.iter().filter_map(|name| Some((*name, lookup(name)?))).collect())
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&SecretString> {
        self.0.get(name)
    }

    /// All of them, to be handed on.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &SecretString)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }
}
