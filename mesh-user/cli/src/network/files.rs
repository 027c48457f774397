//! `--remote-files DIR`: the other cluster's daemon is never asked. What its admin shall apply is written to a directory,
//! and what that admin has put there is read.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use mesh_core::model::ObjectKind;
use serde_json::Value;

use super::{
    connect::{Wish, set_up_client, set_up_server},
    reading::{Reached, is_about, nets, text},
    report::{End, Report},
    side::{Remote, Seen, Side},
};
use crate::{
    exit::{Exit, Failure},
    manifest::{MTU_ANNOTATION, Metadata, NodeKey, configuration_spec, keys_of, public_key},
    output::yaml,
};

/// What a cluster may have put there for the others.
const PARTS: [&str; 4] = ["configuration", "publickey", "gatewayserver", "gatewayclient"];

/// The directory, seen by one of the two admins.
pub(crate) struct Exchange<'a> {
    pub(crate) directory: &'a Path,
    /// The other cluster, where several have put files there.
    pub(crate) remote: Option<&'a str>,
}

pub(crate) fn connect(
    local: &Side<'_>,
    exchange: &Exchange<'_>,
    wish: &Wish,
    report: &mut Report,
) -> Result<(), Failure> {
    super::retrieved(local, report)?;
    let is_server = wish.server_at == End::Local;
    exchange.offer(local, wish, report)?;
    let remote = exchange.await_part(local, wish, report, "Configuration", |theirs| theirs.configuration(exchange))?;
    report.info(End::Remote, format!("Network configuration of {} read", remote.id));
    let draft = local.configuration(&remote)?;
    local.ensure("network configuration", &[draft], report)?;
    report.info(End::Local, "Configuration applied");
    let names = local.wait_remapped(&remote.id, report)?;
    report.info(End::Local, format!("Network initialized: {names}"));
    let kind = if is_server {
        let reached = set_up_server(local, &remote.id, wish, report)?;
        exchange.offer_client(local, wish, &reached, report)?;
        ObjectKind::GatewayServer
    } else {
        let reached = match given(wish) {
            Some(reached) => reached,
            None => exchange.await_part(local, wish, report, "gateway server's endpoint", |theirs| {
                Ok(theirs.reached(&remote.id, local.id()))
            })?,
        };
        set_up_client(local, &remote.id, &wish.client_spec(&reached)?, report)?;
        ObjectKind::GatewayClient
    };
    let (keys, mtu) = local.wait_keys(kind, &remote.id, report)?;
    exchange.offer_keys(local, &keys, mtu, report)?;
    if wish.share_keys {
        let keys =
            exchange.await_part(local, wish, report, "PublicKey", |theirs| Ok(theirs.public_keys(&remote.id)))?;
        local.ensure("public key", &local.foreign_keys(&remote.id, &keys)?, report)?;
        report.info(End::Local, "Public key created");
    }
    local.wait_connection(&remote.id, false, report)?;
    report.info(End::Local, "Connection created");
    if wish.wait {
        let latency = local.wait_connection(&remote.id, true, report)?;
        report.info(End::Local, format!("Connection is established{latency}"));
    }
    Ok(())
}

/// Both address and port were said on the command line.
fn given(wish: &Wish) -> Option<Reached> {
    let (address, port) = (wish.client.address.clone()?, wish.client.port?);
    Some(Reached { addresses: vec![address], ports: (port..=u16::MAX).take(wish.server.lanes.max(1).into()).collect() })
}

impl Side<'_> {
    /// PublicKey objects as the other admin wrote them, under the names that they have here.
    fn foreign_keys(&self, remote: &str, keys: &[Value]) -> Result<Vec<Value>, Failure> {
        let read = |key: &Value| {
            let label =
                key.pointer("/metadata/labels").and_then(|labels| labels.get(mesh_core::model::GATEWAY_NODE_LABEL));
            let annotation = |name: &str| {
                let annotations = key.pointer("/metadata/annotations").and_then(|texts| texts.get(name));
                annotations.and_then(Value::as_str).unwrap_or_default()
            };
            let addresses = annotation(mesh_core::model::GATEWAY_ADDRESSES).split(',').filter(|text| !text.is_empty());
            let node = NodeKey {
                node: label.and_then(Value::as_str).map(str::to_owned),
                index: annotation(mesh_core::model::GATEWAY_INDEX).parse().ok(),
                key: text(key, "/spec/publicKey").to_owned(),
                addresses: addresses.map(str::to_owned).collect(),
            };
            (node, annotation(MTU_ANNOTATION).parse::<u16>().ok())
        };
        let mut drafts = Vec::new();
        for (key, mtu) in keys.iter().map(read) {
            drafts.extend(self.key_drafts(remote, &[key], mtu)?);
        }
        Ok(drafts)
    }
}

impl Exchange<'_> {
    /// What can be written before anything of the other is known: prefixes, key, and to a server what it shall be.
    fn offer(&self, local: &Side<'_>, wish: &Wish, report: &mut Report) -> Result<(), Failure> {
        let network = &local.info.network;
        let spec = configuration_spec(&network.pod_cidrs, &network.external_cidrs);
        let ours = Metadata::of_remote(None, local.id(), local.id());
        self.write(local, "configuration", &[ours.manifest(ObjectKind::Configuration, spec)], report)?;
        if wish.server_at == End::Remote {
            let usage = |error: String| Failure::usage(error, "choose another first port, or fewer lanes");
            let spec = wish.server.value().map_err(usage)?;
            let namespace = format!("liqo-tenant-{}", local.id());
            let server = Metadata::of_remote(Some(&namespace), local.id(), local.id());
            self.write(local, "gatewayserver", &[server.manifest(ObjectKind::GatewayServer, spec)], report)?;
        }
        let gateway = local.cluster.list(ObjectKind::GatewayClient)?.into_iter().next().unwrap_or_default();
        let has_own_key = gateway.pointer("/spec/secretRef").is_some();
        let keys = keys_of(&Value::Null, &local.info.public_key);
        if !has_own_key && wish.server_at == End::Remote {
            self.offer_keys(local, &keys, Some(wish.client.mtu), report)?;
        }
        Ok(())
    }

    fn offer_client(
        &self,
        local: &Side<'_>,
        wish: &Wish,
        reached: &Reached,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let namespace = format!("liqo-tenant-{}", local.id());
        let client = Metadata::of_remote(Some(&namespace), local.id(), local.id());
        let spec = wish.client_spec(reached)?.value();
        self.write(local, "gatewayclient", &[client.manifest(ObjectKind::GatewayClient, spec)], report)
    }

    fn offer_keys(
        &self,
        local: &Side<'_>,
        keys: &[NodeKey],
        mtu: Option<u16>,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let manifests: Vec<Value> = keys.iter().map(|key| public_key(local.id(), None, key, mtu)).collect();
        self.write(local, "publickey", &manifests, report)
    }

    /// Whole or not at all; what is there already is not touched.
    fn write(&self, local: &Side<'_>, part: &str, manifests: &[Value], report: &mut Report) -> Result<(), Failure> {
        let texts: Result<Vec<String>, Failure> = manifests.iter().map(yaml).collect();
        let text = texts?.join("---\n");
        let path = self.path(local.id(), part);
        if fs::read_to_string(&path).is_ok_and(|there| there == text) {
            return Ok(());
        }
        let draft = path.with_extension("draft");
        let written = fs::create_dir_all(self.directory).and_then(|()| fs::write(&draft, text));
        written.and_then(|()| fs::rename(&draft, &path)).map_err(|error| {
            Failure::new(Exit::Unexpected, format!("cannot write {}: {error}", path.display()), "--remote-files DIR")
        })?;
        report.info(End::Remote, format!("{} is written, for the other admin to apply", path.display()));
        Ok(())
    }

    fn path(&self, id: &str, part: &str) -> PathBuf {
        self.directory.join(format!("{id}-{part}.yaml"))
    }

    /// Removes what this cluster put there.
    pub(crate) fn withdraw(&self, local: &Side<'_>, report: &mut Report) -> Result<(), Failure> {
        for part in PARTS {
            let path = self.path(local.id(), part);
            match fs::remove_file(&path) {
                Ok(()) => report.info(End::Remote, format!("{} is removed", path.display())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let message = format!("cannot remove {}: {error}", path.display());
                    return Err(Failure::new(Exit::Unexpected, message, ""));
                }
            }
        }
        Ok(())
    }

    /// With `--wait` until it is there, else it must be there now.
    fn await_part<T>(
        &self,
        local: &Side<'_>,
        wish: &Wish,
        report: &mut Report,
        what: &str,
        read: impl Fn(&Theirs) -> Result<Option<T>, Failure>,
    ) -> Result<T, Failure> {
        let look = || read(&Theirs::read(self.directory, local.id())?);
        if let Some(found) = look()? {
            return Ok(found);
        }
        let missing = format!("the {what} of the other cluster is not in {} yet", self.directory.display());
        if !wish.wait {
            let hint = "the other admin runs `meshctl network connect --remote-files` on the same files, or applies ours \
                        and puts theirs there; then run the same command again (--wait waits)";
            return Err(Failure::new(Exit::Waiting, missing, hint));
        }
        local.wait("files", &format!("for the {what} of the other cluster"), report, || {
            Ok(look()?.map_or_else(|| Seen::Not(missing.clone()), Seen::Yes))
        })
    }
}

/// The objects that others have put there.
struct Theirs {
    objects: Vec<Value>,
}

impl Theirs {
    fn read(directory: &Path, own: &str) -> Result<Theirs, Failure> {
        let failed = |path: &Path, error: &dyn std::fmt::Display| {
            Failure::usage(format!("cannot read {}: {error}", path.display()), "it is of the other admin")
        };
        let ours: Vec<String> = PARTS.iter().map(|part| format!("{own}-{part}.yaml")).collect();
        let mut objects = Vec::new();
        let mut paths = Vec::new();
        for entry in fs::read_dir(directory).map_err(|error| failed(directory, &error))? {
            paths.push(entry.map_err(|error| failed(directory, &error))?.path());
        }
        paths.sort();
        for path in paths {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            let is_manifest = matches!(path.extension().and_then(|e| e.to_str()), Some("yaml" | "yml" | "json"));
            if ours.contains(&name) || !is_manifest {
                continue;
            }
            let text = fs::read_to_string(&path).map_err(|error| failed(&path, &error))?;
            let documents: Vec<Value> = serde_saphyr::from_multiple(&text)
                .map_err(|error| failed(&path, &error.without_snippet().to_string()))?;
            objects.extend(documents);
        }
        Ok(Theirs { objects })
    }

    fn of_kind(&self, kind: ObjectKind) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(move |object| text(object, "/kind") == kind.as_str())
    }

    fn configuration(&self, exchange: &Exchange<'_>) -> Result<Option<Remote>, Failure> {
        let id = |object: &Value| {
            let labels =
                object.pointer("/metadata/labels").and_then(|labels| labels.get(crate::manifest::REMOTE_LABEL));
            labels.and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let of_wanted = |found: &&Value| exchange.remote.is_none_or(|remote| id(found) == remote);
        let found: Vec<&Value> = self.of_kind(ObjectKind::Configuration).filter(of_wanted).collect();
        let ids: BTreeSet<String> = found.iter().map(|object| id(object)).collect();
        if ids.len() > 1 {
            let ids: Vec<String> = ids.into_iter().collect();
            let message = format!("{} has files of several clusters: {}", exchange.directory.display(), ids.join(", "));
            return Err(Failure::new(Exit::Conflict, message, "--remote-cluster-id names one").with_code("ambiguous"));
        }
        let remote = |object: &&Value| Remote { id: id(object), configuration: object["spec"].clone() };
        Ok(found.first().map(remote))
    }

    /// Of the GatewayClient that the server's admin wrote for us, or of the GatewayServer as it is there.
    fn reached(&self, remote: &str, own: &str) -> Option<Reached> {
        let for_us = self.of_kind(ObjectKind::GatewayClient).filter(|object| is_about(object, remote));
        let client = for_us.filter_map(|object| {
            let endpoint = object.pointer("/spec/endpoint")?;
            let as_status = serde_json::json!({ "status": { "endpoint": endpoint } });
            Reached::read(&as_status).filter(|_| !nets(endpoint.get("addresses")).is_empty())
        });
        let servers = self.of_kind(ObjectKind::GatewayServer).filter(|object| is_about(object, own));
        client.chain(servers.filter_map(Reached::read)).next()
    }

    fn public_keys(&self, remote: &str) -> Option<Vec<Value>> {
        let keys: Vec<Value> =
            self.of_kind(ObjectKind::PublicKey).filter(|object| is_about(object, remote)).cloned().collect();
        (!keys.is_empty()).then_some(keys)
    }
}
