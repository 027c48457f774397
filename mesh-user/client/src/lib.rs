//! How a program of mesh reaches a daemon: one request over one connection, or a stream of events.
//!
//! [`Server`] names the place: a unix socket, or HTTPS with a client certificate. Nothing is
//! tried twice here: whoever calls knows whether a repeat is right.

mod connection;
mod contexts;
mod error;
mod events;
mod path;
mod place;

use std::{path::Path, time::Duration};

use hyper::Method;
use mesh_core::api::node::Server;
use serde::{Serialize, de::DeserializeOwned};

use connection::Body;
use place::Place;

pub use contexts::{Contexts, ContextsError, Entry};
pub use error::Error;
pub use events::{Event, Events, Parser};
pub use path::Url;

/// One daemon. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    place: Place,
}

impl Client {
    /// Reads the files that `server` names.
    pub fn new(server: &Server) -> Result<Client, Error> {
        Place::new(server).map(|place| Client { place })
    }

    pub fn unix(socket: &Path) -> Client {
        Client { place: Place::Unix(socket.to_owned()) }
    }

    /// Where it is, as messages say it.
    pub fn place(&self) -> String {
        self.place.to_string()
    }

    pub async fn get<T: DeserializeOwned>(&self, url: impl Into<Url>, deadline: Duration) -> Result<T, Error> {
        self.exchange(Method::GET, url.into(), Body::Empty, deadline).await
    }

    pub async fn delete<T: DeserializeOwned>(&self, url: impl Into<Url>, deadline: Duration) -> Result<T, Error> {
        self.exchange(Method::DELETE, url.into(), Body::Empty, deadline).await
    }

    pub async fn post<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        url: impl Into<Url>,
        body: &B,
        deadline: Duration,
    ) -> Result<T, Error> {
        self.exchange(Method::POST, url.into(), Body::json(body)?, deadline).await
    }

    pub async fn patch<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        url: impl Into<Url>,
        body: &B,
        deadline: Duration,
    ) -> Result<T, Error> {
        self.exchange(Method::PATCH, url.into(), Body::json(body)?, deadline).await
    }

    pub async fn put<T: DeserializeOwned>(&self, url: impl Into<Url>, deadline: Duration) -> Result<T, Error> {
        self.exchange(Method::PUT, url.into(), Body::Empty, deadline).await
    }

    pub async fn put_body<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        url: impl Into<Url>,
        body: &B,
        deadline: Duration,
    ) -> Result<T, Error> {
        self.exchange(Method::PUT, url.into(), Body::json(body)?, deadline).await
    }

    /// A body that is not JSON: manifests.
    pub async fn post_text<T: DeserializeOwned>(
        &self,
        url: impl Into<Url>,
        body: String,
        deadline: Duration,
    ) -> Result<T, Error> {
        self.exchange(Method::POST, url.into(), Body::Text(body), deadline).await
    }

    /// Opens a stream; `resume` is the id of the last event that the caller has. The deadline is for its beginning;
    /// after that a stream may be silent for [`Events::SILENCE`].
    pub async fn events(&self, url: impl Into<Url>, resume: Option<&str>, deadline: Duration) -> Result<Events, Error> {
        let url = url.into();
        let opened = connection::open_events(&self.place, &url, resume);
        tokio::time::timeout(deadline, opened).await.map_err(|_| self.late(deadline))?
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        url: Url,
        body: Body,
        deadline: Duration,
    ) -> Result<T, Error> {
        let exchanged = connection::exchange(&self.place, method, &url, body);
        let (status, bytes) = tokio::time::timeout(deadline, exchanged).await.map_err(|_| self.late(deadline))??;
        if !status.is_success() {
            return Err(Error::refused(&self.place, &url, status, &bytes));
        }
        serde_json::from_slice(&bytes).map_err(|error| Error::not_understood(&self.place, &url, status, &error))
    }

    fn late(&self, deadline: Duration) -> Error {
        Error::Timeout { place: self.place(), after: deadline }
    }
}
