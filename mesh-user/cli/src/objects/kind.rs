//! Which kinds of objects `get` and `delete` know, and in which spellings.

use std::str::FromStr;

use clap::ValueEnum;
use mesh_core::model::ObjectKind;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Of network groups.
    Group(GroupKind),
    /// Of the inter-cluster network.
    Cluster(ObjectKind),
    /// A read-only view of the cluster id, where Kubernetes has it.
    ConfigMap,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lowercase")]
pub(crate) enum GroupKind {
    #[value(aliases = ["networkgroups", "ng"])]
    NetworkGroup,
    #[value(alias = "members")]
    Member,
    #[value(alias = "peers")]
    Peer,
    #[value(aliases = ["accessrules", "rule", "rules"])]
    AccessRule,
}

impl Kind {
    /// As the path of a request has it.
    pub(crate) fn segment(self) -> String {
        match self {
            Kind::Group(kind) => kind.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default(),
            Kind::Cluster(kind) => kind.plural().to_owned(),
            Kind::ConfigMap => "configmaps".to_owned(),
        }
    }
}

/// In any case: kind, plural, short name, and those of the inter-cluster network with their group behind.
impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if matches!(text.to_ascii_lowercase().as_str(), "configmap" | "configmaps" | "cm") {
            return Ok(Kind::ConfigMap);
        }
        if let Ok(kind) = GroupKind::from_str(text, true) {
            return Ok(Kind::Group(kind));
        }
        text.parse().map(Kind::Cluster).map_err(|error| format!("{error}; known: {}", known().join(", ")))
    }
}

fn known() -> Vec<String> {
    let groups = GroupKind::value_variants().iter().map(|kind| Kind::Group(*kind).segment());
    let clusters = ObjectKind::ALL.iter().map(|kind| format!("{} ({})", kind.plural(), kind.short()));
    groups.chain(clusters).chain(["configmaps".to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        let cases = [
            ("gatewayclients.networking.liqo.io", Kind::Cluster(ObjectKind::GatewayClient)),
            ("gws", Kind::Cluster(ObjectKind::GatewayServer)),
            ("Configuration", Kind::Cluster(ObjectKind::Configuration)),
            ("IP", Kind::Cluster(ObjectKind::Ip)),
            ("networks.ipam.liqo.io", Kind::Cluster(ObjectKind::Network)),
            ("ng", Kind::Group(GroupKind::NetworkGroup)),
            ("Peers", Kind::Group(GroupKind::Peer)),
            ("configmaps", Kind::ConfigMap),
        ];
        for (text, kind) in cases {
            assert_eq!(text.parse(), Ok(kind), "{text}");
        }
        assert!("pods".parse::<Kind>().is_err());
    }
}
