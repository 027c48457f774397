//! What is done at one of the two clusters, step by step. Each step looks first at what is there, so that it can be
//! done again.

use std::time::{Duration, Instant};

use mesh_core::{
    api::{Action, ClusterReply},
    model::{GATEWAY_NODE_LABEL, ObjectKind},
};
use serde_json::Value;

use super::{
    cluster::Cluster,
    reading::{Reached, broken, condition, covers, is_about, label, name, nets, text},
    report::{End, Report},
};
use crate::{
    exit::{Exit, Failure},
    manifest::{MTU_ANNOTATION, Metadata, NodeKey, TemplateRef, Texts, configuration_spec, keys_of, public_key},
};

const PAUSE: Duration = Duration::from_millis(150);
/// What says that it will not come by itself may have been said too early.
const GRACE: Duration = Duration::from_secs(4);

/// One of the two clusters, and how what is made there is called.
pub(crate) struct Side<'a> {
    pub(crate) end: End,
    pub(crate) cluster: &'a dyn Cluster,
    pub(crate) info: ClusterReply,
    /// Of what is made here; else `liqo-tenant-REMOTE`.
    pub(crate) namespace: Option<String>,
    pub(crate) labels: Texts,
    pub(crate) annotations: Texts,
    pub(crate) deadline: Instant,
}

/// What one cluster must know of the other.
pub(crate) struct Remote {
    pub(crate) id: String,
    pub(crate) configuration: Value,
}

impl Remote {
    pub(crate) fn of(info: &ClusterReply) -> Remote {
        let network = &info.network;
        let configuration = configuration_spec(&network.pod_cidrs, &network.external_cidrs);
        Remote { id: info.cluster_id.clone(), configuration }
    }
}

impl<'a> Side<'a> {
    /// Asks the cluster who it is.
    pub(crate) fn alone(end: End, cluster: &'a dyn Cluster, deadline: Instant) -> Result<Side<'a>, Failure> {
        let info = cluster.info().map_err(|failure| failed(end, cluster, "cluster identity", failure))?;
        Ok(Side { end, cluster, info, namespace: None, labels: Texts::new(), annotations: Texts::new(), deadline })
    }
}

impl Side<'_> {
    pub(crate) fn id(&self) -> &str {
        &self.info.cluster_id
    }

    /// The one object of a kind about a remote, wherever it is.
    pub(crate) fn find(&self, kind: ObjectKind, remote: &str) -> Result<Option<Value>, Failure> {
        Ok(self.cluster.list(kind)?.into_iter().find(|object| is_about(object, remote)))
    }

    /// The manifest that makes what `spec` says, in place of the object that is there. What stands in the old spec and
    /// is not ours to say stays.
    pub(crate) fn draft(&self, kind: ObjectKind, remote: &str, spec: Value, old: Option<&Value>) -> Value {
        let default = || format!("liqo-tenant-{remote}");
        let namespace = self.namespace.clone().unwrap_or_else(default);
        let mut metadata = Metadata::of_remote(Some(&namespace), remote, remote);
        let mut whole = spec;
        if let Some(old) = old {
            metadata.name = text(old, "/metadata/name").to_owned();
            metadata.namespace = Some(text(old, "/metadata/namespace").to_owned());
            let kept = |field: &str| -> Texts {
                let texts = old.pointer("/metadata").and_then(|metadata| metadata.get(field));
                texts.and_then(|texts| serde_json::from_value(texts.clone()).ok()).unwrap_or_default()
            };
            metadata.annotations = kept("annotations");
            metadata
                .labels
                .extend(kept("labels").into_iter().filter(|(label, _)| label != crate::manifest::REMOTE_LABEL));
            if let (Value::Object(new), Some(Value::Object(old))) = (&mut whole, old.get("spec")) {
                for (field, value) in old {
                    new.entry(field.clone()).or_insert_with(|| value.clone());
                }
            }
        }
        metadata.labels.extend(self.labels.clone());
        metadata.annotations.extend(self.annotations.clone());
        metadata.manifest(kind, whole)
    }

    /// Applies what is other than what is there; an object that stands in a file and says the same is as good.
    pub(crate) fn ensure(&self, stage: &str, manifests: &[Value], report: &mut Report) -> Result<(), Failure> {
        match self.cluster.apply(manifests, false) {
            Ok(reply) => {
                for change in reply.changes.iter().filter(|change| change.action != Action::Unchanged) {
                    report.detail(self.end, format!("{}/{}: {}", change.kind, change.name, change.diff.join(", ")));
                }
                Ok(())
            }
            Err(failure) if failure.error.code == "managed_by_file" && self.stand(manifests)? => Ok(()),
            Err(failure) => Err(self.failed(stage, failure)),
        }
    }

    fn stand(&self, manifests: &[Value]) -> Result<bool, Failure> {
        for manifest in manifests {
            let Ok(kind) = text(manifest, "/kind").parse::<ObjectKind>() else { return Ok(false) };
            let same = |object: &Value| name(object) == name(manifest) && covers(&object["spec"], &manifest["spec"]);
            if !self.cluster.list(kind)?.iter().any(same) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What a Configuration of `remote` here must say.
    pub(crate) fn configuration(&self, remote: &Remote) -> Result<Value, Failure> {
        let old = self.find(ObjectKind::Configuration, &remote.id)?;
        Ok(self.draft(ObjectKind::Configuration, &remote.id, remote.configuration.clone(), old.as_ref()))
    }

    /// Waits until this cluster has names for the prefixes of the remote, and says them.
    pub(crate) fn wait_remapped(&self, remote: &str, report: &mut Report) -> Result<String, Failure> {
        let stage = "network configuration";
        self.wait(stage, "for names of the remote's prefixes", report, || {
            let object = self.find(ObjectKind::Configuration, remote)?;
            let Some(object) = object else { return Ok(Seen::Not(format!("the Configuration of {remote} is gone"))) };
            let real = nets(object.pointer("/spec/remote/cidr/pod"));
            let called = nets(object.pointer("/status/remote/cidr/pod"));
            match condition(&object, "NetworkCIDRsConfigured") {
                Some(condition) if condition.is_true && !called.is_empty() => {
                    let pairs = real.iter().zip(&called);
                    let pairs: Vec<String> = pairs.map(|(real, called)| format!("{real} is {called} here")).collect();
                    Ok(Seen::Yes(pairs.join(", ")))
                }
                condition => {
                    let why = condition.map_or("it was not looked at yet", |condition| condition.message);
                    Ok(Seen::Not(format!("Configuration {}: {why}", name(&object))))
                }
            }
        })
    }

    /// The template is there, and says what the service needs to say.
    pub(crate) fn check_template(&self, template: &TemplateRef, needs: &[&str]) -> Result<(), Failure> {
        let TemplateRef { kind, name: wanted, namespace } = template;
        let templates = self.cluster.list(*kind)?;
        let is_it = |object: &&Value| name(object) == format!("{namespace}/{wanted}");
        let Some(found) = templates.iter().find(is_it) else {
            let known: Vec<String> = templates.iter().map(name).collect();
            let message = format!("there is no {kind} {namespace}/{wanted}; known: {}", known.join(", "));
            let hint = "--gw-server-template-name and --gw-client-template-name choose, `meshctl apply -f` makes one";
            return Err(self.failed("template", Failure::new(Exit::NotFound, message, hint)));
        };
        let said = found.get("spec").map(ToString::to_string).unwrap_or_default().to_ascii_lowercase();
        let missing = needs.iter().find(|need| said.contains(".spec.") && !said.contains(&need.to_ascii_lowercase()));
        let Some(missing) = missing.filter(|_| !said.contains(".spec.endpoint }}") && !said.contains(".spec }}"))
        else {
            return Ok(());
        };
        let message = format!("{kind} {namespace}/{wanted} does not use .Spec.Endpoint.{missing}");
        let hint = "leave the flag out, choose another template, or go on with --skip-validation";
        Err(self.failed("template", Failure::usage(message, hint)))
    }

    /// Waits until a gateway of this cluster stands. It may still lack the key of the remote.
    pub(crate) fn wait_ready(&self, kind: ObjectKind, remote: &str, report: &mut Report) -> Result<(), Failure> {
        self.wait("gateway", "for the gateway to be ready", report, || {
            let Some(gateway) = self.find(kind, remote)? else { return Ok(Seen::Not(format!("the {kind} is gone"))) };
            match condition(&gateway, "Ready") {
                Some(ready) if ready.is_true || ready.reason.contains("PublicKey") => Ok(Seen::Yes(())),
                ready => {
                    let why = ready.map_or("it was not looked at yet", |ready| ready.message);
                    Ok(Seen::Not(format!("{kind} {}: {why}", name(&gateway))))
                }
            }
        })
    }

    /// Waits until the gateway server says where it is reached.
    pub(crate) fn wait_endpoint(&self, remote: &str, report: &mut Report) -> Result<Reached, Failure> {
        let kind = ObjectKind::GatewayServer;
        self.wait("gateway server endpoint", "for an address and a port", report, || {
            let Some(gateway) = self.find(kind, remote)? else { return Ok(Seen::Not(format!("the {kind} is gone"))) };
            let assigned = condition(&gateway, "EndpointAssigned");
            let reached = Reached::read(&gateway);
            match (assigned, reached) {
                (Some(assigned), Some(reached)) if assigned.is_true => Ok(Seen::Yes(reached)),
                (Some(assigned), _) if assigned.is_false => {
                    let told = format!("{kind} {}: {}", name(&gateway), assigned.message);
                    Ok(if assigned.is_final() { Seen::Never(told) } else { Seen::Not(told) })
                }
                (assigned, _) => {
                    let why = assigned.map_or("it has no address yet", |assigned| assigned.message);
                    Ok(Seen::Not(format!("{kind} {}: {why}", name(&gateway))))
                }
            }
        })
    }

    /// The keys that the gateway here proves itself with, and its MTU.
    pub(crate) fn wait_keys(
        &self,
        kind: ObjectKind,
        remote: &str,
        report: &mut Report,
    ) -> Result<(Vec<NodeKey>, Option<u16>), Failure> {
        self.wait("key", "for the key of the gateway", report, || {
            let Some(gateway) = self.find(kind, remote)? else { return Ok(Seen::Not(format!("the {kind} is gone"))) };
            let keys = keys_of(&gateway, &self.info.public_key);
            if keys.is_empty() {
                return Ok(Seen::Not(format!("{kind} {} has no key yet", name(&gateway))));
            }
            Ok(Seen::Yes((keys, crate::manifest::mtu_of(&gateway))))
        })
    }

    /// The PublicKeys of `remote` that this cluster must hold, in place of those that are there.
    pub(crate) fn key_drafts(&self, remote: &str, keys: &[NodeKey], mtu: Option<u16>) -> Result<Vec<Value>, Failure> {
        let held = self.cluster.list(ObjectKind::PublicKey)?;
        let held: Vec<&Value> = held.iter().filter(|object| is_about(object, remote)).collect();
        let drafts = keys.iter().map(|key| {
            let node = key.node.as_deref().unwrap_or_default();
            let of_node = |object: &&&Value| label(object, GATEWAY_NODE_LABEL) == node;
            let wanted = public_key(remote, None, key, mtu);
            let mut draft =
                self.draft(ObjectKind::PublicKey, remote, wanted["spec"].clone(), held.iter().find(of_node).copied());
            if !held.iter().any(|object| of_node(&object)) {
                draft["metadata"]["name"] = wanted["metadata"]["name"].clone();
            }
            for field in ["labels", "annotations"] {
                if let (Some(into), Some(Value::Object(more))) =
                    (draft["metadata"].as_object_mut(), wanted["metadata"].get(field))
                {
                    let texts = into.entry(field).or_insert_with(|| Value::Object(serde_json::Map::new()));
                    if let Value::Object(texts) = texts {
                        texts.extend(more.clone());
                    }
                }
            }
            draft
        });
        Ok(drafts.collect())
    }

    /// PublicKeys of `remote` here that name another MTU, saying this one: both change at once or not at all.
    pub(crate) fn keys_with_mtu(&self, remote: &str, mtu: u16) -> Result<Vec<Value>, Failure> {
        let held = self.cluster.list(ObjectKind::PublicKey)?;
        let is_other = |object: &&Value| {
            let annotation = object.pointer("/metadata/annotations").and_then(|texts| texts.get(MTU_ANNOTATION));
            is_about(object, remote) && annotation.and_then(Value::as_str).is_some_and(|text| text != mtu.to_string())
        };
        let drafts = held.iter().filter(is_other).map(|object| {
            let mut draft = self.draft(ObjectKind::PublicKey, remote, object["spec"].clone(), Some(object));
            draft["metadata"]["annotations"][MTU_ANNOTATION] = Value::String(mtu.to_string());
            draft
        });
        Ok(drafts.collect())
    }

    /// Waits until there is a Connection, or until it is established.
    pub(crate) fn wait_connection(
        &self,
        remote: &str,
        established: bool,
        report: &mut Report,
    ) -> Result<String, Failure> {
        let what = if established { "for the connection" } else { "for the Connection object" };
        self.wait("connection", what, report, || {
            let Some(connection) = self.find(ObjectKind::Connection, remote)? else {
                return Ok(Seen::Not(format!("there is no Connection to {remote}")));
            };
            let [value, latency, endpoint, detail] =
                ["/status/value", "/status/latency/value", "/status/endpoint", "/status/detail"]
                    .map(|pointer| text(&connection, pointer));
            if !established || value == "Connected" {
                let latency = if latency.is_empty() { String::new() } else { format!(" ({latency})") };
                return Ok(Seen::Yes(latency));
            }
            let at = if endpoint.is_empty() { "an address that is not known yet" } else { endpoint };
            let mut told = format!("the connection to {remote} at {at} is {value}");
            let mut whys = broken(&connection);
            whys.extend([detail].into_iter().filter(|text| !text.is_empty()).map(str::to_owned));
            whys.iter().for_each(|why| told += &format!("; {why}"));
            Ok(Seen::Not(told))
        })
    }

    /// Looks again and again until it is seen, or until there is no time left.
    pub(crate) fn wait<T>(
        &self,
        stage: &str,
        what: &str,
        report: &mut Report,
        mut look: impl FnMut() -> Result<Seen<T>, Failure>,
    ) -> Result<T, Failure> {
        let patience = self.deadline.min(Instant::now() + GRACE);
        loop {
            let (why, is_over) = match look().map_err(|failure| self.failed(stage, failure))? {
                Seen::Yes(seen) => return Ok(seen),
                Seen::Not(why) => (why, Instant::now() >= self.deadline),
                Seen::Never(why) if Instant::now() < patience => (why, false),
                Seen::Never(why) => {
                    let hint = format!("`meshctl get -A gws -o yaml` on {} tells more", self.cluster.place());
                    return Err(self.failed(stage, Failure::new(Exit::Conflict, why, hint)));
                }
            };
            if is_over {
                let hint = "the same command goes on from here; --timeout waits longer";
                return Err(self.failed(stage, Failure::new(Exit::Timeout, format!("waited {what}: {why}"), hint)));
            }
            report.turn(self.end, &format!("waiting {what}"));
            std::thread::sleep(PAUSE);
        }
    }

    /// Says where it went wrong.
    pub(crate) fn failed(&self, stage: &str, failure: Failure) -> Failure {
        failed(self.end, self.cluster, stage, failure)
    }
}

fn failed(end: End, cluster: &dyn Cluster, stage: &str, mut failure: Failure) -> Failure {
    failure.error.message = format!("({end}) {stage}, meshd on {}: {}", cluster.place(), failure.error.message);
    failure
}

/// What a look finds.
pub(crate) enum Seen<T> {
    Yes(T),
    /// Not yet; why.
    Not(String),
    /// It is of no use to wait; why.
    Never(String),
}
