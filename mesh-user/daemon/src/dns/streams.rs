//! DNS over TCP (RFC 7766): any number of questions on one connection, each after the answer to the one before.

use std::{io, sync::Arc, time::Duration};

use mesh_core::dns::{Outcome, Transport, View};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::timeout,
};

use super::forward::Forwarder;

/// Connections of one address; the next ones wait until one ends.
pub(super) const CONNECTIONS: usize = 64;
/// For each question to come as a whole, and for each answer to be taken.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries when no connection can be taken: out of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Until aborted; its connections end with it.
pub(super) async fn serve(listener: TcpListener, views: watch::Receiver<Arc<View>>, forwarder: Option<Forwarder>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => {
                let (views, forwarder) = (views.clone(), forwarder.clone());
                connections.spawn(async move {
                    // The other side has gone or is too slow: nobody is left to tell.
                    let _ = converse(stream, &views, forwarder.as_ref()).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!("DNS: no connection can be taken: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn converse(
    mut stream: TcpStream,
    views: &watch::Receiver<Arc<View>>,
    forwarder: Option<&Forwarder>,
) -> io::Result<()> {
    let mut answer = Vec::new();
    loop {
        let query = timeout(PATIENCE, read(&mut stream)).await??;
        let view = Arc::clone(&views.borrow());
        match view.answer(&query, Transport::Stream, &mut answer) {
            Outcome::Answer => {}
            Outcome::Silence => return Ok(()),
            Outcome::Forward => match forwarder {
                Some(forwarder) => answer = forwarder.ask_by_stream(&query).await,
                None => return Ok(()),
            },
        }
        timeout(PATIENCE, write(&mut stream, &answer)).await??;
    }
}

/// A message with its length before it (RFC 1035, section 4.2.2).
pub(super) async fn read(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut message = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// In one piece: clients exist that want length and message in one segment (RFC 7766, section 8).
pub(super) async fn write(stream: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await
}
