//! Where Prometheus asks on TCP: `/metrics` and nothing else, without TLS, for those whom the address reaches.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use axum::{Router, http::header::CONTENT_TYPE, routing::get};
use tokio::net::TcpListener;

use super::{exposition, metrics::Source};

/// Serves until the task is dropped.
pub async fn serve(address: SocketAddr, source: Source) -> Result<impl Future<Output = Result<()>> + use<>> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot show metrics on {address}: `ss -tlpn` shows who has the port; give [metrics] another listen")
    })?;
    let answer = async move || ([(CONTENT_TYPE, exposition::CONTENT_TYPE)], source());
    let service = Router::new().route("/metrics", get(answer));
    Ok(async move { axum::serve(listener, service).await.context("the listener of metrics failed") })
}
