//! What a sequence asks of a cluster: its daemon, or in tests a cluster that is made up.

use mesh_client::Url;
use mesh_core::{
    api::{ApplyReply, ClusterReply, ObjectList, Status, to_body},
    model::{Manifest, ObjectKind},
};
use serde_json::Value;

use crate::{
    daemon::Daemon,
    exit::{Exit, Failure},
    manifest::REMOTE_LABEL,
};

/// The API of a cluster, as far as connections need it.
pub(crate) trait Cluster {
    /// Where it is, as messages say it.
    fn place(&self) -> String;
    fn info(&self) -> Result<ClusterReply, Failure>;
    fn status(&self) -> Result<Status, Failure>;
    /// Of every namespace.
    fn list(&self, kind: ObjectKind) -> Result<Vec<Value>, Failure>;
    /// All or nothing.
    fn apply(&self, manifests: &[Value], dry_run: bool) -> Result<ApplyReply, Failure>;
    /// `false`: it was gone already.
    fn delete(&self, kind: ObjectKind, namespace: &str, name: &str) -> Result<bool, Failure>;
}

impl Cluster for Daemon {
    fn place(&self) -> String {
        self.client.place()
    }

    fn info(&self) -> Result<ClusterReply, Failure> {
        self.get("/v1/info")
    }

    fn status(&self) -> Result<Status, Failure> {
        self.get("/v1/status")
    }

    fn list(&self, kind: ObjectKind) -> Result<Vec<Value>, Failure> {
        let list: ObjectList = self.get(Url::new("/v1/objects").segment(kind.plural()))?;
        Ok(list.objects)
    }

    fn apply(&self, manifests: &[Value], dry_run: bool) -> Result<ApplyReply, Failure> {
        // Where a problem is told, it names the object anyway.
        let text = |manifest: &Value| Manifest { file: "meshctl".to_owned(), text: manifest.to_string() };
        let body = to_body(&manifests.iter().map(text).collect::<Vec<_>>());
        let mut url = Url::new("/v1/apply").query("org", self.org.as_str());
        if dry_run {
            url = url.query("dryRun", "true");
        }
        Ok(self.wait(self.client.post_text(url, body, self.timeout))?)
    }

    fn delete(&self, kind: ObjectKind, namespace: &str, name: &str) -> Result<bool, Failure> {
        let url = Url::new("/v1/objects").segment(kind.plural()).segment(name).query("namespace", namespace);
        match Daemon::delete::<ObjectList>(self, url) {
            Ok(_) => Ok(true),
            Err(failure) if failure.exit == Exit::NotFound => Ok(false),
            Err(failure) => Err(failure),
        }
    }
}

/// The object is about this remote cluster. A Connection need not carry the label: it is called like the cluster.
pub(crate) fn is_about(object: &Value, remote: &str) -> bool {
    let label = object.pointer("/metadata/labels").and_then(|labels| labels.get(REMOTE_LABEL));
    let stated = label.or_else(|| object.pointer("/status/remoteClusterID"));
    stated.or_else(|| object.pointer("/metadata/name")).and_then(Value::as_str) == Some(remote)
}

pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// `namespace/name`.
pub(crate) fn name(object: &Value) -> String {
    format!("{}/{}", text(object, "/metadata/namespace"), text(object, "/metadata/name"))
}

/// What is said of an object as it is now: `None` as long as only an older one was judged.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<Condition<'a>> {
    let generation = object.pointer("/metadata/generation").and_then(Value::as_u64).unwrap_or(0);
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array)?;
    let found = conditions.iter().find(|condition| text(condition, "/type") == kind)?;
    let observed = found.get("observedGeneration").and_then(Value::as_u64).unwrap_or(generation);
    let [status, reason, message] = ["/status", "/reason", "/message"].map(|pointer| text(found, pointer));
    (observed >= generation).then_some(Condition {
        is_true: status == "True",
        is_false: status == "False",
        reason,
        message,
    })
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Condition<'a> {
    pub(crate) is_true: bool,
    pub(crate) is_false: bool,
    pub(crate) reason: &'a str,
    pub(crate) message: &'a str,
}

impl Condition<'_> {
    /// It is false, and will not become true by itself: what is said must be changed.
    pub(crate) fn is_final(&self) -> bool {
        self.is_false && matches!(self.reason, "Refused" | "NoAddress")
    }
}
