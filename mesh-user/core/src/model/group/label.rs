//! The label of a network group or peer, which becomes part of a DNS name.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{NotAllowed, text::text};

/// 1 to 128 characters; a group's is unique in its org, and so is what DNS makes of it ([`Label::slug`]).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, min_length = 1, max_length = 128)]
pub struct Label(Arc<str>);

text!(Label);

impl Label {
    /// As it stands in DNS names, where it has no more than 63 bytes of ASCII: each comma, space, dot and underscore is a
    /// hyphen.
    pub fn sanitized(&self) -> String {
        self.0.replace([',', ' ', '.', '_'], "-")
    }

    /// What must differ between labels of one org: sanitized and in lower case, since DNS knows no case.
    pub fn slug(&self) -> Label {
        Label(self.sanitized().to_ascii_lowercase().into())
    }

    fn parse(text: &str) -> Result<Label, NotAllowed> {
        let text = text.trim();
        if (1..=128).contains(&text.chars().count()) && !text.chars().any(char::is_control) {
            return Ok(Label(text.into()));
        }
        Err(NotAllowed::new("label", text, "1 to 128 characters"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// NG-04
    #[test]
    fn what_dns_does_not_take_becomes_a_hyphen() {
        let label: Label = " My db,v1.2_x ".parse().unwrap();
        assert_eq!(label.as_str(), "My db,v1.2_x");
        assert_eq!(label.sanitized(), "My-db-v1-2-x");
        assert_eq!(label.slug().as_str(), "my-db-v1-2-x");
    }

    /// NG-04
    #[test]
    fn length_is_counted_in_characters() {
        assert!("é".repeat(128).parse::<Label>().is_ok());
        for bad in ["", "   ", "a\nb", &"x".repeat(129)] {
            assert!(bad.parse::<Label>().is_err(), "{bad:?}");
        }
    }
}
