//! HTTPS with certificates on both sides: who is trusted, and what is said to who is not.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
};

use mesh_client::{Client, Error};
use mesh_core::api::node::Server;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};

use crate::{DEADLINE, answer, ask, request};

/// An authority and what it signed for one name.
struct Authority {
    folder: PathBuf,
}

impl Authority {
    fn new(folder: &Path, name: &str) -> Authority {
        let folder = folder.join(name);
        fs::create_dir(&folder).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        fs::write(folder.join("cert.pem"), params.signed_by(&key, &authority).unwrap().pem()).unwrap();
        fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
        Authority { folder }
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }
}

/// Shows a certificate of `own`, and trusts clients that `clients` signed for; one connection.
fn serve(own: &Authority, clients: &Authority) -> (u16, JoinHandle<()>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(clients.path("ca.pem")).unwrap()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build().unwrap();
    let chain = vec![CertificateDer::from_pem_file(own.path("cert.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(own.path("key.pem")).unwrap();
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(builder.with_client_cert_verifier(verifier).with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
        if stream.conn.complete_io(&mut stream.sock).is_err() {
            // The alert is on its way; a reset would overtake it.
            let _ = stream.sock.shutdown(std::net::Shutdown::Write);
            let _ = stream.sock.read_to_end(&mut Vec::new());
            return;
        }
        request(&mut stream);
        answer(&mut stream, "200 OK", "application/json", "7");
        stream.conn.send_close_notify();
        let _ = stream.flush();
    });
    (port, server)
}

fn client(port: u16, ca: &Authority, own: &Authority) -> Result<Client, Error> {
    let [ca, cert, key] = [ca.path("ca.pem"), own.path("cert.pem"), own.path("key.pem")].map(Some);
    Client::new(&Server { server: format!("https://127.0.0.1:{port}"), ca, cert, key })
}

#[tokio::test]
async fn both_sides_trust_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "mesh");
    let (port, server) = serve(&authority, &authority);
    assert_eq!(ask(&client(port, &authority, &authority).unwrap()).await, Ok(7));
    server.join().unwrap();
}

#[tokio::test]
async fn either_side_may_refuse_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let (mesh, other) = (Authority::new(folder.path(), "mesh"), Authority::new(folder.path(), "other"));

    let (port, server) = serve(&other, &mesh);
    let refused = ask(&client(port, &mesh, &mesh).unwrap()).await;
    assert!(matches!(refused, Err(Error::TlsRefused { .. })), "an unknown daemon: {refused:?}");
    server.join().unwrap();

    let (port, server) = serve(&mesh, &mesh);
    let refused = ask(&client(port, &mesh, &other).unwrap()).await;
    assert!(matches!(refused, Err(Error::TlsRefused { .. })), "an unknown client: {refused:?}");
    server.join().unwrap();
}

#[tokio::test]
async fn a_port_that_speaks_no_tls_and_one_that_nobody_has() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = Authority::new(folder.path(), "mesh");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let refused = tokio::time::timeout(DEADLINE, ask(&client(port, &mesh, &mesh).unwrap())).await.unwrap();
    assert!(matches!(refused, Err(Error::TlsRefused { .. } | Error::Unreachable { .. })), "{refused:?}");
    server.join().unwrap();
    // Nobody listens there any more.
    let refused = ask(&client(port, &mesh, &mesh).unwrap()).await;
    assert!(matches!(refused, Err(Error::Unreachable { .. })), "{refused:?}");
}

#[test]
fn files_that_are_wrong_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let mesh = Authority::new(folder.path(), "mesh");
    let other = Authority::new(folder.path(), "other");
    let empty = folder.path().join("empty.pem");
    fs::write(&empty, "").unwrap();
    let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(|file| mesh.path(file));
    let cases = [
        (empty.clone(), cert.clone(), key.clone(), "empty.pem"),
        (folder.path().join("absent.pem"), cert.clone(), key.clone(), "absent.pem"),
        (ca.clone(), empty.clone(), key.clone(), "empty.pem"),
        (ca.clone(), cert.clone(), empty, "empty.pem"),
        (ca, cert, other.path("key.pem"), "do not fit"),
    ];
    for (ca, cert, key, expected) in cases {
        let server = Server { server: "https://127.0.0.1".to_owned(), ca: Some(ca), cert: Some(cert), key: Some(key) };
        let Err(Error::Unusable { reason, .. }) = Client::new(&server) else { panic!("{expected}") };
        assert!(reason.contains(expected), "{reason}");
    }
}
