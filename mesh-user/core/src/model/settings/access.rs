//! `[api]` and `[[principal]]`: where the API is reached from other machines, and who may do what there.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use super::{
    file::{ApiSection, MetricsSection, PrincipalSection},
    reading::Reading,
};
use crate::model::role::Role;

/// A TCP listener with mutual TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiListener {
    pub listen: SocketAddr,
    /// PEM file: who signs the certificates of clients.
    pub ca: PathBuf,
    /// PEM file: the certificate of this daemon, with what stands between it and the CA of its clients.
    pub cert: PathBuf,
    /// PEM file.
    pub key: PathBuf,
}

/// The common name of a client's certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrincipalName(pub String);

impl Reading<'_> {
    pub(super) fn api(&mut self, section: &ApiSection) -> Option<ApiListener> {
        let listen = self.parse(&section.listen, "api.listen", "write ADDRESS:PORT, such as 0.0.0.0:7443")?;
        let ApiSection { ca, cert, key, .. } = section;
        Some(ApiListener { listen, ca: ca.clone(), cert: cert.clone(), key: key.clone() })
    }

    pub(super) fn metrics(&mut self, section: &MetricsSection) -> Option<SocketAddr> {
        self.parse(&section.listen, "metrics.listen", "write ADDRESS:PORT, such as 127.0.0.1:9101")
    }

    pub(super) fn principals(
        &mut self,
        sections: &[PrincipalSection],
        has_listener: bool,
    ) -> BTreeMap<PrincipalName, Vec<Role>> {
        let mut principals = BTreeMap::new();
        for section in sections {
            let name = section.name.get_ref();
            if name.is_empty() {
                let hint = "write the common name of the client's certificate";
                self.refuse(&section.name, "principal.name", "no name", hint);
            }
            if !has_listener {
                let message = format!("{name} cannot reach the API: there is no [api] section");
                let hint = "add [api] with listen, ca, cert and key, or remove the principal";
                self.refuse(&section.name, "principal", message, hint);
            }
            let roles = section.roles.iter().filter_map(|role| self.parse(role, "principal.roles", ""));
            if principals.insert(PrincipalName(name.clone()), roles.collect()).is_some() {
                let hint = "keep one section for it, with all its roles";
                self.refuse(&section.name, "principal.name", format!("{name} stands twice"), hint);
            }
        }
        principals
    }
}
