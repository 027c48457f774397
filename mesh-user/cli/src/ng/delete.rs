//! `meshctl ng delete G`, and where `delete external` begins.

use clap::{Args, Subcommand};
use mesh_core::api::group::{FullGroup, GroupReply};

use super::{Desk, external, show};
use crate::{confirm::Confirmation, exit::Failure};

#[derive(Debug, Args)]
#[command(subcommand_negates_reqs = true, args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
    /// Id or label
    #[arg(required = true, value_name = "GROUP")]
    group: Option<String>,
    #[command(flatten)]
    confirmation: Confirmation,
}

#[derive(Debug, Subcommand)]
enum What {
    /// An external peer, and its member if that has no other
    External(external::DeleteArguments),
}

pub(super) fn run(desk: &Desk, arguments: &Arguments) -> Result<String, Failure> {
    if let Some(What::External(arguments)) = &arguments.what {
        return external::delete(desk, arguments);
    }
    let group = arguments.group.as_deref().ok_or_else(|| Failure::usage("which group?", ""))?;
    let url = desk.group_url(group, &[]);
    if !arguments.confirmation.is_given() {
        let reply: GroupReply = desk.daemon.get(url.clone())?;
        arguments.confirmation.ask(&consequence(&reply.network_group))?;
    }
    let reply: GroupReply = desk.daemon.delete(url)?;
    desk.form.print(&reply, |reply| {
        let group = &reply.network_group.group;
        format!("Network group {} ({}) was deleted\n", group.label, group.id)
    })
}

fn consequence(full: &FullGroup) -> String {
    let group = &full.group;
    let head = format!("Network group {} ({}) will be deleted", group.label, group.id);
    if full.members.is_empty() && full.peers.is_empty() {
        return format!("{head}. It has no members.");
    }
    let peers = |member| full.peers.iter().filter(|peer| peer.parent_member == member).count();
    let lines = full
        .members
        .iter()
        .map(|member| format!("\n  {} with {}", member.id, show::count(peers(member.id.clone()), "peer")));
    let (members, all) = (show::count(full.members.len(), "member"), show::count(full.peers.len(), "peer"));
    format!("{head}, with {members} and {all}, their names and addresses:{}", lines.collect::<String>())
}
