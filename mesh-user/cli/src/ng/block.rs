//! `meshctl ng block MEMBER` and `unblock MEMBER`: a member that only its groups reach.

use clap::Args;
use mesh_core::{
    api::group::{BlockList, BlockReply},
    model::group::MemberId,
};

use super::Desk;
use crate::{exit::Failure, table::render};

#[derive(Debug, Args)]
pub(crate) struct BlockArguments {
    member: Option<MemberId>,
}

#[derive(Debug, Args)]
pub(crate) struct UnblockArguments {
    member: MemberId,
}

pub(super) fn block(desk: &Desk, arguments: &BlockArguments) -> Result<String, Failure> {
    let Some(member) = &arguments.member else { return list(desk) };
    let reply: BlockReply = desk.daemon.put(desk.url(&["members", member.as_str(), "block"]))?;
    desk.form.print(&reply, |reply| {
        let member = &reply.block.member;
        format!(
            "{member} is blocked: nodes close its instances to everything but its groups. `meshctl status` there says \
             which one cannot be closed\n"
        )
    })
}

pub(super) fn unblock(desk: &Desk, arguments: &UnblockArguments) -> Result<String, Failure> {
    let reply: BlockReply = desk.daemon.delete(desk.url(&["members", arguments.member.as_str(), "block"]))?;
    desk.form.print(&reply, |reply| format!("{} is open again\n", reply.block.member))
}

fn list(desk: &Desk) -> Result<String, Failure> {
    let list: BlockList = desk.daemon.get(desk.url(&["blocks"]))?;
    desk.form.print(&list, |list| {
        if list.blocks.is_empty() {
            return format!("No member of org {} is blocked.\n", desk.org);
        }
        let rows: Vec<_> = list.blocks.iter().map(|block| vec![block.member.to_string()]).collect();
        render(&["Blocked member"], &rows)
    })
}
