//! Why a request has no answer, or not the one that was wanted.

use std::{io, time::Duration};

use hyper::StatusCode;
use mesh_core::api::{self, ErrorReply};

use crate::{path::Url, place::Place};

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// The address or one of the files is wrong; nothing was sent.
    #[error("{server} cannot be used: {reason}")]
    Unusable { server: String, reason: String },
    #[error("cannot reach meshd on {place}: {reason}")]
    Unreachable { place: String, reason: String },
    /// The socket is not ours to open.
    #[error("cannot reach meshd on {place}: {reason}")]
    Permission { place: String, reason: String },
    /// One side does not trust the other's certificate.
    #[error("no TLS with {place}: {reason}")]
    TlsRefused { place: String, reason: String },
    #[error("the connection to {place} broke: {reason}")]
    Broken { place: String, reason: String },
    #[error("meshd on {place} gave no answer within {} s", after.as_secs())]
    Timeout { place: String, after: Duration },
    /// The daemon's own answer.
    #[error("{}", error.message)]
    Refused { status: u16, error: api::Error },
    /// No answer that this version knows.
    #[error("the answer of {place} to {url} (HTTP {status}) is not understood: {reason}")]
    NotUnderstood { place: String, url: String, status: u16, reason: String },
}

impl Error {
    pub(crate) fn connect(place: &Place, error: &io::Error) -> Error {
        let (place, reason) = (place.to_string(), error.to_string());
        match error.kind() {
            io::ErrorKind::PermissionDenied => Error::Permission { place, reason },
            _ => Error::Unreachable { place, reason },
        }
    }

    /// With TLS 1.3 a refused client certificate is told in the first answer, not in the handshake.
    pub(crate) fn broken(place: &Place, error: &(dyn std::error::Error + 'static)) -> Error {
        let place = place.to_string();
        if let Some(refused) = tls_error(error) {
            return Error::TlsRefused { place, reason: refused.to_string() };
        }
        Error::Broken { place, reason: with_causes(error) }
    }

    pub(crate) fn handshake(place: &Place, error: &io::Error) -> Error {
        match tls_error(error) {
            Some(refused) => Error::TlsRefused { place: place.to_string(), reason: refused.to_string() },
            None => Error::Unreachable { place: place.to_string(), reason: error.to_string() },
        }
    }

    pub(crate) fn refused(place: &Place, url: &Url, status: StatusCode, body: &[u8]) -> Error {
        match serde_json::from_slice::<ErrorReply>(body) {
            Ok(reply) => Error::Refused { status: status.as_u16(), error: reply.error },
            Err(_) => {
                let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
                let reason = if text.is_empty() { "it is empty".to_owned() } else { text };
                Error::NotUnderstood { place: place.to_string(), url: url.to_string(), status: status.as_u16(), reason }
            }
        }
    }

    pub(crate) fn not_understood(place: &Place, url: &Url, status: StatusCode, reason: &dyn ToString) -> Error {
        let reason = reason.to_string();
        Error::NotUnderstood { place: place.to_string(), url: url.to_string(), status: status.as_u16(), reason }
    }
}

fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(found);
        }
        // `io::Error::source` leaves out the error that it wraps.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = inner.map(|inner| inner as &(dyn std::error::Error + 'static)).or_else(|| error.source());
    }
    None
}

fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
