//! The label of a network group or peer, which becomes part of a DNS name.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{NotAllowed, text::text};

/// 1 to 128 characters; unique per org where it is a group's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, min_length = 1, max_length = 128)]
pub struct Label(String);

text!(Label);

impl Label {
    /// As it stands in DNS names: each comma, space, dot and underscore is a hyphen.
    pub fn sanitized(&self) -> String {
        self.0.replace([',', ' ', '.', '_'], "-")
    }

    fn parse(text: &str) -> Result<Label, NotAllowed> {
        let text = text.trim();
        if (1..=128).contains(&text.chars().count()) && !text.chars().any(char::is_control) {
            return Ok(Label(text.to_owned()));
        }
        Err(NotAllowed::new("label", text, "1 to 128 characters"))
    }
}
