//! Requests about the members of a network group, and which members are blocked.

use axum::{Json, extract::State};
use mesh_core::{
    api::group::{BlockList, BlockReply, FoundMember, MemberList, MemberReply, ReportMember, SCHEMA},
    model::group::{Block, Member, MemberId, Org},
    registry::{Command, Group, MemberSpec},
};

use super::{
    Api,
    caller::Caller,
    endpoint::Endpoint,
    errors::Failure,
    request::{Body, Path},
};

const MEMBERS: &str = "/v1/orgs/{org}/networkgroups/{ng}/members";
const MEMBER: &str = "/v1/orgs/{org}/networkgroups/{ng}/members/{member}";
const STATUS: &str = "/v1/orgs/{org}/members/{member}/status";
const BLOCKS: &str = "/v1/orgs/{org}/blocks";
const BLOCK: &str = "/v1/orgs/{org}/members/{member}/block";

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::post(MEMBERS, link, "Link a member to a network group").body::<MemberSpec>().reply::<MemberReply>(),
        Endpoint::get(MEMBER, show, "A member of a network group").reply::<MemberReply>(),
        Endpoint::delete(MEMBER, unlink, "Unlink a member, and delete its peers").reply::<MemberReply>(),
        Endpoint::put(STATUS, report, "Say whether what a member stands for is there, in all groups of the org")
            .body::<ReportMember>()
            .reply::<MemberList>(),
        Endpoint::get(BLOCKS, blocks, "The members that are closed to everything but their groups")
            .reply::<BlockList>(),
        Endpoint::put(BLOCK, block, "Close a member to everything but its groups").reply::<BlockReply>(),
        Endpoint::delete(BLOCK, unblock, "Open a member again").reply::<BlockReply>(),
    ]
}

fn reply(group: &Group, id: &MemberId) -> Result<Json<MemberReply>, Failure> {
    let member = group.find_member(id)?.clone();
    Ok(Json(MemberReply { schema: SCHEMA, ng_id: group.id().clone(), member }))
}

async fn show(
    State(api): State<Api>,
    caller: Caller,
    Path((org, ng, member)): Path<(Org, String, MemberId)>,
) -> Result<Json<MemberReply>, Failure> {
    reply(&*api.group(&caller, &org, &ng)?, &member)
}

async fn link(
    State(api): State<Api>,
    caller: Caller,
    Path((org, ng)): Path<(Org, String)>,
    Body(member): Body<MemberSpec>,
) -> Result<Json<MemberReply>, Failure> {
    caller.administers(&org)?;
    let group = api.group(&caller, &org, &ng)?;
    let id = member.id.clone();
    let registry = api.execute(Command::Link { group: group.id().clone(), member }).await?;
    reply(registry.find_group(&org, group.id().as_str())?, &id)
}

async fn unlink(
    State(api): State<Api>,
    caller: Caller,
    Path((org, ng, member)): Path<(Org, String, MemberId)>,
) -> Result<Json<MemberReply>, Failure> {
    caller.administers(&org)?;
    let group = api.group(&caller, &org, &ng)?;
    let was = reply(&group, &member)?;
    api.execute(Command::Unlink { group: group.id().clone(), member }).await?;
    Ok(was)
}

async fn report(
    State(api): State<Api>,
    caller: Caller,
    Path((org, member)): Path<(Org, MemberId)>,
    Body(body): Body<ReportMember>,
) -> Result<Json<MemberList>, Failure> {
    caller.administers(&org)?;
    let command = Command::ReportMember { org: org.clone(), member: member.clone(), status: body.status };
    let registry = api.execute(command).await?;
    let members = registry.groups_of(&org).filter_map(|group| {
        let (ng_id, ng_label) = (group.id().clone(), group.group.label.clone());
        Some(FoundMember { ng_id, ng_label, member: Member::clone(group.members.get(&member)?) })
    });
    Ok(Json(MemberList { schema: SCHEMA, members: members.collect() }))
}

async fn blocks(State(api): State<Api>, caller: Caller, Path(org): Path<Org>) -> Json<BlockList> {
    let registry = api.registry_for(&caller);
    let own = registry.blocks.values().map(|block| &block.object).filter(|block| block.owner_id == org);
    Json(BlockList { schema: SCHEMA, blocks: own.map(|block| Block::clone(block)).collect() })
}

async fn block(
    State(api): State<Api>,
    caller: Caller,
    Path((org, member)): Path<(Org, MemberId)>,
) -> Result<Json<BlockReply>, Failure> {
    caller.administers(&org)?;
    api.execute(Command::Block { org: org.clone(), member: member.clone() }).await?;
    Ok(Json(BlockReply { schema: SCHEMA, block: Block { owner_id: org, member } }))
}

async fn unblock(
    State(api): State<Api>,
    caller: Caller,
    Path((org, member)): Path<(Org, MemberId)>,
) -> Result<Json<BlockReply>, Failure> {
    caller.administers(&org)?;
    api.execute(Command::Unblock { org: org.clone(), member: member.clone() }).await?;
    Ok(Json(BlockReply { schema: SCHEMA, block: Block { owner_id: org, member } }))
}
