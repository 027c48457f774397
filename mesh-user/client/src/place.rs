//! Where a daemon is, and what is needed to trust it.

use std::{
    fmt, fs,
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use hyper::Uri;
use mesh_core::api::node::Server;
use rustix::fs::OFlags;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};

use crate::Error;

const PORT: u16 = 7443;
/// Bytes of a PEM file.
const LONGEST: u64 = 1 << 20;

#[derive(Clone)]
pub(crate) enum Place {
    Unix(PathBuf),
    Https { host: String, port: u16, name: ServerName<'static>, tls: Arc<ClientConfig> },
}

impl Place {
    pub(crate) fn new(server: &Server) -> Result<Place, Error> {
        let unusable = |reason: String| Error::Unusable { server: server.server.clone(), reason };
        if let Some(path) = server.server.strip_prefix("unix://") {
            return match path.starts_with('/') {
                true => Ok(Place::Unix(PathBuf::from(path))),
                false => Err(unusable("the path of a socket begins with /: unix:///run/mesh/meshd.sock".to_owned())),
            };
        }
        let (host, port) = https(&server.server).map_err(unusable)?;
        let name = ServerName::try_from(host.clone()).map_err(|error| unusable(format!("{host}: {error}")))?;
        let tls = Arc::new(tls(server).map_err(unusable)?);
        Ok(Place::Https { host, port, name, tls })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Unix(path) => write!(f, "{}", path.display()),
            Place::Https { host, port, .. } if host.contains(':') => write!(f, "https://[{host}]:{port}"),
            Place::Https { host, port, .. } => write!(f, "https://{host}:{port}"),
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({self})")
    }
}

/// Host without the brackets of IPv6, and port.
fn https(text: &str) -> Result<(String, u16), String> {
    let expected = "a server is unix:///PATH or https://HOST:PORT";
    let uri: Uri = text.parse().map_err(|error| format!("{expected}: {error}"))?;
    if uri.scheme_str() != Some("https") {
        return Err(expected.to_owned());
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
        return Err(format!("{expected}, with nothing after the port"));
    }
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err(expected.to_owned());
    }
    Ok((host.to_owned(), uri.port_u16().unwrap_or(PORT)))
}

fn tls(server: &Server) -> Result<ClientConfig, String> {
    let needed =
        |name: &str, path: &Option<PathBuf>| path.clone().ok_or_else(|| format!("https needs `{name}`: a PEM file"));
    let (ca, cert, key) = (needed("ca", &server.ca)?, needed("cert", &server.cert)?, needed("key", &server.key)?);
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&ca)? {
        roots.add(certificate).map_err(|error| format!("{}: {error}", ca.display()))?;
    }
    let chain = certificates(&cert)?;
    let secret = PrivateKeyDer::from_pem_slice(&read(&key)?)
        .map_err(|error| format!("{} holds no private key: {error}", key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, secret)
        .map_err(|error| format!("{} and {} do not fit: {error}", cert.display(), key.display()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(format!("{} holds no certificate", path.display())),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    regular(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// Whoever names the file may be somebody else: a FIFO is not waited for, and a device without end is not read.
fn regular(path: &Path) -> io::Result<Vec<u8>> {
    let wait_for_nothing = OFlags::NONBLOCK.bits().cast_signed();
    let file = fs::OpenOptions::new().read(true).custom_flags(wait_for_nothing).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > LONGEST {
        true => Err(io::Error::other(format!("it has more than {LONGEST} bytes"))),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(text: &str) -> Server {
        Server { server: text.to_owned(), ca: None, cert: None, key: None }
    }

    #[test]
    fn hosts_and_ports() {
        let parsed =
            ["https://hub:8443", "https://hub", "https://[2001:db8::1]:1/", "https://192.0.2.1:7443"].map(https);
        let expected = [("hub", 8443), ("hub", 7443), ("2001:db8::1", 1), ("192.0.2.1", 7443)];
        assert_eq!(parsed, expected.map(|(host, port)| Ok((host.to_owned(), port))));
        for wrong in ["", "hub:7443", "http://hub:1", "https://", "https://hub/v1", "https://hub?a=b"] {
            assert!(https(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sockets_and_what_is_missing() {
        assert_eq!(Place::new(&server("unix:///run/x.sock")).unwrap().to_string(), "/run/x.sock");
        assert!(matches!(Place::new(&server("unix://run/x.sock")), Err(Error::Unusable { .. })));
        let Err(Error::Unusable { reason, .. }) = Place::new(&server("https://hub")) else { panic!("no ca") };
        assert_eq!(reason, "https needs `ca`: a PEM file");
    }

    #[test]
    fn only_regular_files_of_some_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let fifo = path("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        for wrong in [fifo.as_path(), Path::new("/dev/zero"), folder.path()] {
            let told = read(wrong).unwrap_err();
            assert_eq!(told, format!("cannot read {}: it is no regular file", wrong.display()));
        }
        fs::write(path("full"), vec![b'x'; LONGEST as usize]).unwrap();
        assert_eq!(read(&path("full")).unwrap().len() as u64, LONGEST);
        fs::write(path("over"), vec![b'x'; LONGEST as usize + 1]).unwrap();
        assert!(read(&path("over")).unwrap_err().ends_with("it has more than 1048576 bytes"));
    }
}
