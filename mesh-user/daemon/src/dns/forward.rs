//! Questions that other servers answer.
//!
//! Each goes out from a socket and with an id of its own (RFC 5452), in the namespace of the daemon, to one server after the
//! other until one says something. What it says is passed on as it is.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use mesh_core::dns::{is_response, server_failure};
use tokio::{
    net::{TcpStream, UdpSocket},
    sync::{Semaphore, mpsc},
    time::timeout,
};

use super::{datagrams::Door, streams};
use crate::{kernel::datagrams::Sender, keys};

/// Questions that wait for another server; what is more gets no answer, and is asked again.
const PENDING: usize = 512;
/// For one server.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of a response; no datagram has more.
const LONGEST: usize = 65_535;

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Forwarder {
    servers: Arc<[SocketAddr]>,
    questions: mpsc::Sender<Question>,
}

#[derive(Debug)]
struct Question {
    door: Arc<Door>,
    from: Sender,
    query: Vec<u8>,
}

impl Forwarder {
    /// Nothing where there is no server to ask. To be called in a runtime.
    pub(super) fn start(servers: &[SocketAddr]) -> Option<Forwarder> {
        if servers.is_empty() {
            return None;
        }
        let (questions, reader) = mpsc::channel(PENDING);
        let servers: Arc<[SocketAddr]> = servers.into();
        tokio::spawn(answer_datagrams(Arc::clone(&servers), reader));
        Some(Forwarder { servers, questions })
    }

    /// The answer goes back through the door when it is there.
    pub(super) fn forward(&self, door: Arc<Door>, from: Sender, query: &[u8]) {
        // With too many that wait already, this one is lost as on a busy network.
        let _ = self.questions.try_send(Question { door, from, query: query.to_owned() });
    }

    /// What a server says, or that none of them says anything.
    pub(super) async fn ask_by_stream(&self, query: &[u8]) -> Vec<u8> {
        for server in &*self.servers {
            if let Ok(Ok(response)) = timeout(PATIENCE, by_stream(*server, query)).await {
                return response;
            }
        }
        failure(query)
    }
}

async fn answer_datagrams(servers: Arc<[SocketAddr]>, mut questions: mpsc::Receiver<Question>) {
    let places = Arc::new(Semaphore::new(PENDING));
    while let Some(question) = questions.recv().await {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let servers = Arc::clone(&servers);
        tokio::spawn(async move {
            let answer = ask_by_datagram(&servers, &question.query).await;
            question.door.socket().send_to(question.from, answer);
            drop(place);
        });
    }
}

async fn ask_by_datagram(servers: &[SocketAddr], query: &[u8]) -> Vec<u8> {
    for server in servers {
        if let Ok(Ok(response)) = timeout(PATIENCE, by_datagram(*server, query)).await {
            return response;
        }
    }
    failure(query)
}

async fn by_datagram(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let any = if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind::<SocketAddr>(any).await?;
    // Only what comes from there is received, and an ICMP error is an error.
    socket.connect(server).await?;
    let asked = with_id(query, random_id()?);
    socket.send(&asked).await?;
    let mut response = vec![0; LONGEST];
    loop {
        let len = socket.recv(&mut response).await?;
        if is_response(&asked, &response[..len]) {
            return Ok(with_id(&response[..len], id(query)));
        }
    }
}

async fn by_stream(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let asked = with_id(query, random_id()?);
    streams::write(&mut stream, &asked).await?;
    let response = streams::read(&mut stream).await?;
    match is_response(&asked, &response) {
        true => Ok(with_id(&response, id(query))),
        false => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn failure(query: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    server_failure(query, &mut answer);
    answer
}

fn random_id() -> io::Result<[u8; 2]> {
    let [first, second, ..] = keys::random().map_err(io::Error::other)?;
    Ok([first, second])
}

/// The first two bytes of a message (RFC 1035, section 4.1.1).
fn id(message: &[u8]) -> [u8; 2] {
    message.first_chunk().copied().unwrap_or_default()
}

fn with_id(message: &[u8], id: [u8; 2]) -> Vec<u8> {
    let mut message = message.to_owned();
    message.iter_mut().zip(id).for_each(|(byte, id)| *byte = id);
    message
}
