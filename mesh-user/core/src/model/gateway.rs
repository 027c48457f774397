//! What gateway servers and gateway clients have in common: a template that says what listens, and one gateway per remote
//! cluster.

use std::net::IpAddr;

use serde_json::{Map, Value};

use super::{
    document::{Document, Place},
    gateway_client::{GatewayClient, Reach},
    gateway_server::GatewayServer,
    host::Host,
    listener::{self, Driver, Listener},
    problem::Problems,
    tree::Fields,
};
use crate::template::{End, NAMESPACE, Subject, Template, Templates, read_rendered};

/// The least that IPv6 runs over (RFC 8200, section 5).
const MTU_MIN_V6: u16 = 1_280;

/// The one end of a connection that stands here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gateway {
    Server(GatewayServer),
    Client(GatewayClient),
}

impl Gateway {
    pub fn place(&self) -> &Place {
        match self {
            Gateway::Server(server) => &server.place,
            Gateway::Client(client) => &client.place,
        }
    }

    pub fn listener(&self) -> &Listener {
        match self {
            Gateway::Server(server) => &server.listener,
            Gateway::Client(client) => &client.listener,
        }
    }

    pub fn mtu(&self) -> u16 {
        self.listener().mtu
    }

    /// Where the remote gateway is reached on the underlay, as far as that was said in addresses.
    pub fn underlay_addresses(&self) -> Vec<IpAddr> {
        match self {
            Gateway::Server(_) => Vec::new(),
            Gateway::Client(GatewayClient { reach: Reach::Wireguard { candidates, .. }, .. }) => {
                let addresses = candidates.iter().filter_map(|host| match host {
                    Host::Address(address) => Some(*address),
                    Host::Name(_) => None,
                });
                addresses.collect()
            }
            Gateway::Client(GatewayClient { reach: Reach::Direct { next_hops }, .. }) => next_hops.clone(),
        }
    }

    /// The DNS names that somebody must resolve.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let candidates = match self {
            Gateway::Client(GatewayClient { reach: Reach::Wireguard { candidates, .. }, .. }) => candidates.as_slice(),
            Gateway::Client(GatewayClient { reach: Reach::Direct { .. }, .. }) | Gateway::Server(_) => &[],
        };
        candidates.iter().filter_map(|host| match host {
            Host::Name(name) => Some(name.as_str()),
            Host::Address(_) => None,
        })
    }

    pub fn is_direct(&self) -> bool {
        self.listener().driver == Driver::Direct
    }

    /// Why this MTU cannot carry what the connection carries.
    pub(crate) fn mtu_too_small(&self, v6: bool) -> Option<String> {
        let mtu = self.mtu();
        (v6 && !self.is_direct() && mtu < MTU_MIN_V6)
            .then(|| format!("{mtu} is too small: IPv6 needs at least {MTU_MIN_V6}"))
    }
}

/// A gateway object: its own fields, of which `endpoint` reads one section with its defaults, and then what its template
/// makes of them, which `listener` reads.
pub(super) fn read<T>(
    document: &Document,
    end: End,
    templates: &Templates,
    problems: &mut Problems,
    endpoint: impl FnOnce(Fields<'_>, &Template) -> Option<Map<String, Value>>,
    listener: impl FnOnce(&mut Fields<'_>, Listener) -> Option<T>,
) -> Option<T> {
    let (template, secret, fields) = document.spec(problems, |spec| {
        let template = template(spec, end, templates);
        let secret = secret(spec);
        let mtu = listener::mtu(spec);
        let section = spec.required_section("endpoint");
        let template = template?;
        let known = template.spec_fields();
        let used: Vec<&str> = spec.unknown().into_iter().filter(|f| known.contains(&f.to_ascii_lowercase())).collect();
        spec.ignore(&used);
        let endpoint = endpoint(section?, template)?;
        let fields = [("mtu".to_owned(), mtu.into()), ("endpoint".to_owned(), Value::Object(endpoint))];
        Some((template, secret, fields))
    })?;
    let mut spec = document.raw_spec().as_object().cloned().unwrap_or_default();
    spec.extend(fields);
    let subject = Subject {
        place: &document.place,
        uid: document.uid.to_string(),
        cluster: document.remote.as_ref().map(ToString::to_string).unwrap_or_default(),
        secret: secret.unwrap_or_default(),
        spec,
    };
    let rendered = template.render(&subject, problems)?;
    read_rendered(&document.place, &template.path(), &rendered, problems, |fields| {
        let common = Listener::read(fields);
        // Without a driver it is not known which fields there are.
        let Some(common) = common else {
            fields.ignore_all();
            return None;
        };
        listener(fields, common)
    })
}

fn secret(spec: &mut Fields<'_>) -> Option<String> {
    let mut reference = spec.section("secretRef")?;
    reference.ignore(&["namespace"]);
    let name = listener::secret(&mut reference, "name");
    reference.finish();
    name
}

/// The template that `serverTemplateRef` or `clientTemplateRef` names; the usual one where nothing is said.
fn template<'t>(spec: &mut Fields<'_>, end: End, templates: &'t Templates) -> Option<&'t Template> {
    let (field, usual) = match end {
        End::Server => ("serverTemplateRef", "wireguard-server"),
        End::Client => ("clientTemplateRef", "wireguard-client"),
    };
    let Some(mut reference) = spec.section(field) else {
        return spec.is_absent(field).then(|| templates.get(end, NAMESPACE, usual)).flatten();
    };
    reference.ignore(&["apiVersion", "kind"]);
    let namespace = reference.text("namespace").unwrap_or(NAMESPACE);
    let name = reference.text("name");
    let template = name.and_then(|name| templates.get(end, namespace, name));
    if template.is_none() {
        let message = match name {
            Some(name) => format!("no template {name:?} for this kind in the namespace {namespace}"),
            None => "missing".to_owned(),
        };
        let direct = if end == End::Server { "; 'direct' is given as GatewayClient on both sides" } else { "" };
        let known = templates.names(end).join(", ");
        reference.report(
            "name",
            message,
            format!("apply a {} of that name, or write one of {known}{direct}", end.template_kind()),
        );
    }
    reference.finish();
    template
}

#[cfg(test)]
mod tests;
