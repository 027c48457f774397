//! `network connect`: the steps that join two clusters. Every step may stand already, so the same command goes on from
//! wherever an earlier one stopped.

use std::net::IpAddr;

use mesh_core::model::ObjectKind;

use super::{
    reading::Reached,
    report::{End, Report},
    side::{Remote, Side},
};
use crate::{
    exit::{Exit, Failure},
    manifest::{ClientSpec, ServerSpec, TemplateRef, consecutive},
};

/// What a connection shall be like.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    /// Which cluster has the gateway server.
    pub(crate) server_at: End,
    pub(crate) server: ServerSpec,
    pub(crate) client: ClientWish,
    pub(crate) share_keys: bool,
    pub(crate) validate: bool,
    /// Until the connection is established.
    pub(crate) wait: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct ClientWish {
    /// Instead of where the server says that it is reached.
    pub(crate) address: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) template: TemplateRef,
    pub(crate) mtu: u16,
}

impl Wish {
    /// Fields that a template of the server must use.
    fn needs(&self) -> Vec<&'static str> {
        let node_port = self.server.node_port.map(|_| "nodePort");
        let address = self.server.load_balancer_ip.map(|_: IpAddr| "loadBalancerIP");
        node_port.into_iter().chain(address).collect()
    }

    /// What the client must be told of a server that is reached there.
    pub(crate) fn client_spec(&self, reached: &Reached) -> Result<ClientSpec, Failure> {
        let addresses = match &self.client.address {
            Some(address) => vec![address.clone()],
            None => reached.addresses.clone(),
        };
        let ports = match self.client.port {
            Some(port) => {
                let lanes = u16::try_from(reached.ports.len()).unwrap_or(1);
                consecutive(port, lanes).map_err(|error| Failure::usage(error, "--gw-client-port is the first"))?
            }
            None => reached.ports.clone(),
        };
        Ok(ClientSpec { addresses, ports, mtu: self.client.mtu, template: self.client.template.clone() })
    }
}

/// Both have answered who they are.
pub(crate) fn run(local: &Side<'_>, remote: &Side<'_>, wish: &Wish, report: &mut Report) -> Result<(), Failure> {
    for side in [local, remote] {
        super::retrieved(side, report)?;
    }
    if local.id() == remote.id() {
        let message = format!("both daemons are of cluster {}: {}", local.id(), remote.cluster.place());
        return Err(Failure::new(Exit::Conflict, message, "name the remote daemon, or give each cluster an id"));
    }
    let ends = [(local, remote), (remote, local)];
    exchange_configurations(ends, wish, report)?;
    let (server, client) = match roles(local, remote)?.unwrap_or(wish.server_at) {
        End::Remote => (remote, local),
        End::Local => (local, remote),
    };
    if server.end != wish.server_at {
        report.info(server.end, format!("The gateway for {} is the server already: it is used", client.id()));
    }
    check_templates(server, client, wish, report)?;
    for (side, other) in ends {
        let names = side.wait_remapped(other.id(), report)?;
        report.info(side.end, format!("Network initialized: {names}"));
    }
    let reached = set_up_server(server, client.id(), wish, report)?;
    set_up_client(client, server.id(), &wish.client_spec(&reached)?, report)?;
    if wish.share_keys {
        exchange_keys(server, client, report)?;
    }
    if wish.share_keys || wish.wait {
        establish([server, client], [local, remote], wish, report)?;
    }
    Ok(())
}

/// The server's end, where one of the two has a gateway already.
fn roles(local: &Side<'_>, remote: &Side<'_>) -> Result<Option<End>, Failure> {
    for (side, other) in [(local, remote), (remote, local)] {
        if side.find(ObjectKind::GatewayServer, other.id())?.is_some() {
            return Ok(Some(side.end));
        }
        if side.find(ObjectKind::GatewayClient, other.id())?.is_some() {
            return Ok(Some(other.end));
        }
    }
    Ok(None)
}

/// Each is told the other's prefixes. Nothing is changed unless both would take them.
fn exchange_configurations(ends: [(&Side<'_>, &Side<'_>); 2], wish: &Wish, report: &mut Report) -> Result<(), Failure> {
    let mut drafts = Vec::new();
    for (side, other) in ends {
        let draft = side.configuration(&Remote::of(&other.info))?;
        if wish.validate {
            match side.cluster.apply(std::slice::from_ref(&draft), true) {
                Ok(_) => {}
                Err(failure) if failure.error.code == "managed_by_file" => {}
                Err(failure) => return Err(side.failed("network configuration", failure)),
            }
        }
        report.info(side.end, format!("Network configuration of {} set up", other.id()));
        drafts.push((side, draft));
    }
    for (side, draft) in drafts {
        side.ensure("network configuration", &[draft], report)?;
        report.info(side.end, "Configuration applied");
    }
    Ok(())
}

fn check_templates(server: &Side<'_>, client: &Side<'_>, wish: &Wish, report: &mut Report) -> Result<(), Failure> {
    if !wish.validate {
        return Ok(());
    }
    let checks = [
        (server, "server", &wish.server.template, wish.needs()),
        (client, "client", &wish.client.template, Vec::new()),
    ];
    for (side, role, template, needs) in checks {
        side.check_template(template, &needs)?;
        let name = format!("{}/{}", template.name, template.namespace);
        report.info(side.end, format!("Gateway {role} template {name:?} checked"));
    }
    Ok(())
}

pub(crate) fn set_up_server(
    server: &Side<'_>,
    client: &str,
    wish: &Wish,
    report: &mut Report,
) -> Result<Reached, Failure> {
    let kind = ObjectKind::GatewayServer;
    let old = server.find(kind, client)?;
    // One that is there with the roles the other way round serves as it is.
    if old.is_none() || wish.server_at == server.end {
        let usage = |error: String| Failure::usage(error, "choose another first port, or fewer lanes");
        let spec = wish.server.value().map_err(usage)?;
        let mut drafts = vec![server.draft(kind, client, spec, old.as_ref())];
        drafts.extend(server.keys_with_mtu(client, wish.server.mtu)?);
        server.ensure("gateway server", &drafts, report)?;
    }
    report.info(server.end, "Gateway server set up");
    let reached = server.wait_endpoint(client, report)?;
    server.wait_ready(kind, client, report)?;
    report.info(server.end, format!("Gateway gw-{client} is ready"));
    report.info(server.end, format!("Gateway server Service created: {reached}"));
    Ok(reached)
}

pub(crate) fn set_up_client(
    client: &Side<'_>,
    server: &str,
    spec: &ClientSpec,
    report: &mut Report,
) -> Result<(), Failure> {
    let kind = ObjectKind::GatewayClient;
    let old = client.find(kind, server)?;
    let mut drafts = vec![client.draft(kind, server, spec.value(), old.as_ref())];
    drafts.extend(client.keys_with_mtu(server, spec.mtu)?);
    client.ensure("gateway client", &drafts, report)?;
    report.info(client.end, "Gateway client set up");
    client.wait_ready(kind, server, report)?;
    report.info(client.end, format!("Gateway gw-{server} is ready"));
    Ok(())
}

/// Each gets the other's public key.
fn exchange_keys(server: &Side<'_>, client: &Side<'_>, report: &mut Report) -> Result<(), Failure> {
    let ways =
        [(server, ObjectKind::GatewayServer, "server", client), (client, ObjectKind::GatewayClient, "client", server)];
    for (owner, kind, role, other) in ways {
        let (keys, mtu) = owner.wait_keys(kind, other.id(), report)?;
        report.info(owner.end, format!("Gateway {role} key is there"));
        other.ensure("public key", &other.key_drafts(owner.id(), &keys, mtu)?, report)?;
        report.info(other.end, "Public key created");
    }
    Ok(())
}

/// `by_role`: the server first; `by_end`: the local side first.
fn establish(by_role: [&Side<'_>; 2], by_end: [&Side<'_>; 2], wish: &Wish, report: &mut Report) -> Result<(), Failure> {
    let [server, client] = by_role;
    for (side, other) in [(server, client), (client, server)] {
        side.wait_connection(other.id(), false, report)?;
        report.info(side.end, "Connection created");
    }
    if wish.wait {
        let [local, remote] = by_end;
        for (side, other) in [(local, remote), (remote, local)] {
            let latency = side.wait_connection(other.id(), true, report)?;
            report.info(side.end, format!("Connection is established{latency}"));
        }
    }
    Ok(())
}
