//! `meshctl ng search TEXT`: whatever holds the text, in any case of letters.

use clap::Args;
use mesh_core::{
    api::group::{Found, FoundPeer},
    model::group::PeerKind,
};

use super::{Desk, get::Kinds, show};
use crate::exit::Failure;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    text: String,
    #[command(flatten)]
    kinds: Kinds,
}

pub(super) fn run(desk: &Desk, arguments: &Arguments) -> Result<String, Failure> {
    let url = arguments.kinds.narrow(desk.url(&["search"]).query("q", &arguments.text));
    let found: Found = desk.daemon.get(url)?;
    desk.form.print(&found, |found| match text(found) {
        text if text.is_empty() => format!("Nothing in org {} holds {:?}.\n", desk.org, arguments.text),
        text => text,
    })
}

fn text(found: &Found) -> String {
    let peers = |kind: PeerKind| found.peers.iter().filter(move |found: &&FoundPeer| found.peer.kind == kind);
    let parts = [
        ("Network groups", found.network_groups.len(), show::groups(&found.network_groups)),
        ("Members", found.members.len(), show::found_members(&found.members)),
        ("Clever peers", peers(PeerKind::CleverPeer).count(), show::found_peers(peers(PeerKind::CleverPeer))),
        ("External peers", peers(PeerKind::ExternalPeer).count(), show::found_peers(peers(PeerKind::ExternalPeer))),
    ];
    let shown = parts.into_iter().filter(|(_, count, _)| *count > 0);
    let shown: Vec<String> = shown.map(|(title, count, table)| format!("{title} ({count})\n{table}")).collect();
    shown.join("\n")
}
