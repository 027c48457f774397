//! The name of a cluster: a DNS label, since it becomes part of names and labels.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterId(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no cluster id (1 to 63 of a-z, 0-9 and -, not first or last -)")]
pub struct NotAClusterId(String);

impl ClusterId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClusterId {
    type Err = NotAClusterId;

    fn from_str(text: &str) -> Result<Self, NotAClusterId> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let ok = (1..=63).contains(&text.len())
            && text.bytes().all(allowed)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if ok { Ok(ClusterId(text.to_owned())) } else { Err(NotAClusterId(text.to_owned())) }
    }
}

impl TryFrom<String> for ClusterId {
    type Error = NotAClusterId;

    fn try_from(text: String) -> Result<Self, NotAClusterId> {
        text.parse()
    }
}

impl From<ClusterId> for String {
    fn from(id: ClusterId) -> String {
        id.0
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_dns_labels_only() {
        for good in ["a", "cl01", "dry-paper", &"x".repeat(63)] {
            assert_eq!(good.parse::<ClusterId>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a/b", "a b", &"x".repeat(64)] {
            assert!(bad.parse::<ClusterId>().is_err(), "{bad:?}");
        }
    }
}
