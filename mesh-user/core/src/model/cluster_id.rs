//! The name of a cluster: a DNS label, since it becomes part of names and labels.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::group::NodeId;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClusterId(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no cluster id (1 to 63 of a-z, 0-9 and -, not first or last -)")]
pub struct NotAClusterId(String);

impl ClusterId {
    /// Of a cluster that is one node: what a cluster id may not have becomes `-` or is left out.
    pub fn of_node(node: &NodeId) -> ClusterId {
        let id = node.as_str().to_ascii_lowercase().replace('_', "-");
        let id = id.trim_matches('-');
        ClusterId(if id.is_empty() { "node".to_owned() } else { id.to_owned() })
    }

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
    fn a_node_gives_its_cluster_a_name() {
        for (node, cluster) in [("hv-a", "hv-a"), ("HV_A", "hv-a"), ("_a_", "a"), ("__", "node")] {
            let id = ClusterId::of_node(&node.parse().unwrap());
            assert_eq!(id.as_str(), cluster);
            assert_eq!(id.as_str().parse(), Ok(id.clone()));
        }
    }

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
