//! All that the operator says, taken together: what one document cannot know of another.

use std::collections::BTreeMap;

use super::{
    cluster::Cluster,
    cluster_id::ClusterId,
    configuration::{Configuration, Prefixes},
    document::{Document, Place},
    gateway::Gateway,
    gateway_client::GatewayClient,
    gateway_server::GatewayServer,
    prefix,
    problem::Problems,
    public_key::RemoteKey,
    settings::Settings,
};
use crate::plan::{Attachment, DeviceName, PublicKey};

/// Settings and manifests as they were read.
#[derive(Clone, Debug)]
pub struct Intent {
    pub settings: Settings,
    /// The public half of this node's key.
    pub own_key: PublicKey,
    pub manifests: Vec<Manifest>,
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
    /// What the whole mesh calls us, index-aligned with pod and external CIDRs.
    pub presented: Option<Prefixes>,
    /// Remote clusters with a Configuration.
    pub remotes: BTreeMap<ClusterId, Remote>,
    /// What waits for something, one line each.
    pub notices: Vec<String>,
}

/// One remote cluster. Without gateway or key its connection waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    pub configuration: Configuration,
    pub gateway: Option<Gateway>,
    pub key: Option<PublicKey>,
}

/// The objects by remote cluster, each with its place.
#[derive(Default)]
struct Objects {
    configurations: BTreeMap<ClusterId, Configuration>,
    gateways: BTreeMap<ClusterId, Gateway>,
    keys: BTreeMap<ClusterId, RemoteKey>,
    problems: Problems,
}

impl Intent {
    /// The valid intent, or every problem that can be told without the kernel.
    pub fn validate(&self) -> Result<ValidIntent, Problems> {
        let mut objects = Objects::default();
        for manifest in &self.manifests {
            let documents = Document::read_all(&manifest.file, &manifest.text, &mut objects.problems);
            documents.iter().for_each(|document| objects.take(document));
        }
        objects.check_remote_ids(&self.settings.cluster.id);
        objects.check_keys(self.own_key);
        objects.check_ports();
        objects.check_gateways();
        let presented = objects.own_presented(&self.settings.cluster);
        objects.check_presented(&self.settings.cluster, presented.as_ref());
        let notices = objects.notices();
        let Objects { configurations, mut gateways, mut keys, problems } = objects;
        let remote = |(id, configuration)| {
            let (gateway, key) = (gateways.remove(&id), keys.remove(&id).map(|key| key.key));
            (id, Remote { configuration, gateway, key })
        };
        let remotes = configurations.into_iter().map(remote).collect();
        problems.or(ValidIntent {
            settings_file: self.settings.file.clone(),
            cluster: self.settings.cluster.clone(),
            interfaces: self.settings.interfaces.clone(),
            presented,
            remotes,
            notices,
        })
    }
}

impl Remote {
    /// All that a connection needs is there.
    pub fn is_complete(&self) -> bool {
        self.gateway.as_ref().is_some_and(|gateway| gateway.is_direct() || self.key.is_some())
    }
}

impl Objects {
    fn take(&mut self, document: &Document) {
        let (remote, problems) = (document.remote.clone(), &mut self.problems);
        let twin = match document.kind.as_str() {
            "Configuration" => Configuration::read(document, problems)
                .and_then(|new| insert(&mut self.configurations, remote, new).map(|old| old.place)),
            "GatewayServer" => GatewayServer::read(document, problems).and_then(|new| {
                insert(&mut self.gateways, remote, Gateway::Server(new)).map(|old| old.place().clone())
            }),
            "GatewayClient" => GatewayClient::read(document, problems).and_then(|new| {
                insert(&mut self.gateways, remote, Gateway::Client(new)).map(|old| old.place().clone())
            }),
            _ => RemoteKey::read(document, problems)
                .and_then(|new| insert(&mut self.keys, remote, new).map(|old| old.place)),
        };
        if let Some(twin) = twin {
            let message = format!("the same remote cluster already has {twin}");
            let hint = if document.kind.starts_with("Gateway") {
                "keep one gateway for each remote cluster, server or client"
            } else {
                "keep one of them"
            };
            self.problems.0.push(document.place.problem("", message, hint));
        }
    }

    fn check_remote_ids(&mut self, own: &ClusterId) {
        let places = (self.configurations.get(own).map(|object| &object.place).into_iter())
            .chain(self.gateways.get(own).map(Gateway::place))
            .chain(self.keys.get(own).map(|object| &object.place));
        let hint = "this manifest is for the other side: give the id of the remote cluster, or apply it there";
        let problem = |place: &Place| place.problem("metadata.labels", format!("{own} is this cluster itself"), hint);
        self.problems.0.extend(places.map(problem));
    }

    fn check_keys(&mut self, own: PublicKey) {
        let mut seen: BTreeMap<PublicKey, &Place> = BTreeMap::new();
        for remote in self.keys.values() {
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

    fn check_ports(&mut self) {
        let mut seen: BTreeMap<u16, &Place> = BTreeMap::new();
        let servers = self.gateways.values().filter_map(|gateway| match gateway {
            Gateway::Server(server) => Some(server),
            Gateway::Client(_) => None,
        });
        for server in servers {
            if let Some(other) = seen.insert(server.listen_port, &server.place) {
                let message = format!("port {} is taken by {other}", server.listen_port);
                let hint = "give each gateway server a port of its own";
                self.problems.0.push(server.place.problem("spec.endpoint", message, hint));
            }
        }
    }

    fn check_gateways(&mut self) {
        for (id, gateway) in &self.gateways {
            let Some(configuration) = self.configurations.get(id) else { continue };
            if let Some(message) = gateway.mtu_too_small(configuration.real.has_v6()) {
                self.problems.0.push(gateway.place().problem("spec.mtu", message, "give at least 1280 on both sides"));
            }
            if gateway.is_direct() && configuration.presented.is_none() {
                let message = "'direct' needs mesh-wide presented prefixes: nothing else says who sent a packet";
                let hint = format!("give spec.local.presented and spec.remote.presented in {}", configuration.place);
                self.problems.0.push(gateway.place().problem("spec.clientTemplateRef.name", message, hint));
            }
        }
    }

    /// The one set of names that all Configurations agree on for us.
    fn own_presented(&mut self, cluster: &Cluster) -> Option<Prefixes> {
        let real = Prefixes { pod: cluster.pod.clone(), external: cluster.external.cidrs.clone() };
        let mut first: Option<(&Prefixes, &Place)> = None;
        for configuration in self.configurations.values() {
            if let Some(local) = configuration.local.as_ref().filter(|local| local.pod != real.pod) {
                let message = format!("{} is not our pod CIDR {}", join(&local.pod), join(&real.pod));
                let hint = "remove it, or correct cidr.pod in the settings";
                self.problems.0.push(configuration.place.problem("spec.local.cidr.pod", message, hint));
            }
            let Some(wide) = &configuration.presented else { continue };
            if let Some((field, message)) = wide.local.misaligned(&real) {
                let path = format!("spec.local.presented.{field}");
                let problem = configuration.place.problem(&path, message, "give one of the same length for each");
                self.problems.0.push(problem);
            }
            match first {
                None => first = Some((&wide.local, &configuration.place)),
                Some((other, place)) if *other != wide.local => {
                    let message = format!("differs from {place}");
                    let hint = "a cluster has the same mesh-wide prefixes towards all";
                    self.problems.0.push(configuration.place.problem("spec.local.presented", message, hint));
                }
                Some(_) => {}
            }
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

fn join(nets: &[ipnet::IpNet]) -> String {
    nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixtures::{
        CLIENT, CONFIGURATION, KEY, OWN_KEY, SERVER, SETTINGS, direct, intent, mesh_wide, of,
    };

    const WIDE: [[&str; 2]; 2] = [["10.60.0.0/16", "10.62.0.0/16"], ["10.61.0.0/16", "10.63.0.0/16"]];

    fn refused(manifests: &[&str]) -> String {
        intent(SETTINGS, manifests).validate().unwrap_err().to_string()
    }

    /// One line says all of `words`.
    fn assert_says(manifests: &[&str], words: &str) {
        let problems = refused(manifests);
        assert!(problems.lines().any(|line| line.contains(words)), "{words:?} is not said by:\n{problems}");
    }

    #[test]
    fn documents_as_they_come_from_the_remote() {
        let all = [CONFIGURATION, "---", SERVER, "---", KEY, "\n---\n"].join("\n");
        let valid = intent(SETTINGS, &[&all]).validate().unwrap();
        let remote = &valid.remotes[&"cl02".parse().unwrap()];
        assert!(remote.is_complete() && valid.notices.is_empty());
        let json = r#"{"apiVersion": "networking.liqo.io/v1beta1", "kind": "Configuration", "metadata": {"name": "a",
            "labels": {"liqo.io/remote-cluster-id": "cl03"}, "uid": "1"}, "status": {"remote": {"cidr": {"pod": "x"}}},
            "spec": {"remote": {"cidr": {"pod": ["10.1.0.0/16", "10.2.0.0/16"], "external": "10.3.0.0/16"}}}}"#;
        let valid = intent(SETTINGS, &[json]).validate().unwrap();
        let configuration = &valid.remotes[&"cl03".parse().unwrap()].configuration;
        assert_eq!((configuration.real.pod.len(), configuration.real.external.len()), (2, 1));
    }

    #[test]
    fn what_waits_is_told() {
        let valid = intent(SETTINGS, &[CONFIGURATION, CLIENT, &of("cl03", CONFIGURATION)]).validate().unwrap();
        let expected = [
            "GatewayClient default/client (1.yaml): waits for the PublicKey of cl02",
            "Configuration default/dry-paper (2.yaml): no gateway for cl03, so no connection",
        ];
        assert_eq!(valid.notices, expected);
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let broken = "kind: [";
        let configuration = CONFIGURATION.replace("10.243.0.0/16", "10.243.0.7/16").replace("spec:", "speed: 9\nspec:");
        let server = SERVER.replace("port: 51840", "port: 0").replace("v1beta1\nkind: Gateway", "v1\nkind: Gateway");
        let problems = refused(&[&configuration, broken, &server, KEY]);
        let expected = [
            "0.yaml: Configuration default/dry-paper: speed: unknown field; remove it",
            "0.yaml: Configuration default/dry-paper: spec.remote.cidr.pod: 10.243.0.7/16 has host bits set; write \
             10.243.0.0/16",
            "1.yaml:1: not readable: ",
            "2.yaml: GatewayServer default/server: apiVersion: \"networking.liqo.io/v1\" is not known",
            "2.yaml: GatewayServer default/server: spec.endpoint.port: 0 is no port",
        ];
        for words in expected {
            assert!(problems.lines().any(|line| line.starts_with(words)), "{words:?} is not said by:\n{problems}");
        }
    }

    #[test]
    fn fields() {
        let unknown = CONFIGURATION.replace("external:", "externel:");
        assert_says(&[&unknown], "spec.remote.cidr.externel: unknown field; remove it; known here: pod, external");
        assert_says(&[&CONFIGURATION.replace("kind: Conf", "kind: Konf")], "kind: \"Konfiguration\" is not known");
        assert_says(&[&CONFIGURATION.replace("cl02", "CL_02")], "is no cluster id");
        let unlabelled = CONFIGURATION.replace("liqo.io/remote-cluster-id", "other");
        assert_says(&[&unlabelled], "metadata.labels.liqo.io/remote-cluster-id: missing; add the label");
        assert_says(&[&CONFIGURATION.replace("pod: 10.243.0.0/16", "pod: []")], "no pod CIDR");
        assert_says(&[&CONFIGURATION.replace("pod: 10.243.0.0/16", "pod: 10.70.9.0/24")], "overlaps the pod CIDR");
        assert_says(&[&CLIENT.replace("32009", "\"32009\"")], "spec.endpoint.port: \"32009\" is no port");
        assert_says(&[&CLIENT.replace("    - 172.19.0.8\n", "    - gw.example\n")], "\"gw.example\" is no IP address");
        assert_says(&[&CLIENT.replace("name: wireguard-client", "name: other")], "no template \"other\" for this kind");
        assert_says(
            &[&SERVER.replace("wireguard-server", "direct")],
            "'direct' is given as GatewayClient on both sides",
        );
        assert_says(&[&SERVER.replace("NodePort", "ExternalName")], "serviceType: \"ExternalName\" is not known");
        assert_says(&[&SERVER.replace("1340", "575")], "spec.mtu: 575 is not from 576 to 65000");
        let no_endpoint = CLIENT.replace("    addresses:\n    - 172.19.0.8\n", "");
        assert_says(&[&no_endpoint], "spec.endpoint.addresses: missing; give the address");
    }

    #[test]
    fn node_ports_win() {
        let server = SERVER.replace("port: 51840", "port: 51840\n    nodePort: 32009");
        let valid = intent(SETTINGS, &[CONFIGURATION, &server, KEY]).validate().unwrap();
        let gateway = valid.remotes[&"cl02".parse().unwrap()].gateway.clone();
        assert!(matches!(gateway, Some(Gateway::Server(GatewayServer { listen_port: 32_009, .. }))));
    }

    #[test]
    fn objects_that_do_not_go_together() {
        assert_says(&[CONFIGURATION, CONFIGURATION], "already has Configuration default/dry-paper (0.yaml)");
        assert_says(&[SERVER, CLIENT], "keep one gateway for each remote cluster, server or client");
        assert_says(&[SERVER, &of("cl03", SERVER)], "port 51840 is taken by GatewayServer default/server (0.yaml)");
        assert_says(&[&of("cl01", CONFIGURATION)], "cl01 is this cluster itself");
        let ours = KEY.replace("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=", &OWN_KEY.to_string());
        assert_says(&[&ours], "is our own key");
        assert_says(&[KEY, &of("cl03", KEY)], "the same key as PublicKey default/cl02 (0.yaml)");
        let v6 = CONFIGURATION.replace("pod: 10.243.0.0/16", "pod: [10.243.0.0/16, \"fd00:9::/64\"]");
        assert_says(&[&v6, &CLIENT.replace("1340", "1279")], "1279 is too small: IPv6 needs at least 1280");
    }

    #[test]
    fn mesh_wide_prefixes() {
        let good = mesh_wide(CONFIGURATION, WIDE[0], WIDE[1]);
        let hop = direct("192.0.2.2");
        assert!(intent(SETTINGS, &[&good, &hop]).validate().is_ok());
        assert_says(&[CONFIGURATION, &hop], "'direct' needs mesh-wide presented prefixes");
        let wide = |local, remote| mesh_wide(CONFIGURATION, local, remote);
        assert_says(
            &[&wide(WIDE[0], ["10.61.0.0/17", WIDE[1][1]])],
            "10.61.0.0/17 and the real prefix 10.243.0.0/16 differ",
        );
        assert_says(
            &[&wide(["10.60.0.0/17", WIDE[0][1]], WIDE[1])],
            "spec.local.presented.pod: 10.60.0.0/17 and the real",
        );
        assert_says(&[&wide(WIDE[0], WIDE[0])], "10.60.0.0/16 overlaps our own presented prefix 10.60.0.0/16");
        assert_says(&[&wide(["10.70.0.0/16", WIDE[0][1]], WIDE[1])], "10.70.0.0/16 overlaps our own external CIDR");
        let other = of("cl03", &wide(["10.66.0.0/16", WIDE[0][1]], ["10.67.0.0/16", "10.68.0.0/16"]));
        assert_says(&[&good, &other], "a cluster has the same mesh-wide prefixes towards all");
        let same = of("cl03", &good);
        assert_says(&[&good, &same], "10.61.0.0/16 overlaps the presented prefix of cl02 10.61.0.0/16");
        let half = good.split("  local:").next().unwrap();
        assert_says(&[half], "spec.local.presented: missing beside spec.remote.presented; give both or none");
    }
}
