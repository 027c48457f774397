//! All that the operator says, taken together: what one document cannot know of another.

mod gateways;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use super::{
    cluster::Cluster,
    cluster_id::ClusterId,
    configuration::{Configuration, Prefixes},
    document::{Document, Place},
    gateway::Gateway,
    gateway_client::GatewayClient,
    gateway_server::GatewayServer,
    ip::Ip,
    network::Network,
    object::{ClusterObject, ObjectId, ObjectKind},
    parsed::Parsed,
    prefix,
    problem::Problems,
    public_key::RemoteKey,
    settings::{GatewaySettings, RemapSettings, Settings},
};
use crate::{
    plan::{Attachment, DeviceName, PublicKey},
    template::Templates,
};

/// The file of what stands in no file.
pub const STORE: &str = "the store";

/// Settings, manifests and objects as they were read.
#[derive(Clone, Debug)]
pub struct Intent {
    pub settings: Settings,
    /// The public half of this node's key.
    pub own_key: PublicKey,
    pub manifests: Vec<Manifest>,
    /// Of an intent before this one, where there was one.
    pub parsed: Parsed,
    /// Those of the store.
    pub objects: Vec<Placed>,
}

/// An object, and where it stands: [`STORE`], or the file that it is just being applied from.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    pub file: String,
    pub object: Arc<ClusterObject>,
}

/// The text of one manifest file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub file: String,
    pub text: String,
}

/// An intent without contradictions in itself. Whether it fits this node and what was given out before, `plan` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidIntent {
    pub settings_file: String,
    pub cluster: Cluster,
    pub interfaces: BTreeMap<DeviceName, Attachment>,
    pub gateway: GatewaySettings,
    /// Underlay address of this node, as far as it was said.
    pub node_address: Option<IpAddr>,
    pub remap: RemapSettings,
    /// What the whole mesh calls us, index-aligned with pod and external CIDRs.
    pub presented: Option<Prefixes>,
    /// Remote clusters with a Configuration.
    pub remotes: BTreeMap<ClusterId, Remote>,
    pub networks: BTreeMap<ObjectId, Network>,
    pub ips: BTreeMap<ObjectId, Ip>,
    /// What waits for something, one line each.
    pub notices: Vec<String>,
}

/// One remote cluster. Without gateway or keys its connection waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    pub configuration: Configuration,
    pub gateway: Option<Gateway>,
    /// Of its gateway nodes, in the order of their numbers.
    pub keys: Vec<RemoteKey>,
}

/// The objects by remote cluster, each with its place.
#[derive(Default)]
struct Objects {
    configurations: BTreeMap<ClusterId, Configuration>,
    gateways: BTreeMap<ClusterId, Gateway>,
    keys: BTreeMap<ClusterId, Vec<RemoteKey>>,
    templates: Templates,
    networks: BTreeMap<ObjectId, Network>,
    ips: BTreeMap<ObjectId, Ip>,
    /// Of everything.
    places: BTreeMap<ObjectId, Place>,
    problems: Problems,
}

impl Intent {
    /// The valid intent, or every problem that can be told without the kernel.
    pub fn validate(&self) -> Result<ValidIntent, Problems> {
        let mut objects = Objects::default();
        let mut documents = Vec::new();
        for (file, values) in self.parsed.documents(&self.manifests, &mut objects.problems) {
            documents.extend(Document::of_values(&file, values.iter().cloned(), &mut objects.problems));
        }
        for Placed { file, object } in &self.objects {
            documents.extend(Document::of_object(file, object, &mut objects.problems));
        }
        // Gateways are made of templates, wherever these stand.
        documents.iter().for_each(|document| objects.templates.add(document, &mut objects.problems));
        documents.iter().for_each(|document| objects.take(document));
        objects.check_references();
        objects.check_prefixes(&self.settings);
        objects.check_remote_ids(&self.settings.cluster.id);
        objects.check_keys(self.own_key);
        objects.check_ports();
        objects.check_gateways();
        objects.check_mtus();
        let presented = objects.own_presented(&self.settings);
        objects.check_presented(&self.settings.cluster, presented.as_ref());
        let mut notices = objects.leave_to_others(self.settings.node_id.as_ref());
        notices.extend(objects.notices());
        let Objects { configurations, mut gateways, mut keys, networks, ips, problems, .. } = objects;
        let remote = |(id, configuration)| {
            let (gateway, keys) = (gateways.remove(&id), keys.remove(&id).unwrap_or_default());
            (id, Remote { configuration, gateway, keys })
        };
        let remotes = configurations.into_iter().map(remote).collect();
        problems.or(ValidIntent {
            settings_file: self.settings.file.clone(),
            cluster: self.settings.cluster.clone(),
            interfaces: self.settings.interfaces.clone(),
            remap: self.settings.remap,
            gateway: self.settings.gateway.clone(),
            node_address: self.settings.advertise,
            presented,
            remotes,
            networks,
            ips,
            notices,
        })
    }
}

impl Remote {
    /// All that a connection needs is there.
    pub fn is_complete(&self) -> bool {
        self.gateway.as_ref().is_some_and(|gateway| gateway.is_direct() || !self.keys.is_empty())
    }
}

impl Objects {
    fn take(&mut self, document: &Document) {
        let (id, place) = (document.id.clone(), document.place.clone());
        let is_template = matches!(id.kind, ObjectKind::WgGatewayServerTemplate | ObjectKind::WgGatewayClientTemplate);
        // Twins among templates are told by those who collect them.
        if !id.name.is_empty()
            && !is_template
            && let Some(twin) = self.places.insert(id, place)
        {
            let message = format!("it stands in {} already", twin.file);
            return self.problems.0.push(document.place.problem("metadata.name", message, "keep one of the two"));
        }
        if let Some(twin) = self.read(document) {
            let message = format!("the same remote cluster already has {twin}");
            let hint = match document.id.kind {
                ObjectKind::GatewayServer | ObjectKind::GatewayClient => {
                    "keep one gateway for each remote cluster, server or client"
                }
                ObjectKind::PublicKey => {
                    "keep one of them, or tell gateway nodes apart by the label mesh/gateway-node and the annotation \
                     mesh/gateway-index"
                }
                _ => "keep one of them",
            };
            self.problems.0.push(document.place.problem("", message, hint));
        }
    }

    /// The place of another that says the same of the same remote cluster.
    fn read(&mut self, document: &Document) -> Option<Place> {
        let (id, remote, problems) = (document.id.clone(), document.remote.clone(), &mut self.problems);
        match id.kind {
            ObjectKind::Configuration => Configuration::read(document, problems)
                .and_then(|new| insert(&mut self.configurations, remote, new).map(|old| old.place)),
            ObjectKind::GatewayServer => GatewayServer::read(document, &self.templates, problems).and_then(|new| {
                insert(&mut self.gateways, remote, Gateway::Server(new)).map(|old| old.place().clone())
            }),
            ObjectKind::GatewayClient => GatewayClient::read(document, &self.templates, problems).and_then(|new| {
                insert(&mut self.gateways, remote, Gateway::Client(new)).map(|old| old.place().clone())
            }),
            ObjectKind::PublicKey => {
                let key = RemoteKey::read(document, problems).zip(remote);
                key.and_then(|(new, remote)| insert_key(self.keys.entry(remote).or_default(), new))
            }
            ObjectKind::Network => {
                self.networks.extend(Network::read(document, problems).map(|new| (id, new)));
                None
            }
            ObjectKind::Ip => {
                self.ips.extend(Ip::read(document, problems).map(|new| (id, new)));
                None
            }
            ObjectKind::WgGatewayServerTemplate | ObjectKind::WgGatewayClientTemplate | ObjectKind::Connection => None,
        }
    }

    fn check_references(&mut self) {
        let dangling = self.ips.values().filter_map(|ip| {
            let network = ip.network.as_ref().filter(|network| !self.networks.contains_key(network))?;
            let message = format!("there is no {network}");
            Some(ip.place.problem("spec.networkRef", message, "apply that Network with it, or leave networkRef out"))
        });
        let dangling: Vec<_> = dangling.collect();
        self.problems.0.extend(dangling);
    }

    /// A connection joins our prefixes to those of a remote.
    fn check_prefixes(&mut self, settings: &Settings) {
        let gateway = self.gateways.values().map(Gateway::place);
        let first = self.configurations.values().map(|object| &object.place).chain(gateway).next();
        if let Some(place) = first.filter(|_| settings.cluster.pod.is_empty()) {
            let message = format!("a connection needs the prefixes of this cluster, and {} has none", settings.file);
            self.problems.0.push(place.problem("", message, "add [cidr] with pod = [...] there"));
        }
    }

    fn check_remote_ids(&mut self, own: &ClusterId) {
        let places = (self.configurations.get(own).map(|object| &object.place).into_iter())
            .chain(self.gateways.get(own).map(Gateway::place))
            .chain(self.keys.get(own).into_iter().flatten().map(|object| &object.place));
        let hint = "this manifest is for the other side: give the id of the remote cluster, or apply it there";
        let problem = |place: &Place| place.problem("metadata.labels", format!("{own} is this cluster itself"), hint);
        self.problems.0.extend(places.map(problem));
    }

    fn check_keys(&mut self, own: PublicKey) {
        let mut seen: BTreeMap<PublicKey, &Place> = BTreeMap::new();
        for remote in self.keys.values().flatten() {
            let hint = "take the output of 'meshctl generate publickey' on the remote cluster";
            if remote.key == own {
                let message = format!("{} is our own key", remote.key);
                self.problems.0.push(remote.place.problem("spec.publicKey", message, hint));
            }
            if let Some(other) = seen.insert(remote.key, &remote.place) {
                let message = format!("the same key as {other}");
                self.problems.0.push(remote.place.problem("spec.publicKey", message, hint));
            }
        }
    }

    /// The one set of names that all Configurations agree on for us.
    fn own_presented(&mut self, Settings { file, cluster, .. }: &Settings) -> Option<Prefixes> {
        let real = Prefixes { pod: cluster.pod.clone(), external: cluster.external.cidrs.clone() };
        let settings = Place { file: file.clone(), object: None };
        let mut first: Option<(&Prefixes, &Place)> = cluster.presented.as_ref().map(|presented| (presented, &settings));
        for configuration in self.configurations.values() {
            if let Some(local) = configuration.local.as_ref().filter(|local| local.pod != real.pod) {
                let message = format!("{} is not our pod CIDR {}", join(&local.pod), join(&real.pod));
                let hint = "remove it, or correct cidr.pod in the settings";
                self.problems.0.push(configuration.place.problem("spec.local.cidr.pod", message, hint));
            }
            let Some(wide) = &configuration.presented else { continue };
            let Some(local) = &wide.local else { continue };
            if let Some((field, message)) = local.misaligned(&real) {
                let path = format!("spec.local.presented.{field}");
                let problem = configuration.place.problem(&path, message, "give one of the same length for each");
                self.problems.0.push(problem);
            }
            match first {
                None => first = Some((local, &configuration.place)),
                Some((other, place)) if other != local => {
                    let message = format!("differs from {place}");
                    let hint = "a cluster has the same mesh-wide prefixes towards all";
                    self.problems.0.push(configuration.place.problem("spec.local.presented", message, hint));
                }
                Some(_) => {}
            }
        }
        let mut one_sided = self.configurations.values().filter(|configuration| configuration.presented.is_some());
        if let (None, Some(configuration)) = (first, one_sided.next()) {
            let hint = "give spec.local.presented here, or cidr.presented in the settings";
            let message = "the remote cluster has mesh-wide prefixes, and this cluster has none";
            self.problems.0.push(configuration.place.problem("spec.remote.presented", message, hint));
        }
        first.map(|(prefixes, _)| prefixes.clone())
    }

    /// Names that the operator gave must be free: of our own prefixes, and of each other.
    fn check_presented(&mut self, cluster: &Cluster, own: Option<&Prefixes>) {
        let mut taken: Vec<(String, ipnet::IpNet)> = Vec::new();
        let ours = [("pod", &cluster.pod), ("service", &cluster.service), ("external", &cluster.external.cidrs)];
        for (name, nets) in ours.into_iter().chain([("internal", &cluster.internal.cidrs)]) {
            taken.extend(nets.iter().map(|net| (format!("our own {name} CIDR"), *net)));
        }
        let real: Vec<_> = cluster.pod.iter().chain(&cluster.external.cidrs).collect();
        for (index, net) in own.into_iter().flat_map(Prefixes::iter).enumerate() {
            // A prefix that is unique anyway may be presented as itself.
            let clash = taken.iter().find(|(_, other)| prefix::overlap(net, other) && Some(&net) != real.get(index));
            if let (Some((name, other)), Some(configuration)) =
                (clash, self.configurations.values().find(|c| c.presented.is_some()))
            {
                let message = format!("{net} overlaps {name} {other}");
                let problem =
                    configuration.place.problem("spec.local.presented", message, "give a prefix that is free");
                self.problems.0.push(problem);
            }
        }
        taken.extend(own.into_iter().flat_map(Prefixes::iter).map(|net| ("our own presented prefix".to_owned(), *net)));
        for configuration in self.configurations.values() {
            let Some(wide) = &configuration.presented else { continue };
            for net in wide.remote.iter() {
                if let Some((name, other)) = taken.iter().find(|(_, other)| prefix::overlap(net, other)) {
                    let message = format!("{net} overlaps {name} {other}");
                    let hint = "give each cluster a mesh-wide prefix of its own";
                    self.problems.0.push(configuration.place.problem("spec.remote.presented", message, hint));
                }
            }
            let name = format!("the presented prefix of {}", configuration.remote);
            taken.extend(wide.remote.iter().map(|net| (name.clone(), *net)));
        }
    }

    fn notices(&self) -> Vec<String> {
        let mut notices = Vec::new();
        for (id, gateway) in &self.gateways {
            if !self.configurations.contains_key(id) {
                notices.push(format!("{}: waits for the Configuration of {id}", gateway.place()));
            }
            if !gateway.is_direct() && !self.keys.contains_key(id) {
                notices.push(format!("{}: waits for the PublicKey of {id}", gateway.place()));
            }
        }
        let idle = self.configurations.values().filter(|object| !self.gateways.contains_key(&object.remote));
        notices
            .extend(idle.map(|object| format!("{}: no gateway for {}, so no connection", object.place, object.remote)));
        notices
    }
}

/// Keeps the first; the twin that was there before, if any.
fn insert<T: Clone>(objects: &mut BTreeMap<ClusterId, T>, id: Option<ClusterId>, object: T) -> Option<T> {
    let id = id?;
    let twin = objects.get(&id).cloned();
    objects.entry(id).or_insert(object);
    twin
}

/// Each gateway node has a name and a number of its own; the place of one that has the same already.
fn insert_key(keys: &mut Vec<RemoteKey>, new: RemoteKey) -> Option<Place> {
    if let Some(twin) = keys.iter().find(|old| old.node == new.node || old.index == new.index) {
        return Some(twin.place.clone());
    }
    let at = keys.partition_point(|old| old.index < new.index);
    keys.insert(at, new);
    None
}

fn join(nets: &[ipnet::IpNet]) -> String {
    nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
