//! The parts of a request, as axum has them but for how they are refused.

use axum::{
    extract::{
        FromRequest, FromRequestParts, Request,
        rejection::{JsonRejection, PathRejection, QueryRejection},
    },
    http::{HeaderMap, request::Parts},
};
use serde::de::DeserializeOwned;

use super::errors::Failure;

/// The segments of the path that have names.
pub(super) struct Path<T>(pub(super) T);

pub(super) struct Query<T>(pub(super) T);

/// JSON.
pub(super) struct Body<T>(pub(super) T);

/// A body in UTF-8.
pub(super) struct Text(pub(super) String);

/// The version that the caller has already, of an event stream: the header `Last-Event-ID`, else `?version=`.
pub(super) struct Resume(pub(super) Option<u64>);

impl<S: Send + Sync, T: Send> FromRequestParts<S> for Path<T>
where
    axum::extract::Path<T>: FromRequestParts<S, Rejection = PathRejection>,
{
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let axum::extract::Path(path) = axum::extract::Path::from_request_parts(parts, state).await?;
        Ok(Path(path))
    }
}

impl<S: Send + Sync, T> FromRequestParts<S> for Query<T>
where
    axum::extract::Query<T>: FromRequestParts<S, Rejection = QueryRejection>,
{
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let axum::extract::Query(query) = axum::extract::Query::from_request_parts(parts, state).await?;
        Ok(Query(query))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T>
where
    axum::Json<T>: FromRequest<S, Rejection = JsonRejection>,
{
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let axum::Json(body) = axum::Json::from_request(request, state).await?;
        Ok(Body(body))
    }
}

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        Ok(Text(String::from_request(request, state).await?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Resume {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        if let Some(id) = last_event_id(&parts.headers)? {
            return Ok(Resume(Some(id)));
        }
        let Query(query) = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await?;
        let version = query.iter().find(|(name, _)| name == "version");
        version.map(|(_, text)| number(text)).transpose().map(Resume)
    }
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Failure> {
    let Some(id) = headers.get("last-event-id") else { return Ok(None) };
    id.to_str().ok().map(number).unwrap_or_else(|| number("")).map(Some)
}

fn number(text: &str) -> Result<u64, Failure> {
    let hint = "give the id of the last event that came, or nothing";
    text.parse().map_err(|_| Failure::invalid(format!("{text:?} is no version"), hint))
}
