//! A member of a network group: something that runs as any number of peers.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{ManagedBy, MemberId, NotAllowed, text::text};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Member {
    pub id: MemberId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// `<member>.m.<group>.<suffix>`, or a name of the operator's choice below an allowed suffix.
    pub domain_name: DomainName,
    #[serde(alias = "type")]
    pub kind: MemberKind,
    #[serde(default)]
    pub status: MemberStatus,
    #[serde(default)]
    pub managed_by: ManagedBy,
    /// It was made with a peer of its own, and goes with its last one. Others stay until they are unlinked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub made_with_peer: bool,
}

/// Case does not matter on input; `add-on` is `ADDON`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", rename_all = "UPPERCASE")]
pub enum MemberKind {
    Application,
    Addon,
    External,
    Loadbalancer,
}

/// Whether what the member stands for is there, as its platform or node reports. Unlinking cleans a deleted one away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MemberStatus {
    #[default]
    Active,
    Deleted,
}

/// A name of DNS in lower case, without the final dot; at most 253 bytes of labels of 1 to 63 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String)]
pub struct DomainName(String);

text!(DomainName);

impl DomainName {
    fn parse(text: &str) -> Result<DomainName, NotAllowed> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(allowed);
        if name.len() <= 253 && name.split('.').all(is_label) {
            return Ok(DomainName(name));
        }
        Err(NotAllowed::new("domain name", text, "labels of 1 to 63 of a-z, 0-9, - and _ with dots between"))
    }
}

impl TryFrom<String> for MemberKind {
    type Error = NotAllowed;

    fn try_from(text: String) -> Result<Self, NotAllowed> {
        text.parse()
    }
}

impl std::str::FromStr for MemberKind {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Self, NotAllowed> {
        match text.to_ascii_lowercase().as_str() {
            "application" => Ok(MemberKind::Application),
            "addon" | "add-on" => Ok(MemberKind::Addon),
            "external" => Ok(MemberKind::External),
            "loadbalancer" => Ok(MemberKind::Loadbalancer),
            _ => Err(NotAllowed::new("member kind", text, "one of APPLICATION, ADDON, EXTERNAL, LOADBALANCER")),
        }
    }
}
