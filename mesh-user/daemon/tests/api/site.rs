//! One daemon in a namespace that is asked over its socket and over TCP, and the certificates of those who ask.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use mesh_client::Client;
use mesh_lab::{
    Lab, Namespace,
    node::{Node, Programs},
    process,
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::Value;

pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Where the daemon is asked over TCP.
pub(crate) const SERVER: &str = "https://127.0.0.1:7443";
/// Common names that have roles, and what these are.
pub(crate) const PRINCIPALS: [(&str, &str); 4] = [
    ("admin", r#""admin of default""#),
    ("runner", r#""member of default/myNG""#),
    ("reader", r#""read""#),
    ("everything", r#""admin of default", "admin of other", "read""#),
];
/// A common name that has none.
pub(crate) const STRANGER: &str = "stranger";

pub(crate) struct Site {
    pub(crate) node: Node,
    pub(crate) namespace: Namespace,
    /// Last, for it removes what the others stand on.
    lab: Lab,
}

/// A reply: status and body.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) body: String,
}

impl Site {
    /// A daemon that is ready.
    pub(crate) fn start() -> Result<Site> {
        let lab = Lab::new()?;
        let namespace = lab.namespace("hub")?;
        let programs = Programs::beside(env!("CARGO_BIN_EXE_meshd"))?;
        let mut node = Node::new(&lab, "hub", &namespace, &programs)?;
        certificates(lab.directory())?;
        let file = |name: &str| lab.directory().join(name).display().to_string();
        let principals: String = PRINCIPALS
            .iter()
            .map(|(name, roles)| format!("[[principal]]\nname = {name:?}\nroles = [{roles}]\n"))
            .collect();
        node.configure(&format!(
            "cluster_id = \"cl01\"\nnode_id = \"hub\"\n[dns]\nenabled = false\n\
             [api]\nlisten = \"127.0.0.1:7443\"\nca = {:?}\ncert = {:?}\nkey = {:?}\n{principals}",
            file("ca.pem"),
            file("server.pem"),
            file("server.key"),
        ))?;
        node.start()?;
        Ok(Site { node, namespace, lab })
    }

    pub(crate) fn client(&self) -> Client {
        Client::unix(&self.node.socket())
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.lab.directory().join(name)
    }

    /// Over the socket, with further arguments for curl.
    pub(crate) fn curl(&self, path: &str, arguments: &[&str]) -> Result<Reply> {
        let socket = self.node.socket().display().to_string();
        self.ask(&[&["--unix-socket", &socket], arguments, &[&format!("http://mesh{path}")]].concat())
    }

    /// Over TCP with the certificate of `name`.
    pub(crate) fn curl_as(&self, name: &str, path: &str, arguments: &[&str]) -> Result<Reply> {
        let file = |name: &str| self.file(name).display().to_string();
        let (ca, cert, key) = (file("ca.pem"), file(&format!("{name}.pem")), file(&format!("{name}.key")));
        let identity = ["--cacert", &ca, "--cert", &cert, "--key", &key];
        self.ask(&[&identity, arguments, &[&format!("{SERVER}{path}")]].concat())
    }

    /// A request that succeeds, with a JSON body or none.
    pub(crate) fn json(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value> {
        let body = body.map(|body| body.to_string());
        let reply = self.curl(path, &with_body(method, body.as_deref()))?;
        ensure!(reply.status == 200, "{method} {path}: {reply:?}\n{}", self.node.tail(20));
        reply.json()
    }

    /// One that is refused: status, and code.
    pub(crate) fn refused(&self, method: &str, path: &str, body: Option<Value>) -> Result<(u16, String)> {
        let body = body.map(|body| body.to_string());
        self.curl(path, &with_body(method, body.as_deref()))?.refusal()
    }

    fn ask(&self, arguments: &[&str]) -> Result<Reply> {
        let mut command = self.namespace.command("curl");
        command.args(["--silent", "--show-error", "--globoff", "--path-as-is", "--max-time", "10"]);
        command.args(["--write-out", "\n%{http_code} %{content_type}"]).args(arguments);
        let output = process::output(&mut command, PATIENCE)?;
        let (body, last) = output.rsplit_once('\n').context("curl writes the status")?;
        let (status, content_type) = last.split_once(' ').context("curl writes the type")?;
        let status = status.parse().with_context(|| format!("a status: {status}"))?;
        Ok(Reply { status, content_type: content_type.to_owned(), body: body.to_owned() })
    }
}

impl Reply {
    pub(crate) fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("not JSON: {self:?}"))
    }

    /// Status and code, in the form that every refusal has.
    pub(crate) fn refusal(&self) -> Result<(u16, String)> {
        ensure!((400..500).contains(&self.status), "not refused: {self:?}");
        ensure!(self.content_type == "application/json", "{self:?}");
        let error = &self.json()?["error"];
        for field in ["code", "message", "hint"] {
            ensure!(error[field].is_string(), "no {field}: {self:?}");
        }
        ensure!(error["message"] != "", "it does not say why: {self:?}");
        Ok((self.status, error["code"].as_str().unwrap_or_default().to_owned()))
    }
}

/// Arguments for curl.
pub(crate) fn with_body<'a>(method: &'a str, body: Option<&'a str>) -> Vec<&'a str> {
    let mut arguments = vec!["--request", method];
    if let Some(body) = body {
        arguments.extend(["--header", "Content-Type: application/json", "--data-binary", body]);
    }
    arguments
}

/// A key in base64 that is different for each number.
pub(crate) fn public_key(number: u8) -> String {
    let mut bytes = [7; 32];
    bytes[0] = number;
    mesh_core::plan::PublicKey(bytes).to_string()
}

/// A CA that the daemon trusts with one certificate for each name, and one that it does not know.
fn certificates(directory: &std::path::Path) -> Result<()> {
    let names = PRINCIPALS.map(|(name, _)| name);
    issue(directory, "ca", &[&names[..], &["server", STRANGER]].concat())?;
    issue(directory, "unknown-ca", &["impostor"])
}

fn issue(directory: &std::path::Path, ca: &str, names: &[&str]) -> Result<()> {
    let write = |name: &str, text: String| fs::write(directory.join(name), text).context("write a certificate");
    let ca_key = KeyPair::generate()?;
    let mut params = params(ca, vec![])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    write(&format!("{ca}.pem"), params.self_signed(&ca_key)?.pem())?;
    let issuer = Issuer::new(params, ca_key);
    for name in names {
        let key = KeyPair::generate()?;
        // The impostor says that it is somebody else.
        let common_name = if *name == "impostor" { "admin" } else { name };
        let certificate = self::params(common_name, vec!["127.0.0.1".to_owned()])?.signed_by(&key, &issuer)?;
        write(&format!("{name}.pem"), certificate.pem())?;
        write(&format!("{name}.key"), key.serialize_pem())?;
    }
    Ok(())
}

fn params(common_name: &str, alternatives: Vec<String>) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(alternatives)?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    Ok(params)
}
