//! What all texts with rules have in common: they are parsed from strings, shown as strings, and refuse with a reason.

/// Why a text is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {noun}: {reason}")]
pub struct NotAllowed {
    pub noun: &'static str,
    pub text: String,
    /// The rule, as a clause: `1 to 128 characters`.
    pub reason: String,
}

impl NotAllowed {
    pub(crate) fn new(noun: &'static str, text: &str, reason: impl Into<String>) -> NotAllowed {
        NotAllowed { noun, text: text.to_owned(), reason: reason.into() }
    }
}

/// A newtype of `String` or `Arc<str>` whose `parse(&str) -> Result<Self, NotAllowed>` has the rules.
macro_rules! text {
    ($name:ident) => {
        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = super::NotAllowed;

            fn from_str(text: &str) -> Result<Self, super::NotAllowed> {
                $name::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = super::NotAllowed;

            fn try_from(text: String) -> Result<Self, super::NotAllowed> {
                $name::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> String {
                text.0.to_string()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

pub(super) use text;
