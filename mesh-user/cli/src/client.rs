//! How a request reaches the daemon: HTTP over its unix socket, with a deadline.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, Response, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use mesh_core::api::ErrorReply;
use serde::de::DeserializeOwned;
use tokio::{net::UnixStream, runtime::Runtime, time::timeout};

use crate::exit::{Exit, Failure};

#[derive(Debug)]
pub(crate) struct Client {
    socket: PathBuf,
    timeout: Duration,
    runtime: Runtime,
}

impl Client {
    pub(crate) fn new(socket: PathBuf, timeout: Duration) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::unexpected(format!("cannot start: {error}")))?;
        Ok(Client { socket, timeout, runtime })
    }

    /// `GET path`, which begins with `/v1/`.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let answer = self.runtime.block_on(async { timeout(self.timeout, exchange(&self.socket, path)).await });
        let (status, body) = answer.map_err(|_| self.timed_out())??;
        let mismatch =
            |error| Failure::unexpected(format!("the answer to {path} (HTTP {status}) is not understood: {error}"));
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(mismatch);
        }
        let reply: ErrorReply = serde_json::from_slice(&body).map_err(mismatch)?;
        Err(Failure::refused(reply.error))
    }

    fn timed_out(&self) -> Failure {
        let message = format!("meshd on {} gave no answer within {} s", self.socket.display(), self.timeout.as_secs());
        Failure::new(Exit::Timeout, message, "its log may tell; `--timeout` waits longer".to_owned())
    }
}

async fn exchange(socket: &Path, path: &str) -> Result<(hyper::StatusCode, Bytes), Failure> {
    let stream = UnixStream::connect(socket).await.map_err(|error| cannot_connect(socket, &error))?;
    let broken = |error: hyper::Error| {
        let message = format!("the connection to {} broke: {error}", socket.display());
        Failure::new(Exit::Unreachable, message, "did meshd stop just now?".to_owned())
    };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::spawn(connection);
    let request = Request::get(path).header("host", "meshd").body(Empty::<Bytes>::new());
    let request = request.map_err(|error| Failure::unexpected(format!("{path} is no request: {error}")))?;
    let response: Response<_> = sender.send_request(request).await.map_err(broken)?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(broken)?;
    Ok((status, body.to_bytes()))
}

fn cannot_connect(socket: &Path, error: &io::Error) -> Failure {
    let message = format!("cannot reach meshd on {}: {error}", socket.display());
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            let hint = "run as root, or as a member of the group of the socket";
            Failure::new(Exit::Permission, message, hint.to_owned())
        }
        _ => {
            let hint = "start meshd, or name its socket with --socket or MESHD_SOCKET";
            Failure::new(Exit::Unreachable, message, hint.to_owned())
        }
    }
}
