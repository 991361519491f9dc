//! What a guest is told at its first boot, as cloud-init reads it from a disk that its host makes (NoCloud).
//!
//! <https://cloudinit.readthedocs.io/en/latest/reference/datasources/nocloud.html>

use std::fmt;
use std::str::FromStr;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::DeviceId;
use super::fields::{Rules, spec};
use super::part::{Fault, Part};

/// The most that a text has, in bytes.
const MOST: usize = 64 << 10;

/// What user-data may begin with; anything else cloud-init leaves aside without a word.
const BEGINNINGS: &[&str] = &[
    "#cloud-config",
    "#!",
    "#include",
    "#cloud-boothook",
    "#part-handler",
    "## template: jinja",
    "Content-Type:",
    "MIME-Version:",
];

/// What meta-data has by itself.
const OWN: &[&str] = &["instance-id", "local-hostname", "public-keys"];

spec! {
    /// What a guest is told at its first boot. It is in the log, for everybody who may read that: no place for passwords.
    #[derive(Default)]
    pub struct CloudInit {
        optional {
            /// What cloud-init is to do.
            user_data: Option<CloudText> = "nothing";
            /// How its network is, in cloud-init's own form, version 1 or 2.
            network_config: Option<CloudText> = "what the guest's image does by itself";
            /// Further fields of meta-data.
            meta_data: Option<CloudText> = "none";
            /// Public SSH keys of the image's first user.
            ssh_keys: Vec<SshKey> = "none";
        }
    }
}

impl CloudInit {
    /// The id of the disk that it is on; no other disk of such a VM has it.
    pub fn disk() -> DeviceId {
        "cidata".parse().expect("letters")
    }
}

impl Rules for CloudInit {
    fn broken(&self) -> Option<Fault> {
        let user_data = self.user_data.as_ref().and_then(|text| user_data(text.as_str()));
        let map = |field: &str, text: &Option<CloudText>| {
            let error = mapping(text.as_ref()?.as_str()).err()?;
            Some(Fault::new(field, error))
        };
        user_data
            .map(|why| Fault::new("userData", why))
            .or_else(|| map("networkConfig", &self.network_config))
            .or_else(|| map("metaData", &self.meta_data))
            .or_else(|| {
                let keys = mapping(self.meta_data.as_ref()?.as_str()).ok()?;
                let own = keys.into_iter().find(|key| OWN.contains(&key.as_str()))?;
                Some(Fault::new(
                    "metaData",
                    format!("{own} is given by Chronovisor; take it out"),
                ))
            })
    }
}

/// What is wrong with user-data.
fn user_data(text: &str) -> Option<String> {
    let Some(beginning) = BEGINNINGS.iter().find(|beginning| text.starts_with(**beginning)) else {
        return Some(format!(
            "cloud-init takes nothing that begins with none of {}",
            BEGINNINGS.join(", ")
        ));
    };
    match *beginning {
        "#cloud-config" => mapping(text).err(),
        _ => None,
    }
}

/// The names of the fields that a YAML text has; none when it says nothing.
fn mapping(text: &str) -> Result<Vec<String>, String> {
    let fields: Option<std::collections::BTreeMap<String, IgnoredAny>> = serde_saphyr::from_str(text)
        .map_err(|error| {
            let line = error.location().map_or(0, |location| location.line());
            format!("line {line} is no YAML, or no field: write fields, one a line")
        })?;
    Ok(fields.unwrap_or_default().into_keys().collect())
}

/// A text for cloud-init: 1 byte to 64 KiB, without a zero byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CloudText(String);

/// Why a text is none for cloud-init.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a text for cloud-init has 1 to {MOST} bytes and no zero byte; this one has {0} bytes")]
pub struct CloudTextError(usize);

impl CloudText {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CloudText {
    type Error = CloudTextError;

    fn try_from(text: String) -> Result<Self, CloudTextError> {
        match (1..=MOST).contains(&text.len()) && !text.contains('\0') {
            true => Ok(Self(text)),
            false => Err(CloudTextError(text.len())),
        }
    }
}

impl From<CloudText> for String {
    fn from(text: CloudText) -> String {
        text.0
    }
}

impl Part for CloudText {
    fn values() -> String {
        "a text of at most 64 KiB".to_owned()
    }
}

/// A public SSH key, as a line of `authorized_keys` without options.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SshKey(String);

/// A text that is no public SSH key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no public SSH key: write its type, its key and, if wanted, a comment, such as ssh-ed25519 AAAA... me@home"
)]
pub struct SshKeyError(String);

impl FromStr for SshKey {
    type Err = SshKeyError;

    fn from_str(text: &str) -> Result<Self, SshKeyError> {
        let mut words = text.split(' ');
        let kind = words.next().unwrap_or_default();
        let key = words.next().unwrap_or_default();
        let known = ["ssh-", "ecdsa-", "sk-"]
            .iter()
            .any(|start| kind.starts_with(start));
        let base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
        let good = known && !key.is_empty() && key.bytes().all(base64);
        match good && text.len() <= 16 << 10 && !text.chars().any(char::is_control) {
            true => Ok(Self(text.to_owned())),
            false => Err(SshKeyError(text.chars().take(40).collect())),
        }
    }
}

impl SshKey {
    /// The key's line.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SshKey {
    type Error = SshKeyError;

    fn try_from(text: String) -> Result<Self, SshKeyError> {
        text.parse()
    }
}

impl From<SshKey> for String {
    fn from(key: SshKey) -> String {
        key.0
    }
}

impl fmt::Display for SshKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Part for SshKey {
    fn values() -> String {
        "a public SSH key, such as ssh-ed25519 AAAA... me@home".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(json: serde_json::Value) -> Option<String> {
        let cloud_init: CloudInit = serde_json::from_value(json).unwrap();
        cloud_init.fault().map(|fault| fault.field)
    }

    #[test]
    fn what_cloud_init_would_leave_aside_or_not_read_is_refused() {
        for good in [
            serde_json::json!({}),
            serde_json::json!({"userData": "#cloud-config\n"}),
            serde_json::json!({"userData": "#cloud-config\npackages: [nginx]\nusers:\n- default\n"}),
            serde_json::json!({"userData": "#!/bin/sh\necho {"}),
            serde_json::json!({"networkConfig": "version: 2\nethernets: {}\n", "metaData": "colour: red\n"}),
        ] {
            assert_eq!(fault(good.clone()), None, "{good}");
        }
        for (field, bad) in [
            ("userData", serde_json::json!({"userData": "packages: [nginx]\n"})),
            (
                "userData",
                serde_json::json!({"userData": "#cloud-config\npackages: [nginx\n"}),
            ),
            (
                "userData",
                serde_json::json!({"userData": "#cloud-config\n- a\n"}),
            ),
            ("networkConfig", serde_json::json!({"networkConfig": "version"})),
            ("metaData", serde_json::json!({"metaData": "a: b: c"})),
            ("metaData", serde_json::json!({"metaData": "instance-id: me\n"})),
        ] {
            assert_eq!(fault(bad.clone()).as_deref(), Some(field), "{bad}");
        }
    }

    #[test]
    fn a_key_is_one_line_of_a_known_type() {
        assert!("ssh-ed25519 AAAAC3Nza me@home".parse::<SshKey>().is_ok());
        for bad in [
            "",
            "ssh-ed25519",
            "rsa AAAA",
            "ssh-rsa AA AA\nssh-rsa BB",
            "command=\"x\" ssh-rsa AA",
        ] {
            assert!(bad.parse::<SshKey>().is_err(), "{bad}");
        }
        assert!(CloudText::try_from(String::new()).is_err());
        assert!(CloudText::try_from("a\0b".to_owned()).is_err());
    }
}
