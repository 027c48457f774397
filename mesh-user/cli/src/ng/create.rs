//! `meshctl ng create LABEL`, and where `create external` begins.

use clap::{Args, Subcommand};
use ipnet::IpNet;
use mesh_core::{
    api::group::{CreateGroup, GroupReply},
    model::group::{Access, Label, MemberId, Tag},
    registry::MemberSpec,
};

use super::{Desk, external, show};
use crate::exit::Failure;

/// What `create external` and `delete external` begin with.
const RESERVED: &str = "external";

#[derive(Debug, Args)]
#[command(subcommand_negates_reqs = true, args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
    /// Of the group, unique in its org and part of its names; it never changes
    #[arg(required = true)]
    label: Option<Label>,
    /// Members of the beginning, by id
    #[arg(long, value_name = "ID,..", value_delimiter = ',')]
    link: Vec<MemberId>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Words to find it by
    #[arg(long, value_name = "TAG,..", value_delimiter = ',')]
    tags: Vec<Tag>,
    /// The group's addresses [default: the highest free block of the daemon's pool]
    #[arg(long)]
    cidr: Option<IpNet>,
    /// How large that block is
    #[arg(long, value_name = "LENGTH", conflicts_with = "cidr")]
    prefix_length: Option<u8>,
    /// Members may do only what a rule allows: the same as --default-access deny
    #[arg(long)]
    default_deny: bool,
    /// Whether members may do what no rule allows [default: allow]
    #[arg(long, value_name = "allow|deny", value_parser = super::update::access, conflicts_with = "default_deny")]
    default_access: Option<Access>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A peer that any WireGuard can be: it is made with its member
    External(external::CreateArguments),
}

pub(super) fn run(desk: &Desk, arguments: &Arguments) -> Result<String, Failure> {
    if let Some(What::External(arguments)) = &arguments.what {
        return external::create(desk, arguments);
    }
    let label = arguments.label.clone().ok_or_else(|| Failure::usage("a group needs a label", ""))?;
    if label.as_str() == RESERVED {
        let hint = "`meshctl ng create external PEER GROUP PUBKEY` makes an external peer";
        return Err(Failure::usage(format!("the label {RESERVED} is reserved"), hint));
    }
    let member = |id: &MemberId| MemberSpec { id: id.clone(), label: None, kind: None, domain_name: None };
    let flagged = if arguments.default_deny { Access::Deny } else { Access::Allow };
    let body = CreateGroup {
        id: None,
        label,
        description: arguments.description.clone(),
        tags: arguments.tags.iter().cloned().collect(),
        members: arguments.link.iter().map(member).collect(),
        cidr: arguments.cidr,
        prefix_length: arguments.prefix_length,
        default_access: arguments.default_access.unwrap_or(flagged),
    };
    let reply: GroupReply = desk.daemon.post(desk.url(&["networkgroups"]), &body)?;
    desk.form.print(&reply, text)
}

fn text(reply: &GroupReply) -> String {
    let full = &reply.network_group;
    let group = &full.group;
    let mut text = format!("Network group {} was created: {}, {}\n", group.label, group.id, group.network_ip);
    if !full.members.is_empty() {
        text += "\nMembers\n";
        text += &show::members(full);
    }
    text
}
