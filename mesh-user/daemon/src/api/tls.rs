//! The API on TCP: TLS with a certificate on both sides, whose common name is the caller's.

use std::{
    collections::BTreeMap,
    fs, io,
    net::SocketAddr,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context as Polling, Poll},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};
use axum::{Extension, Router, extract::ConnectInfo};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use mesh_core::model::{ApiListener, PrincipalName, Role};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{Sleep, sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::caller::Caller;

/// A client has so long for the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at a time; more wait in the kernel's queue.
const HANDSHAKES: usize = 64;
/// Connections at a time, with those in their handshake; more wait in the kernel's queue, and descriptors are left for
/// tunnels.
const CONNECTIONS: usize = 256;
/// From the end of a reply, or of the handshake, to the end of the next request's header; connections that nobody uses end
/// so, too.
const HEADER: Duration = Duration::from_secs(30);
/// Who has no role has so long to be told so.
const REFUSAL: Duration = Duration::from_secs(5);

pub(super) struct Tls {
    tcp: TcpListener,
    files: Files,
    principals: BTreeMap<PrincipalName, Vec<Role>>,
    handshakes: JoinSet<Option<(TlsStream<TcpStream>, OwnedSemaphorePermit)>>,
    places: Arc<Semaphore>,
}

/// A connection that has its handshake behind it.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TlsStream<TcpStream>,
    /// Ends it, whatever it is doing; none for who has a role.
    end: Option<Pin<Box<Sleep>>>,
    _place: OwnedSemaphorePermit,
}

impl Tls {
    pub(super) async fn bind(settings: &ApiListener, principals: BTreeMap<PrincipalName, Vec<Role>>) -> Result<Tls> {
        let files = Files::load(settings.clone())?;
        let listen = settings.listen;
        let tcp = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen} for the API"))?;
        tracing::info!(%listen, principals = principals.len(), "the API is served with mutual TLS");
        Ok(Tls { tcp, files, principals, handshakes: JoinSet::new(), places: Arc::new(Semaphore::new(CONNECTIONS)) })
    }

    fn begin(&mut self, stream: TcpStream, from: SocketAddr, place: OwnedSemaphorePermit) {
        let acceptor = TlsAcceptor::from(self.files.current());
        self.handshakes.spawn(async move {
            match timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => Some((stream, place)),
                Ok(Err(error)) => {
                    tracing::warn!(%from, reason = %error, "refused: the TLS handshake failed");
                    None
                }
                Err(_) => {
                    tracing::warn!(%from, "refused: the TLS handshake took longer than {} s", HANDSHAKE.as_secs());
                    None
                }
            }
        });
    }

    /// Answers requests until the task is dropped; connections end with it.
    pub(super) async fn serve(mut self, router: Router) -> ! {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEADER);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                (connection, caller) = self.accept() => {
                    let service = TowerToHyperService::new(router.clone().layer(Extension(ConnectInfo(caller))));
                    let served = http.serve_connection(TokioIo::new(connection), service);
                    connections.spawn(async move {
                        if let Err(error) = served.await {
                            tracing::debug!(%error, "a connection to the API ended");
                        }
                    });
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }

    fn caller(&self, stream: &TlsStream<TcpStream>) -> Caller {
        let certificates = stream.get_ref().1.peer_certificates();
        let name = certificates.and_then(|chain| common_name(chain.first()?)).unwrap_or_default();
        Caller::principal(&name, &self.principals)
    }

    /// Loses nothing when it is dropped: what has its handshake behind it is taken by the next call.
    async fn accept(&mut self) -> (Connection, Caller) {
        loop {
            let room = self.handshakes.len() < HANDSHAKES;
            let (tcp, places) = (&self.tcp, Arc::clone(&self.places));
            let accept = async move {
                let place = places.acquire_owned().await.map_err(io::Error::other)?;
                tcp.accept().await.map(|(stream, from)| (stream, from, place))
            };
            tokio::select! {
                accepted = accept, if room => match accepted {
                    Ok((stream, from, place)) => self.begin(stream, from, place),
                    Err(error) => {
                        // Out of file descriptors, as a rule: it passes when connections end.
                        tracing::warn!(%error, "cannot accept a connection to the API");
                        sleep(Duration::from_secs(1)).await;
                    }
                },
                Some(done) = self.handshakes.join_next() => {
                    if let Ok(Some((stream, place))) = done {
                        let caller = self.caller(&stream);
                        let end = caller.has_role().is_err().then(|| Box::pin(sleep(REFUSAL)));
                        return (Connection { stream, end, _place: place }, caller);
                    }
                }
            }
        }
    }
}

impl Connection {
    /// The stream, unless the time is over.
    fn poll_open(&mut self, task: &mut Polling<'_>) -> io::Result<Pin<&mut TlsStream<TcpStream>>> {
        let is_over = self.end.as_mut().is_some_and(|end| end.as_mut().poll(task).is_ready());
        if is_over { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Pin::new(&mut self.stream)) }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, task: &mut Polling<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_open(task)?.poll_read(task, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Polling<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_open(task)?.poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Polling<'_>) -> Poll<io::Result<()>> {
        self.poll_open(task)?.poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Polling<'_>) -> Poll<io::Result<()>> {
        self.poll_open(task)?.poll_shutdown(task)
    }
}

/// The only common name of a certificate's subject.
fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let mut names = parsed.subject().iter_common_name();
    match (names.next(), names.next()) {
        (Some(name), None) => name.as_str().ok().map(str::to_owned),
        _ => None,
    }
}

/// What the settings name; read again when one of them changes, so that certificates can be renewed while it runs.
struct Files {
    settings: ApiListener,
    /// When the files were last changed.
    stamp: [Option<SystemTime>; 3],
    config: Arc<ServerConfig>,
}

impl Files {
    fn load(settings: ApiListener) -> Result<Files> {
        let stamp = stamp(&settings);
        let config = Arc::new(config(&settings)?);
        Ok(Files { settings, stamp, config })
    }

    fn current(&mut self) -> Arc<ServerConfig> {
        let now = stamp(&self.settings);
        if now != self.stamp {
            self.stamp = now;
            match config(&self.settings) {
                Ok(config) => {
                    self.config = Arc::new(config);
                    tracing::info!("the certificates of the API were read again");
                }
                Err(error) => tracing::warn!("the API keeps its old certificates: {error:#}"),
            }
        }
        Arc::clone(&self.config)
    }
}

fn stamp(settings: &ApiListener) -> [Option<SystemTime>; 3] {
    [&settings.ca, &settings.cert, &settings.key]
        .map(|path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok())
}

fn config(settings: &ApiListener) -> Result<ServerConfig> {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&settings.ca)? {
        roots
            .add(certificate)
            .with_context(|| format!("a certificate of {} is none of a CA", settings.ca.display()))?;
    }
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .with_context(|| format!("clients cannot be checked against {}", settings.ca.display()))?;
    let key = PrivateKeyDer::from_pem_file(&settings.key)
        .with_context(|| format!("cannot read a private key in PEM from {}", settings.key.display()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("the TLS library has no protocol version")?
        .with_client_cert_verifier(clients)
        .with_single_cert(certificates(&settings.cert)?, key)
        .with_context(|| {
            let (cert, key) = (settings.cert.display(), settings.key.display());
            format!("the certificate {cert} and the key {key} do not go together")
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = || format!("cannot read certificates in PEM from {}", path.display());
    CertificateDer::pem_file_iter(path).with_context(read)?.collect::<Result<Vec<_>, _>>().with_context(read)
}
