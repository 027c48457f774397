//! The owner of network groups.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{NotAllowed, text::text};

/// 1 to 63 of a-z, A-Z, 0-9, `_`, `-` and `.`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^[A-Za-z0-9_.-]{1,63}$")]
pub struct Org(String);

text!(Org);

impl Org {
    fn parse(text: &str) -> Result<Org, NotAllowed> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        if (1..=63).contains(&text.len()) && text.bytes().all(allowed) {
            return Ok(Org(text.to_owned()));
        }
        Err(NotAllowed::new("org", text, "1 to 63 of a-z, A-Z, 0-9, _, - and ."))
    }
}

impl Default for Org {
    fn default() -> Org {
        Org("default".to_owned())
    }
}
