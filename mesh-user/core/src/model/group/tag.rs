//! A tag of a network group.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{NotAllowed, text::text};

/// Anything without comma and white space.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = r"^[^,\s]+$")]
pub struct Tag(String);

text!(Tag);

impl Tag {
    fn parse(text: &str) -> Result<Tag, NotAllowed> {
        let fits = (1..=128).contains(&text.chars().count());
        if fits && !text.contains(|letter: char| letter == ',' || letter.is_whitespace() || letter.is_control()) {
            return Ok(Tag(text.to_owned()));
        }
        Err(NotAllowed::new("tag", text, "1 to 128 characters without comma and white space"))
    }
}
