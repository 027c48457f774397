//! What a principal of the API may do.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::group::{NotAllowed, Org};

/// As text: `admin of ORG`, `member of ORG/GROUP`, `read`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Role {
    /// Everything with the groups of this org.
    Admin(Org),
    /// Reads one group, named by id or label, and makes, changes and deletes peers in it.
    Member { org: Org, group: String },
    /// Reads every group of every org.
    Read,
}

impl FromStr for Role {
    type Err = NotAllowed;

    fn from_str(text: &str) -> Result<Self, NotAllowed> {
        let refused = || NotAllowed::new("role", text, "one of: admin of ORG, member of ORG/GROUP, read");
        if text == "read" {
            return Ok(Role::Read);
        }
        if let Some(org) = text.strip_prefix("admin of ") {
            return org.parse().map(Role::Admin).map_err(|_| refused());
        }
        let (org, group) =
            text.strip_prefix("member of ").and_then(|group| group.split_once('/')).ok_or_else(refused)?;
        match org.parse() {
            Ok(org) if !group.is_empty() => Ok(Role::Member { org, group: group.to_owned() }),
            _ => Err(refused()),
        }
    }
}

impl TryFrom<String> for Role {
    type Error = NotAllowed;

    fn try_from(text: String) -> Result<Self, NotAllowed> {
        text.parse()
    }
}

impl From<Role> for String {
    fn from(role: Role) -> String {
        role.to_string()
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Role::Admin(org) => write!(f, "admin of {org}"),
            Role::Member { org, group } => write!(f, "member of {org}/{group}"),
            Role::Read => f.write_str("read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_read_and_shown_alike() {
        for text in ["admin of default", "member of default/myNG", "member of a.b/with / and space", "read"] {
            assert_eq!(text.parse::<Role>().map(|role| role.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn anything_else_is_refused_with_the_three_forms() {
        for text in [
            "",
            "admin",
            "admin of ",
            "admin of a b",
            "member of default",
            "member of default/",
            "member of /g",
            "Read",
        ] {
            let refused = text.parse::<Role>().expect_err(text).to_string();
            assert!(refused.contains("admin of ORG, member of ORG/GROUP, read"), "{refused}");
        }
    }
}
