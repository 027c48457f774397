//! A member that is closed to everything but its groups.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{MemberId, Org};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Block {
    pub owner_id: Org,
    pub member: MemberId,
}
