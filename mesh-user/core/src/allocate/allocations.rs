//! What was given out, kept over restarts and reconnects: the state that `plan` takes and returns.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::model::{ClusterId, ObjectId};

/// What this node gave out. A remote keeps its share while its Configuration exists; without it all is free again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocations {
    /// Our own external and internal prefixes: the wish and what it became.
    #[serde(default)]
    pub own: BTreeMap<IpNet, IpNet>,
    #[serde(default)]
    pub remotes: BTreeMap<ClusterId, Share>,
    #[serde(default)]
    pub remaps: Vec<NumberedRemap>,
    /// UDP ports that this node chose for the gateway server of a remote; kept as long as its share.
    #[serde(default)]
    pub node_ports: BTreeMap<ClusterId, Vec<u16>>,
    /// Addresses of the pool for load balancers, likewise.
    #[serde(default)]
    pub load_balancers: BTreeMap<ClusterId, IpAddr>,
    /// Addresses of our external CIDR; kept as long as the `IP` object.
    #[serde(default)]
    pub outside: Vec<OutsideShare>,
    /// Kept as long as the `Network` object.
    #[serde(default)]
    pub networks: Vec<NetworkShare>,
}

/// The share of one remote cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// [`mesh_common::ids::ConnectionId`].
    pub connection: u16,
    /// Real prefix and what this cluster chose to call it.
    pub presented: BTreeMap<IpNet, IpNet>,
}

/// The address of our external CIDR by which remotes reach a host outside the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutsideShare {
    pub id: ObjectId,
    pub host: IpAddr,
    pub address: IpAddr,
}

/// The prefix that a `Network` object wished for and what it became.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkShare {
    pub id: ObjectId,
    pub wish: IpNet,
    pub cidr: IpNet,
}

/// What a [`mesh_common::ids::RemapId`] stands for; `remote` is absent for our own prefixes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NumberedRemap {
    pub id: u16,
    pub remote: Option<ClusterId>,
    pub real: IpNet,
    pub presented: IpNet,
}

/// Gives out numbers from 1 that were used neither before nor now, so that no number changes its meaning at once.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    used: BTreeSet<u16>,
}

impl Numbers {
    pub(crate) fn avoiding(used: impl IntoIterator<Item = u16>) -> Self {
        Numbers { used: used.into_iter().collect() }
    }

    /// The least number that is free; `None` after 65,535 of them.
    pub(crate) fn take(&mut self) -> Option<u16> {
        let free = (1..=u16::MAX).find(|number| !self.used.contains(number))?;
        self.used.insert(free);
        Some(free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ObjectKind;

    #[test]
    fn survives_being_written_down() {
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let remote: ClusterId = "cl02".parse().unwrap();
        let presented = BTreeMap::from([(net("10.243.0.0/16"), net("10.71.0.0/16"))]);
        let remap = NumberedRemap {
            id: 1,
            remote: Some(remote.clone()),
            real: net("10.243.0.0/16"),
            presented: net("10.71.0.0/16"),
        };
        let id = |kind| ObjectId { kind, namespace: "default".to_owned(), name: "db".to_owned() };
        let state = Allocations {
            own: BTreeMap::from([(net("10.70.0.0/16"), net("10.70.0.0/16"))]),
            remotes: BTreeMap::from([(remote.clone(), Share { connection: 1, presented })]),
            remaps: vec![remap],
            node_ports: BTreeMap::from([(remote, vec![31_000, 31_001])]),
            load_balancers: BTreeMap::new(),
            outside: vec![OutsideShare {
                id: id(ObjectKind::Ip),
                host: "192.0.2.50".parse().unwrap(),
                address: "10.70.0.25".parse().unwrap(),
            }],
            networks: vec![NetworkShare {
                id: id(ObjectKind::Network),
                wish: net("10.50.0.0/16"),
                cidr: net("10.51.0.0/16"),
            }],
        };
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<Allocations>(&text).unwrap(), state);
    }

    #[test]
    fn numbers_are_not_given_twice() {
        let mut numbers = Numbers::avoiding([1, 3]);
        assert_eq!([numbers.take(), numbers.take(), numbers.take()], [Some(2), Some(4), Some(5)]);
        assert_eq!(Numbers::avoiding(1..=u16::MAX).take(), None);
    }
}
