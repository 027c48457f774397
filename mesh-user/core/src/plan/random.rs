//! Valid intents from a seed, for property tests: up to four remotes that like the same prefixes.

use std::fmt::Write;

use proptest::prelude::*;

use super::{DeviceName, NodeFacts};
use crate::model::{Intent, Manifest, Settings, ValidIntent, fixtures::OWN_KEY};

const PODS: [&str; 5] = ["10.243.0.0/16", "10.244.0.0/16", "10.71.0.0/16", "172.16.0.0/16", "192.168.0.0/17"];
const EXTERNALS: [&str; 3] = ["10.70.0.0/16", "10.68.0.0/16", "10.99.0.0/16"];

#[derive(Clone, Debug)]
pub(crate) struct World {
    remotes: Vec<Option<RemoteCluster>>,
    /// Moves ports between remotes, so that one gets what another had.
    shift: u16,
}

#[derive(Clone, Debug)]
struct RemoteCluster {
    pods: std::collections::BTreeSet<usize>,
    external: usize,
    v6: bool,
    gateway: Kind,
    has_key: bool,
    rotation: u8,
    wide: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    None,
    Server,
    Client,
    Direct,
}

pub(crate) fn world() -> impl Strategy<Value = World> {
    let remotes = prop::collection::vec(prop::option::weighted(0.7, remote()), 4);
    (remotes, 0..4_u16).prop_map(|(remotes, shift)| World { remotes, shift })
}

fn remote() -> impl Strategy<Value = RemoteCluster> {
    let kind =
        prop_oneof![1 => Just(Kind::None), 3 => Just(Kind::Server), 3 => Just(Kind::Client), 2 => Just(Kind::Direct)];
    let pods = prop::collection::btree_set(0..PODS.len(), 1..3);
    let numbers = (0..EXTERNALS.len(), 0..2_u8);
    (pods, numbers, any::<bool>(), kind, prop::bool::weighted(0.85), prop::bool::weighted(0.3)).prop_map(
        |(pods, (external, rotation), v6, gateway, has_key, wide)| RemoteCluster {
            external: if pods.contains(&2) && external == 1 { 0 } else { external },
            pods,
            v6,
            gateway,
            has_key,
            rotation,
            wide: wide || gateway == Kind::Direct,
        },
    )
}

pub(crate) fn facts() -> NodeFacts {
    let interface = |name: &str, addresses: &[&str]| {
        (DeviceName(name.to_owned()), addresses.iter().map(|text| text.parse().unwrap()).collect())
    };
    let wan = interface("wan0", &["192.0.2.1/24", "2001:db8::1/64"]);
    NodeFacts {
        interfaces: [interface("pods0", &["10.243.0.1/16", "fd00:243::1/64"]), wan].into(),
        ..NodeFacts::default()
    }
}

impl World {
    pub(crate) fn intent(&self) -> ValidIntent {
        let settings = "cluster_id = \"here\"\n[cidr]\npod = [\"10.243.0.0/16\", \"fd00:243::/64\"]\n\
            external = [\"10.70.0.0/16\", \"fd00:70::/64\"]\n[[interface]]\nname = \"pods0\"\nrole = \"workload\"\n\
            [[interface]]\nname = \"wan0\"\nrole = \"underlay\"\n";
        let manifests = self.remotes.iter().enumerate().filter_map(|(index, remote)| {
            let text = remote.as_ref()?.manifest(index, self.shift);
            Some(Manifest { file: format!("{index}.yaml"), text })
        });
        let settings = Settings::parse("meshd.toml", settings).unwrap();
        Intent {
            settings,
            own_key: OWN_KEY,
            manifests: manifests.collect(),
            objects: Vec::new(),
            parsed: Default::default(),
        }
        .validate()
        .unwrap()
    }
}

impl RemoteCluster {
    fn manifest(&self, index: usize, shift: u16) -> String {
        let mut text = head("Configuration", index);
        let mut pods: Vec<String> = self.pods.iter().map(|pod| PODS[*pod].to_owned()).collect();
        let mut external = vec![EXTERNALS[self.external].to_owned()];
        let mut wide_pods: Vec<String> = (0..pods.len())
            .map(|pod| format!("10.{}.0.0/{}", 202 + 4 * index + pod, pods[pod].split('/').nth(1).unwrap()))
            .collect();
        let mut wide_external = vec![format!("10.{}.0.0/16", 205 + 4 * index)];
        if self.v6 {
            pods.push("fd00:243::/64".into());
            external.push("fd00:70::/64".into());
            wide_pods.push(format!("fdab:{index}::/64"));
            wide_external.push(format!("fdac:{index}::/64"));
        }
        let list = |nets: &[String]| format!("[\"{}\"]", nets.join("\", \""));
        let lists =
            |pod: &[String], external: &[String]| format!("{{ pod: {}, external: {} }}", list(pod), list(external));
        writeln!(text, "  remote:\n    cidr: {}", lists(&pods, &external)).unwrap();
        if self.wide {
            writeln!(text, "    presented: {}", lists(&wide_pods, &wide_external)).unwrap();
            let pod = ["10.200.0.0/16".to_owned(), "fdaa:200::/64".to_owned()];
            let external = ["10.201.0.0/16".to_owned(), "fdaa:201::/64".to_owned()];
            writeln!(text, "  local:\n    presented: {}", lists(&pod, &external)).unwrap();
        }
        text + &self.gateway(index, (shift + index as u16) % 4)
    }

    fn gateway(&self, index: usize, port: u16) -> String {
        let (kind, spec) = match self.gateway {
            Kind::None => return String::new(),
            Kind::Server => ("GatewayServer", format!("  endpoint: {{ port: {} }}\n", 51_840 + port)),
            Kind::Client => (
                "GatewayClient",
                format!("  endpoint: {{ addresses: [198.51.100.{}], port: 51840 }}\n", index + 4 * port as usize + 1),
            ),
            Kind::Direct => (
                "GatewayClient",
                format!(
                    "  clientTemplateRef: {{ name: direct }}\n  endpoint: {{ addresses: [192.0.2.{0}, \"2001:db8::{0}\"] }}\n",
                    10 + index
                ),
            ),
        };
        let mut text = format!("---\n{}{spec}", head(kind, index));
        if self.has_key {
            let key = crate::plan::PublicKey([(10 + 2 * index) as u8 + self.rotation; 32]);
            write!(text, "---\n{}  publicKey: {key}\n", head("PublicKey", index)).unwrap();
        }
        text
    }
}

fn head(kind: &str, index: usize) -> String {
    format!(
        "apiVersion: networking.liqo.io/v1beta1\nkind: {kind}\nmetadata:\n  name: r{index}\n  labels:\n    \
         liqo.io/remote-cluster-id: r{index}\nspec:\n"
    )
}

proptest! {
    #[test]
    fn plans_are_good_and_stable(first in world(), second in world()) {
        use crate::{allocate::Allocations, plan::{check::check, plan}};
        let (one, given) = plan(&first.intent(), &facts(), &Allocations::default()).unwrap();
        prop_assert_eq!(check(&one), []);
        prop_assert_eq!(&plan(&first.intent(), &facts(), &Allocations::default()).unwrap().0, &one);
        // What was given out before changes nothing where nothing was changed.
        prop_assert_eq!(plan(&first.intent(), &facts(), &given).unwrap(), (one.clone(), given.clone()));
        // A name chosen earlier may stand in the way of a mesh-wide one given now; then both owners are named.
        let Ok((two, after)) = plan(&second.intent(), &facts(), &given) else { return Ok(()) };
        prop_assert_eq!(check(&two), []);
        for (id, share) in after.remotes.iter().filter(|(id, _)| given.remotes.contains_key(id)) {
            prop_assert_eq!(share.connection, given.remotes[id].connection);
        }
        for (id, remap) in &one.remaps {
            let same = two.remaps.get(id).is_none_or(|now| (now.real, now.presented) == (remap.real, remap.presented));
            prop_assert!(same, "remap {} changed its meaning at once", id.0);
        }
    }
}
