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
