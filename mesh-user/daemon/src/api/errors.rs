//! How a request fails: `{"error":{"code","message","hint"}}` with the HTTP status of its code.

use axum::{
    Json,
    extract::rejection::{JsonRejection, PathRejection, QueryRejection, StringRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use mesh_core::{
    api::{Error, ErrorReply},
    model::{Problems, group::NotAllowed},
    registry::{Refusal, RefusalCode},
};

use crate::registrar::Rejection;

#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    error: Error,
}

/// Stands in a response that was refused to its caller, for the log.
#[derive(Clone, Debug)]
pub(super) struct Denied(pub(super) String);

impl Failure {
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Failure::new(StatusCode::NOT_FOUND, "not_found", message, "docs/api.md lists all requests")
    }

    pub(super) fn invalid(message: impl Into<String>, hint: &str) -> Self {
        Failure::new(StatusCode::BAD_REQUEST, "invalid", message, hint)
    }

    pub(super) fn permission(message: impl Into<String>) -> Self {
        let hint = "ask who runs this daemon for a role: [[principal]] in its meshd.toml";
        Failure::new(StatusCode::FORBIDDEN, "permission", message, hint)
    }

    /// What is asked for is in the store of the hub.
    pub(super) fn elsewhere(hub: &str) -> Self {
        let message = format!("this node follows the hub {hub:?}, which has the network groups and objects");
        let hint =
            format!("ask it: `meshctl --context {hub} ...`; `meshctl ng whoami` and `ng join` are answered here");
        Failure::new(StatusCode::CONFLICT, "conflict", message, hint)
    }

    pub(super) fn method_not_allowed() -> Self {
        let hint = "the header Allow has the methods of this path; docs/api.md lists all requests";
        Failure::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "the path has no such method", hint)
    }

    pub(super) fn unhealthy(message: impl Into<String>) -> Self {
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "unhealthy", message, "`meshctl status` shows more")
    }

    pub(super) fn new(
        status: StatusCode,
        code: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Failure { status, error: Error { code: code.into(), message: message.into(), hint: hint.into() } }
    }

    /// What the framework says of a request that it cannot read.
    fn unreadable(status: StatusCode, message: String) -> Self {
        let (status, code, hint) = match status {
            StatusCode::PAYLOAD_TOO_LARGE => (status, "too_large", "send less at a time"),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => (status, "unsupported_media_type", "send application/json"),
            _ => (StatusCode::BAD_REQUEST, "invalid", "docs/api.md says where the forms are described"),
        };
        Failure::new(status, code, message, hint)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let denied = (self.status == StatusCode::FORBIDDEN).then(|| Denied(self.error.message.clone()));
        let mut response = (self.status, Json(ErrorReply { error: self.error })).into_response();
        if let Some(denied) = denied {
            response.extensions_mut().insert(denied);
        }
        response
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal.code {
            RefusalCode::Invalid | RefusalCode::WrongScope => StatusCode::BAD_REQUEST,
            RefusalCode::NotFound | RefusalCode::NotMember => StatusCode::NOT_FOUND,
            RefusalCode::Conflict
            | RefusalCode::AlreadyLinked
            | RefusalCode::Ambiguous
            | RefusalCode::ManagedByFile
            | RefusalCode::Exhausted => StatusCode::CONFLICT,
            RefusalCode::Permission => StatusCode::FORBIDDEN,
        };
        let message = match refusal.path.as_str() {
            "" => refusal.message,
            path => format!("{path}: {}", refusal.message),
        };
        let code = serde_json::to_value(refusal.code).ok().and_then(|code| code.as_str().map(str::to_owned));
        Failure::new(status, code.expect("codes are written as texts"), message, refusal.hint)
    }
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Refused(refusal) => refusal.into(),
            Rejection::Problems(problems) => problems.into(),
            Rejection::Overtaken => {
                Failure::new(StatusCode::CONFLICT, "conflict", rejection.to_string(), "ask again; nothing was changed")
            }
            Rejection::Node(reason) => {
                let hint = "nothing was changed; the log of meshd may say more";
                Failure::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", reason, hint)
            }
            Rejection::Store(error) => {
                let hint = "nothing was changed; the log of meshd says what is wrong with its store";
                Failure::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", error.to_string(), hint)
            }
        }
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Failure::invalid(problems.to_string(), "correct the manifests; nothing was changed")
    }
}

impl From<NotAllowed> for Failure {
    fn from(refused: NotAllowed) -> Self {
        Failure::invalid(refused.to_string(), "")
    }
}

impl From<PathRejection> for Failure {
    fn from(rejection: PathRejection) -> Self {
        Failure::unreadable(rejection.status(), rejection.body_text())
    }
}

impl From<QueryRejection> for Failure {
    fn from(rejection: QueryRejection) -> Self {
        Failure::unreadable(rejection.status(), rejection.body_text())
    }
}

impl From<JsonRejection> for Failure {
    fn from(rejection: JsonRejection) -> Self {
        Failure::unreadable(rejection.status(), rejection.body_text())
    }
}

impl From<StringRejection> for Failure {
    fn from(rejection: StringRejection) -> Self {
        Failure::unreadable(rejection.status(), rejection.body_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreError;

    fn shown(failure: Failure) -> (u16, String, String) {
        (failure.status.as_u16(), failure.error.code, failure.error.message)
    }

    #[test]
    fn each_code_has_its_status_and_the_place_stands_before_the_reason() {
        let cases = [
            (RefusalCode::Invalid, 400, "invalid"),
            (RefusalCode::WrongScope, 400, "wrong_scope"),
            (RefusalCode::Permission, 403, "permission"),
            (RefusalCode::NotFound, 404, "not_found"),
            (RefusalCode::NotMember, 404, "not_member"),
            (RefusalCode::Conflict, 409, "conflict"),
            (RefusalCode::AlreadyLinked, 409, "already_linked"),
            (RefusalCode::Ambiguous, 409, "ambiguous"),
            (RefusalCode::ManagedByFile, 409, "managed_by_file"),
            (RefusalCode::Exhausted, 409, "exhausted"),
        ];
        for (code, status, name) in cases {
            let refusal = Refusal { code, path: "cidr".into(), message: "why".into(), hint: String::new() };
            assert_eq!(shown(refusal.into()), (status, name.to_owned(), "cidr: why".to_owned()));
        }
    }

    #[test]
    fn a_store_that_cannot_be_used_is_no_fault_of_the_caller() {
        let (status, code, message) = shown(Rejection::Store(StoreError::Unusable("the disk is full".into())).into());
        assert_eq!((status, code.as_str(), message.as_str()), (503, "unavailable", "the disk is full"));
    }
}
