//! `cluster_id`, `[cidr]` and `[[interface]]`: this cluster, and where the node touches it.

use std::collections::BTreeMap;

use toml::Spanned;

use super::{
    file::{CidrSection, File, InterfaceSection},
    reading::Reading,
};
use crate::{
    model::{
        cluster::{Cluster, Wish},
        cluster_id::ClusterId,
        configuration::Prefixes,
        group::NodeId,
    },
    plan::{Attachment, DeviceName},
};

pub(super) const DEFAULT_EXTERNAL: &str = "10.70.0.0/16";
const DEFAULT_POOLS: [&str; 4] = ["10.0.0.0/8", "192.168.0.0/16", "172.16.0.0/12", "fd00::/8"];
/// Bytes of an interface name in Linux (`IFNAMSIZ` less the final zero).
const DEVICE_NAME_MAX: usize = 15;

impl Reading<'_> {
    pub(super) fn cluster(&mut self, file: &File) -> Option<Cluster> {
        let hint = "choose a short name that is unique among the connected clusters";
        let id: Option<ClusterId> = self.parse_given(file.cluster_id.as_ref(), "cluster_id", hint);
        let Some(cidr) = &file.cidr else {
            let id = id.or_else(|| file.cluster_id.is_none().then(|| ClusterId::of_node(&NodeId::of_host(""))))?;
            return Some(self.without_prefixes(id));
        };
        if file.cluster_id.is_none() {
            self.refuse(cidr, "cluster_id", "missing beside [cidr]", hint);
        }
        if cidr.get_ref().pod.is_empty() {
            let hint = "give the prefix that the workloads of this cluster have, or leave [cidr] out";
            self.refuse(cidr, "cidr.pod", "no pod CIDR", hint);
        }
        let cluster = self.with_prefixes(id, cidr.get_ref())?;
        let problems = cluster.problems(|path, message, hint| self.problem(None, path, message, hint));
        self.problems.0.extend(problems);
        Some(cluster)
    }

    pub(super) fn interfaces(&mut self, sections: &[InterfaceSection]) -> BTreeMap<DeviceName, Attachment> {
        let mut interfaces = BTreeMap::new();
        for section in sections {
            let name = section.name.get_ref();
            if name.is_empty() || name.len() > DEVICE_NAME_MAX || name.contains(['/', ' ', ':']) {
                let hint = format!("write a name as 'ip link' shows it, 1 to {DEVICE_NAME_MAX} bytes");
                self.refuse(&section.name, "interface.name", format!("{name:?} is no interface name"), &hint);
            }
            let attachment = Attachment { role: section.role.role(), hook: section.hook.choice() };
            if interfaces.insert(DeviceName(name.clone()), attachment).is_some() {
                let message = format!("{name} stands twice");
                self.refuse(&section.name, "interface.name", message, "keep one section for it");
            }
        }
        interfaces
    }

    /// A node that only runs peers of network groups.
    fn without_prefixes(&mut self, id: ClusterId) -> Cluster {
        let none = || Wish { cidrs: Vec::new(), given: false };
        Cluster {
            id,
            pod: Vec::new(),
            service: Vec::new(),
            external: none(),
            internal: none(),
            presented: None,
            pools: self.wish("cidr.pools", None, &DEFAULT_POOLS).cidrs,
            reserved: Vec::new(),
        }
    }

    /// The prefixes are looked at also where there is no id.
    fn with_prefixes(&mut self, id: Option<ClusterId>, cidr: &CidrSection) -> Option<Cluster> {
        Some(Cluster {
            pod: self.cidrs("cidr.pod", &cidr.pod),
            service: self.cidrs("cidr.service", &cidr.service),
            external: self.wish("cidr.external", cidr.external.as_deref(), &[DEFAULT_EXTERNAL]),
            internal: self.wish("cidr.internal", cidr.internal.as_deref(), &[]),
            presented: cidr.presented.as_ref().map(|presented| Prefixes {
                pod: self.cidrs("cidr.presented.pod", &presented.pod),
                external: self.cidrs("cidr.presented.external", &presented.external),
            }),
            pools: self.wish("cidr.pools", cidr.pools.as_deref(), &DEFAULT_POOLS).cidrs,
            reserved: self.cidrs("cidr.reserved", &cidr.reserved),
            id: id?,
        })
    }

    fn wish(&mut self, path: &str, given: Option<&[Spanned<String>]>, default: &[&str]) -> Wish {
        match given {
            Some(list) => Wish { cidrs: self.cidrs(path, list), given: true },
            None => {
                let cidrs = default.iter().map(|text| text.parse().expect("the defaults above are CIDRs")).collect();
                Wish { cidrs, given: false }
            }
        }
    }
}
