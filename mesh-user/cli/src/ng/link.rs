//! `meshctl ng link MEMBER G` and `unlink MEMBER G`.

use clap::Args;
use mesh_core::{
    api::group::MemberReply,
    model::group::{DomainName, MemberId, MemberKind},
    registry::MemberSpec,
};

use super::Desk;
use crate::exit::Failure;

#[derive(Debug, Args)]
pub(crate) struct LinkArguments {
    /// Its id on its platform, such as app_..., postgresql_..., external_...
    member: MemberId,
    /// Id or label
    group: String,
    /// application, add-on, external or loadbalancer [default: by the prefix of the id]
    #[arg(long)]
    kind: Option<MemberKind>,
    /// Its name, below a suffix that the daemon allows [default: MEMBER.m.GROUP.SUFFIX]
    #[arg(long, value_name = "FQDN")]
    domain: Option<DomainName>,
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct UnlinkArguments {
    member: MemberId,
    /// Id or label
    group: String,
}

pub(super) fn link(desk: &Desk, arguments: &LinkArguments) -> Result<String, Failure> {
    let LinkArguments { member, group, kind, domain, label } = arguments;
    let body = MemberSpec { id: member.clone(), label: label.clone(), kind: *kind, domain_name: domain.clone() };
    let reply: MemberReply = desk.daemon.post(desk.group_url(group, &["members"]), &body)?;
    desk.form.print(&reply, |MemberReply { ng_id, member, .. }| {
        format!("{} is linked to {ng_id} as {}\n", member.id, member.domain_name)
    })
}

pub(super) fn unlink(desk: &Desk, arguments: &UnlinkArguments) -> Result<String, Failure> {
    let UnlinkArguments { member, group } = arguments;
    let reply: MemberReply = desk.daemon.delete(desk.group_url(group, &["members", member.as_str()]))?;
    desk.form.print(&reply, |MemberReply { ng_id, member, .. }| {
        format!("{} is no longer in {ng_id}; nothing needs a restart\n", member.id)
    })
}
