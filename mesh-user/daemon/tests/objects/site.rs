//! A daemon in a namespace that is asked over its socket, and manifests as the other cluster's admin sends them.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use mesh_lab::{
    Lab, Namespace, interrupt,
    node::{Node, Programs},
    process,
};
use serde_json::Value;

pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

pub(crate) const SETTINGS: &str = "cluster_id = \"cl01\"\nnode_id = \"n1\"\n[dns]\nenabled = false\n\
    [cidr]\npod = [\"10.243.0.0/16\"]\nexternal = [\"10.70.0.0/16\"]\n";

pub(crate) struct Site {
    pub(crate) node: Node,
    pub(crate) namespace: Namespace,
    /// Last, for it removes what the others stand on.
    pub(crate) lab: Lab,
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Site {
    pub(crate) fn start() -> Result<Site> {
        Site::start_with(|_| Ok(()))
    }

    /// `prepare` is done before the daemon starts.
    pub(crate) fn start_with(prepare: impl FnOnce(&Node) -> Result<()>) -> Result<Site> {
        let lab = Lab::new()?;
        let namespace = lab.namespace("n1")?;
        let programs = Programs::beside(env!("CARGO_BIN_EXE_meshd"))?;
        let mut node = Node::new(&lab, "n1", &namespace, &programs)?;
        node.configure(SETTINGS)?;
        prepare(&node)?;
        node.start()?;
        Ok(Site { node, namespace, lab })
    }

    pub(crate) fn ask(&self, method: &str, path: &str, body: Option<&str>) -> Result<Reply> {
        ask(&self.namespace, &self.node, method, path, body)
    }

    pub(crate) fn apply(&self, text: &str) -> Result<Value> {
        self.ask("POST", "/v1/apply", Some(text))?.json()
    }

    /// Status and message of the refusal.
    pub(crate) fn refused(&self, text: &str) -> Result<(u16, String)> {
        self.ask("POST", "/v1/apply", Some(text))?.refusal()
    }

    pub(crate) fn objects(&self, kind: &str) -> Result<Vec<Value>> {
        objects(&self.namespace, &self.node, kind)
    }

    /// The only one of the kind.
    pub(crate) fn object(&self, kind: &str) -> Result<Value> {
        let mut objects = self.objects(kind)?;
        ensure!(objects.len() == 1, "{kind}: {objects:?}");
        Ok(objects.remove(0))
    }

    pub(crate) fn info(&self) -> Result<Value> {
        self.ask("GET", "/v1/info", None)?.json()
    }
}

pub(crate) fn ask(namespace: &Namespace, node: &Node, method: &str, path: &str, body: Option<&str>) -> Result<Reply> {
    let mut command = namespace.command("curl");
    command.args(["--silent", "--show-error", "--globoff", "--max-time", "10", "--request", method]);
    command.args(["--write-out", "\n%{http_code}", "--unix-socket"]).arg(node.socket());
    if let Some(body) = body {
        command.args(["--header", "Content-Type: application/yaml", "--data-binary", body]);
    }
    command.arg(format!("http://mesh{path}"));
    let output = process::output(&mut command, PATIENCE)?;
    let (body, status) = output.rsplit_once('\n').context("curl writes the status")?;
    Ok(Reply { status: status.parse()?, body: body.to_owned() })
}

pub(crate) fn objects(namespace: &Namespace, node: &Node, kind: &str) -> Result<Vec<Value>> {
    let list = ask(namespace, node, "GET", &format!("/v1/objects/{kind}"), None)?.json()?;
    Ok(list["objects"].as_array().context("a list")?.clone())
}

impl Reply {
    pub(crate) fn json(&self) -> Result<Value> {
        ensure!(self.status == 200, "{}: {}", self.status, self.body);
        serde_json::from_str(&self.body).with_context(|| self.body.clone())
    }

    pub(crate) fn refusal(&self) -> Result<(u16, String)> {
        if self.status == 200 {
            bail!("not refused: {}", self.body);
        }
        let error: Value = serde_json::from_str(&self.body).with_context(|| self.body.clone())?;
        Ok((self.status, error["error"]["message"].as_str().unwrap_or_default().to_owned()))
    }
}

/// The status of a condition and its reason.
pub(crate) fn condition(object: &Value, kind: &str) -> Option<(String, String)> {
    let all = object["status"]["conditions"].as_array()?;
    let one = all.iter().find(|one| one["type"] == kind)?;
    assert_eq!(one["observedGeneration"], object["metadata"]["generation"], "{object}");
    Some((one["status"].as_str()?.to_owned(), one["reason"].as_str()?.to_owned()))
}

pub(crate) fn until(what: &str, look: impl FnMut() -> Result<Option<()>>) -> Result<()> {
    interrupt::wait_for(what, PATIENCE, Duration::from_millis(50), look)
}

/// As in the documentation of Liqo, with its placeholder filled.
pub(crate) fn configuration(remote: &str, pod: &str) -> String {
    format!(
        "apiVersion: networking.liqo.io/v1beta1
kind: Configuration
metadata:
  labels:
    liqo.io/remote-cluster-id: {remote}   # the remote cluster ID
  name: {remote}
spec:
  remote:
    cidr:
      external: 10.70.0.0/16        # the external CIDR of the remote cluster
      pod: {pod}            # the pod CIDR of the remote cluster
"
    )
}

pub(crate) fn server(remote: &str, port: u16) -> String {
    format!(
        "apiVersion: networking.liqo.io/v1beta1
kind: GatewayServer
metadata:
  labels:
    liqo.io/remote-cluster-id: {remote}   # the remote cluster ID
  name: server
spec:
  endpoint:
    port: 51840
    nodePort: {port}
    serviceType: NodePort
  mtu: 1340
  serverTemplateRef:
    apiVersion: networking.liqo.io/v1beta1
    kind: WgGatewayServerTemplate
    name: wireguard-server
    namespace: liqo
"
    )
}

pub(crate) fn client(remote: &str, address: &str, port: u16) -> String {
    format!(
        "apiVersion: networking.liqo.io/v1beta1
kind: GatewayClient
metadata:
  creationTimestamp: null
  labels:
    liqo.io/remote-cluster-id: {remote}   # the remote cluster ID
  name: client
  namespace: default
spec:
  clientTemplateRef:
    apiVersion: networking.liqo.io/v1beta1
    kind: WgGatewayClientTemplate
    name: wireguard-client
    namespace: liqo
  endpoint:
    addresses:
    - {address}
    port: {port}
    protocol: UDP
  mtu: 1340
"
    )
}

pub(crate) fn public_key(remote: &str) -> String {
    format!(
        "apiVersion: networking.liqo.io/v1beta1
kind: PublicKey
metadata:
  creationTimestamp: null
  labels:
    liqo.io/remote-cluster-id: {remote}   # the remote cluster ID
    networking.liqo.io/gateway-resource: \"true\"
  name: {remote}
spec:
  publicKey: BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=
"
    )
}

/// Several documents as one text.
pub(crate) fn all(documents: &[String]) -> String {
    documents.join("---\n")
}
