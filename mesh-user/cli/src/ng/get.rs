//! `meshctl ng get X`: exactly this id or label.

use clap::{Args, ValueEnum};
use mesh_core::api::group::{Resource, ResourceKind};

use super::{Desk, show};
use crate::exit::Failure;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Id or label of a group, member or peer
    #[arg(value_name = "ID_OR_LABEL")]
    name: String,
    #[command(flatten)]
    kinds: Kinds,
}

#[derive(Debug, Args)]
pub(super) struct Kinds {
    /// Only these
    #[arg(long = "type", value_enum, ignore_case = true, value_delimiter = ',', value_name = "TYPE,..")]
    kinds: Vec<Kind>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    #[value(name = "NetworkGroup")]
    NetworkGroup,
    #[value(name = "Member")]
    Member,
    #[value(name = "CleverPeer")]
    CleverPeer,
    #[value(name = "ExternalPeer")]
    ExternalPeer,
    // Of both types.
    #[value(name = "Peer")]
    Peer,
}

impl Kinds {
    /// `url` with the query that says so.
    pub(super) fn narrow(&self, url: mesh_client::Url) -> mesh_client::Url {
        if self.kinds.is_empty() {
            return url;
        }
        let names: Vec<String> = self.kinds.iter().map(|kind| format!("{kind:?}")).collect();
        url.query("type", &names.join(","))
    }
}

pub(super) fn run(desk: &Desk, arguments: &Arguments) -> Result<String, Failure> {
    let url = arguments.kinds.narrow(desk.url(&["resources", &arguments.name]));
    let resource: Resource = desk.daemon.get(url)?;
    desk.form.print(&resource, |resource| match &resource.resource {
        ResourceKind::NetworkGroup(full) => show::group(full),
        ResourceKind::Member(found) => show::member(found),
        ResourceKind::Peer(found) => show::peer(found),
    })
}
