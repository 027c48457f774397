//! One connection to a daemon: made, used for one request, and given up.

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::TlsConnector;

use crate::{Error, Events, path::Url, place::Place};

/// A group of 10,000 peers is a few MB.
const REPLY_LIMIT: usize = 256 << 20;

pub(crate) enum Body {
    Empty,
    Json(Vec<u8>),
    Text(String),
}

impl Body {
    pub(crate) fn json<B: Serialize>(body: &B) -> Result<Body, Error> {
        let unusable = |error| Error::Unusable { server: "the request".to_owned(), reason: format!("{error}") };
        serde_json::to_vec(body).map(Body::Json).map_err(unusable)
    }
}

pub(crate) async fn exchange(
    place: &Place,
    method: Method,
    url: &Url,
    body: Body,
) -> Result<(StatusCode, Bytes), Error> {
    let (content, bytes) = match body {
        Body::Empty => (None, Bytes::new()),
        Body::Json(bytes) => (Some("application/json"), Bytes::from(bytes)),
        Body::Text(text) => (Some("application/yaml"), Bytes::from(text)),
    };
    let mut request = Request::builder().method(method).uri(url.as_str()).header("host", "meshd");
    if let Some(content) = content {
        request = request.header("content-type", content);
    }
    let response = send(place, url, request.body(Full::new(bytes))).await?;
    let status = response.status();
    let collected = Limited::new(response.into_body(), REPLY_LIMIT).collect().await;
    Ok((status, collected.map_err(|error| Error::broken(place, error.as_ref()))?.to_bytes()))
}

pub(crate) async fn open_events(place: &Place, url: &Url, resume: Option<&str>) -> Result<Events, Error> {
    let mut request = Request::get(url.as_str()).header("host", "meshd").header("accept", "text/event-stream");
    if let Some(id) = resume {
        request = request.header("last-event-id", id);
    }
    let response = send(place, url, request.body(Full::new(Bytes::new()))).await?;
    let status = response.status();
    if !status.is_success() {
        let body = Limited::new(response.into_body(), REPLY_LIMIT).collect().await;
        let body = body.map_err(|error| Error::broken(place, error.as_ref()))?.to_bytes();
        return Err(Error::refused(place, url, status, &body));
    }
    let kind = response.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or("nothing");
    if !kind.starts_with("text/event-stream") {
        return Err(Error::not_understood(place, url, status, &format!("{kind} instead of an event stream")));
    }
    Ok(Events::new(place.clone(), response.into_body()))
}

async fn send(
    place: &Place,
    url: &Url,
    request: Result<Request<Full<Bytes>>, hyper::http::Error>,
) -> Result<Response<Incoming>, Error> {
    let wrong = |error| Error::Unusable { server: place.to_string(), reason: format!("{url}: {error}") };
    let request = request.map_err(wrong)?;
    let mut sender = connect(place).await?;
    sender.send_request(request).await.map_err(|error| Error::broken(place, &error))
}

async fn connect(place: &Place) -> Result<http1::SendRequest<Full<Bytes>>, Error> {
    match place {
        Place::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(|error| Error::connect(place, &error))?;
            speak(place, stream).await
        }
        Place::Https { host, port, name, tls } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await;
            let stream = stream.map_err(|error| Error::connect(place, &error))?;
            // A request is one small write; the answer must not wait for a delayed acknowledgement.
            stream.set_nodelay(true).map_err(|error| Error::connect(place, &error))?;
            let stream = TlsConnector::from(tls.clone()).connect(name.clone(), stream).await;
            speak(place, stream.map_err(|error| Error::handshake(place, &error))?).await
        }
    }
}

async fn speak<S>(place: &Place, stream: S) -> Result<http1::SendRequest<Full<Bytes>>, Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let spoken = http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = spoken.map_err(|error| Error::broken(place, &error))?;
    // It ends when the sender and the body of the answer are dropped; what goes wrong is told to them as well.
    tokio::spawn(connection);
    Ok(sender)
}
