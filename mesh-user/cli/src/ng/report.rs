//! `meshctl ng status MEMBER`: whether what a member stands for is there still, in each of its groups.

use clap::{Args, ValueEnum};
use mesh_core::{
    api::group::{FoundMember, MemberList, ReportMember, Resource, ResourceKind},
    model::group::{MemberId, MemberStatus},
};

use super::{Desk, show};
use crate::{exit::Failure, table::render};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    member: MemberId,
    /// Says it anew, in all groups of the org; a deleted member stays until it is unlinked
    #[arg(long, value_enum, value_name = "STATUS")]
    set: Option<Status>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Status {
    Active,
    Deleted,
}

pub(super) fn run(desk: &Desk, arguments: &Arguments) -> Result<String, Failure> {
    let member = arguments.member.as_str();
    if let Some(status) = arguments.set {
        let status = match status {
            Status::Active => MemberStatus::Active,
            Status::Deleted => MemberStatus::Deleted,
        };
        let list: MemberList =
            desk.daemon.put_body(desk.url(&["members", member, "status"]), &ReportMember { status })?;
        return desk.form.print(&list, |list| table(&list.members));
    }
    let url = desk.url(&["resources", member]).query("type", "Member");
    let Resource { schema, resource } = desk.daemon.get(url)?;
    let members = match resource {
        ResourceKind::Member(members) => members,
        ResourceKind::NetworkGroup(_) | ResourceKind::Peer(_) => Vec::new(),
    };
    desk.form.print(&MemberList { schema, members }, |list| table(&list.members))
}

fn table(members: &[FoundMember]) -> String {
    let row = |found: &FoundMember| {
        let status = show::status(&found.member).to_owned();
        vec![found.ng_label.to_string(), found.ng_id.to_string(), found.member.id.to_string(), status]
    };
    let rows: Vec<_> = members.iter().map(row).collect();
    render(&["Group", "Group ID", "Member", "Status"], &rows)
}
