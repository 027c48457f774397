//! How a command is refused.

use serde::{Deserialize, Serialize};

/// Why a command changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub code: RefusalCode,
    /// Field of the request, such as `members[1].id`; empty where the whole is meant.
    pub path: String,
    pub message: String,
    pub hint: String,
}

/// In JSON in snake case. Each belongs to one HTTP status and one exit code ([`crate::api`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// 400, exit 2.
    Invalid,
    /// 400, exit 2: a group of clusters where one of workloads is meant, or the other way round.
    WrongScope,
    /// 404, exit 3.
    NotFound,
    /// 404, exit 3.
    NotMember,
    /// 409, exit 4.
    Conflict,
    /// 409, exit 4.
    AlreadyLinked,
    /// 409, exit 4: several objects have the name.
    Ambiguous,
    /// 409, exit 4: the object is the manifest directory's.
    ManagedByFile,
    /// 409, exit 4: no address or prefix is left.
    Exhausted,
    /// 403, exit 7.
    Permission,
}

impl Refusal {
    pub(crate) fn new(
        code: RefusalCode,
        path: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Refusal {
        Refusal { code, path: path.into(), message: message.into(), hint: hint.into() }
    }

    pub(crate) fn invalid(path: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) -> Refusal {
        Refusal::new(RefusalCode::Invalid, path, message, hint)
    }

    pub(crate) fn conflict(path: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) -> Refusal {
        Refusal::new(RefusalCode::Conflict, path, message, hint)
    }

    pub(crate) fn not_found(path: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) -> Refusal {
        Refusal::new(RefusalCode::NotFound, path, message, hint)
    }
}
