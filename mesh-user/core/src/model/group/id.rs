//! Ids of groups, members, peers, access rules and nodes. Their copies share one text.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{NotAllowed, text::text};

/// `ng_` and a UUID of version 4.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^ng_[0-9a-f-]{36}$")]
pub struct GroupId(Arc<str>);

/// A member's id as its platform gives it: `app_...`, `postgresql_...`, `external_<uuid>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^[A-Za-z0-9_-]{1,63}$")]
pub struct MemberId(Arc<str>);

/// A UUID, as a rule; older ones begin with `external_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^[A-Za-z0-9_-]{1,63}$")]
pub struct PeerId(Arc<str>);

/// Id of an access rule, unique in its group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^[A-Za-z0-9_-]{1,63}$")]
pub struct RuleId(Arc<str>);

/// Id of a node that runs peers: the `hv` of its peers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^[A-Za-z0-9_-]{1,63}$")]
pub struct NodeId(Arc<str>);

text!(GroupId);
text!(MemberId);
text!(PeerId);
text!(RuleId);
text!(NodeId);

impl GroupId {
    pub const PREFIX: &'static str = "ng_";

    pub fn new(uuid: Uuid) -> GroupId {
        GroupId(format!("{}{uuid}", GroupId::PREFIX).into())
    }

    fn parse(text: &str) -> Result<GroupId, NotAllowed> {
        let refused = || NotAllowed::new("network group id", text, "ng_ and a UUID in lower case");
        let uuid = text.strip_prefix(GroupId::PREFIX).ok_or_else(refused)?;
        let parsed = Uuid::try_parse(uuid).map_err(|_| refused())?;
        if parsed.to_string() == uuid { Ok(GroupId(text.into())) } else { Err(refused()) }
    }
}

impl MemberId {
    /// Begins the ids of external members.
    pub const EXTERNAL: &'static str = "external_";

    pub fn external(uuid: Uuid) -> MemberId {
        MemberId(format!("{}{uuid}", MemberId::EXTERNAL).into())
    }

    fn parse(text: &str) -> Result<MemberId, NotAllowed> {
        token("member id", text).map(MemberId)
    }
}

impl PeerId {
    pub fn new(uuid: Uuid) -> PeerId {
        PeerId(uuid.to_string().into())
    }

    /// Comes before every id, and is none.
    pub(crate) fn least() -> PeerId {
        PeerId("".into())
    }

    fn parse(text: &str) -> Result<PeerId, NotAllowed> {
        token("peer id", text).map(PeerId)
    }
}

impl RuleId {
    pub fn new(uuid: Uuid) -> RuleId {
        RuleId(uuid.to_string().into())
    }

    fn parse(text: &str) -> Result<RuleId, NotAllowed> {
        token("access rule id", text).map(RuleId)
    }
}

impl NodeId {
    /// After the host; what is not allowed becomes `-`, and what is too long is cut.
    pub fn of_host(name: &str) -> NodeId {
        let allowed = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
        let id: String = name.chars().take(63).map(|letter| if allowed(letter) { letter } else { '-' }).collect();
        NodeId(if id.is_empty() { "localhost".into() } else { id.into() })
    }

    fn parse(text: &str) -> Result<NodeId, NotAllowed> {
        token("node id", text).map(NodeId)
    }
}

/// Letters, digits, `_` and `-`: what can stand in a URL, in a store key and, but for `_`, in a name.
fn token(noun: &'static str, text: &str) -> Result<Arc<str>, NotAllowed> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if (1..=63).contains(&text.len()) && text.bytes().all(allowed) {
        return Ok(text.into());
    }
    Err(NotAllowed::new(noun, text, "1 to 63 of a-z, A-Z, 0-9, _ and -"))
}
