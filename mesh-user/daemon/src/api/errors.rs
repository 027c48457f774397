//! How a refusal looks: `{"error":{"code","message","hint"}}` with the HTTP status of its kind.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use mesh_core::api::{Error, ErrorReply};

#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    error: Error,
}

impl Refusal {
    pub(super) fn not_found(message: &str) -> Self {
        Refusal::new(StatusCode::NOT_FOUND, "not_found", message, "")
    }

    pub(super) fn invalid(message: &str) -> Self {
        let hint = "give two addresses: /v1/explain?source=A&destination=B";
        Refusal::new(StatusCode::BAD_REQUEST, "invalid", message, hint)
    }

    pub(super) fn unhealthy(message: &str) -> Self {
        let hint = "`meshctl status` shows more";
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "unhealthy", message, hint)
    }

    fn new(status: StatusCode, code: &str, message: &str, hint: &str) -> Self {
        let error = Error { code: code.to_owned(), message: message.to_owned(), hint: hint.to_owned() };
        Refusal { status, error }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(ErrorReply { error: self.error })).into_response()
    }
}
