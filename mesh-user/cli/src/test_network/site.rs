//! One cluster of a test: its daemon, its test pod, and what it calls the addresses of the others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use mesh_client::Url;
use mesh_core::{
    api::{
        ClusterReply, Connection, Explanation, Status,
        trial::{CheckReply, Trial, TrialCheck, TrialList, TrialOrder},
    },
    model::ObjectKind,
};
use serde_json::Value;

use crate::{
    daemon::Daemon,
    exit::{Exit, Failure},
    network::{Cluster as _, is_about, nets, text},
};

const TRIALS: &str = "/v1/trials";

pub(super) struct Site {
    daemon: Daemon,
    pub(super) info: ClusterReply,
    trial: Option<Trial>,
}

/// What a cluster calls a prefix of a remote one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) real: IpNet,
    pub(super) presented: IpNet,
}

impl Site {
    pub(super) fn meet(daemon: Daemon) -> Result<Site, Failure> {
        let info = daemon.info()?;
        Ok(Site { daemon, info, trial: None })
    }

    pub(super) fn id(&self) -> &str {
        &self.info.cluster_id
    }

    pub(super) fn place(&self) -> String {
        self.daemon.place()
    }

    /// Makes the test pod, which ends by itself after `life` seconds.
    pub(super) fn open(&mut self, addresses: &[IpAddr], life: u64) -> Result<&Trial, Failure> {
        let order = TrialOrder { addresses: addresses.to_vec(), life };
        let trial = self.daemon.post(TRIALS, &order).map_err(|failure: Failure| self.told(failure))?;
        Ok(self.trial.insert(trial))
    }

    pub(super) fn close(&mut self) -> Result<(), Failure> {
        let Some(trial) = self.trial.take() else { return Ok(()) };
        match self.daemon.delete::<Trial>(Url::new(TRIALS).segment(&trial.id)) {
            Err(failure) if failure.exit != Exit::NotFound => Err(self.told(failure)),
            // It ended by itself.
            _ => Ok(()),
        }
    }

    pub(super) fn trial(&self) -> Result<&Trial, Failure> {
        self.trial.as_ref().ok_or_else(|| Failure::unexpected(format!("{} has no test pod", self.id())))
    }

    pub(super) fn check(&self, check: &TrialCheck) -> Result<CheckReply, Failure> {
        let url = Url::new(TRIALS).segment(&self.trial()?.id).segment("checks");
        self.daemon.post(url, check).map_err(|failure| self.told(failure))
    }

    /// Datagrams that came to the test pod.
    pub(super) fn delivered(&self) -> Result<u64, Failure> {
        let id = &self.trial()?.id;
        let list: TrialList = self.daemon.get(TRIALS)?;
        Ok(list.trials.iter().find(|trial| trial.id == *id).map_or(0, |trial| trial.datagrams))
    }

    pub(super) fn connections(&self) -> Result<Vec<Connection>, Failure> {
        let status: Status = self.daemon.get("/v1/status")?;
        Ok(status.connections)
    }

    pub(super) fn connection(&self, remote: &str) -> Result<Option<Connection>, Failure> {
        Ok(self.connections()?.into_iter().find(|connection| connection.remote == remote))
    }

    /// Verdict on a packet, as this daemon would give it.
    pub(super) fn explain(&self, source: IpAddr, destination: IpAddr) -> Result<String, Failure> {
        let (source, destination) = (source.to_string(), destination.to_string());
        let url = Url::new("/v1/explain").query("source", &source).query("destination", &destination);
        let explanation: Explanation = self.daemon.get(url)?;
        Ok(explanation.verdict)
    }

    /// What this cluster calls the prefixes of `remote`.
    pub(super) fn names(&self, remote: &str) -> Result<Vec<Name>, Failure> {
        let configurations = self.daemon.list(ObjectKind::Configuration)?;
        Ok(configurations.iter().filter(|object| is_about(object, remote)).flat_map(names).collect())
    }

    /// Real addresses of outside hosts that this cluster gives its remotes.
    pub(super) fn given_out(&self) -> Result<Vec<IpAddr>, Failure> {
        let ips = self.daemon.list(ObjectKind::Ip)?;
        Ok(ips.iter().filter_map(|object| text(object, "/status/ip").parse().ok()).collect())
    }

    fn told(&self, mut failure: Failure) -> Failure {
        failure.error.message = format!("{}: {}", self.id(), failure.error.message);
        failure
    }
}

impl Name {
    /// What an address of the real prefix is called.
    fn of(&self, address: IpAddr) -> Option<IpAddr> {
        if !self.real.contains(&address) || self.real.prefix_len() != self.presented.prefix_len() {
            return None;
        }
        Some(match (address, self.real.hostmask(), self.presented.network()) {
            (IpAddr::V4(address), IpAddr::V4(mask), IpAddr::V4(network)) => {
                Ipv4Addr::from(u32::from(network) | (u32::from(address) & u32::from(mask))).into()
            }
            (IpAddr::V6(address), IpAddr::V6(mask), IpAddr::V6(network)) => {
                Ipv6Addr::from(u128::from(network) | (u128::from(address) & u128::from(mask))).into()
            }
            _ => return None,
        })
    }
}

/// By the longest prefix that has it.
pub(super) fn called(names: &[Name], address: IpAddr) -> Option<IpAddr> {
    let known = names.iter().filter(|name| name.real.contains(&address));
    known.max_by_key(|name| name.real.prefix_len())?.of(address)
}

/// Index by index, as both lists stand in a Configuration.
fn names(configuration: &Value) -> Vec<Name> {
    let list = |part: &str, kind: &str| nets(configuration.pointer(&format!("/{part}/remote/cidr/{kind}")));
    let pairs = ["pod", "external"].map(|kind| list("spec", kind).into_iter().zip(list("status", kind)));
    let parse = |(real, presented): (String, String)| {
        Some(Name { real: real.parse().ok()?, presented: presented.parse().ok()? })
    };
    pairs.into_iter().flatten().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn addresses_have_the_names_of_the_configuration() {
        let configuration = json!({
            "spec": { "remote": { "cidr": { "pod": ["10.243.0.0/16", "fd00:1::/48"], "external": "10.70.0.0/16" } } },
            "status": { "remote": { "cidr": { "pod": ["10.71.0.0/16", "fd00:2::/48"], "external": ["10.72.0.0/16"] } } },
        });
        let names = names(&configuration);
        let of = |address: &str| called(&names, address.parse().unwrap()).map(|found| found.to_string());
        assert_eq!(of("10.243.255.254").as_deref(), Some("10.71.255.254"));
        assert_eq!(of("fd00:1::7").as_deref(), Some("fd00:2::7"));
        assert_eq!(of("10.70.0.25").as_deref(), Some("10.72.0.25"));
        assert_eq!(of("10.1.1.1"), None);
        assert_eq!(super::names(&json!({ "spec": {} })), []);
    }
}
