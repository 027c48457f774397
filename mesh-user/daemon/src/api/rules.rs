//! Requests about the access rules of a network group.

use axum::{Json, extract::State};
use mesh_core::{
    api::group::{CreateRule, RuleList, RuleReply, SCHEMA},
    model::group::{AccessRule, Org, RuleId},
    registry::{Command, Group},
};

use super::{
    Api,
    caller::Caller,
    endpoint::Endpoint,
    errors::Failure,
    request::{Body, Path},
};

const RULES: &str = "/v1/orgs/{org}/networkgroups/{ng}/rules";
const RULE: &str = "/v1/orgs/{org}/networkgroups/{ng}/rules/{rule}";

pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::get(RULES, list, "What is allowed in a network group").reply::<RuleList>(),
        Endpoint::post(RULES, add, "Allow traffic between members").body::<CreateRule>().reply::<RuleReply>(),
        Endpoint::delete(RULE, delete, "Delete an access rule").reply::<RuleReply>(),
    ]
}

async fn list(
    State(api): State<Api>,
    caller: Caller,
    Path((org, ng)): Path<(Org, String)>,
) -> Result<Json<RuleList>, Failure> {
    let group = api.group(&caller, &org, &ng)?;
    Ok(Json(RuleList {
        schema: SCHEMA,
        ng_id: group.id().clone(),
        default_access: group.group.object.default_access,
        rules: group.rules.values().map(|rule| AccessRule::clone(&rule.object)).collect(),
    }))
}

async fn add(
    State(api): State<Api>,
    caller: Caller,
    Path((org, ng)): Path<(Org, String)>,
    Body(body): Body<CreateRule>,
) -> Result<Json<RuleReply>, Failure> {
    caller.administers(&org)?;
    let group = api.group(&caller, &org, &ng)?;
    let id = RuleId::new(super::random_uuid()?);
    let command = Command::AddRule {
        group: group.id().clone(),
        id: Some(id.clone()),
        from: body.from.parse()?,
        to: body.to.parse()?,
        traffic: body.traffic.parse()?,
    };
    let registry = api.execute(command).await?;
    Ok(Json(reply(registry.find_group(&org, group.id().as_str())?, &id)?))
}

async fn delete(
    State(api): State<Api>,
    caller: Caller,
    Path((org, ng, rule)): Path<(Org, String, RuleId)>,
) -> Result<Json<RuleReply>, Failure> {
    caller.administers(&org)?;
    let group = api.group(&caller, &org, &ng)?;
    let was = reply(&group, &rule)?;
    api.execute(Command::DeleteRule { group: group.id().clone(), rule }).await?;
    Ok(Json(was))
}

fn reply(group: &Group, id: &RuleId) -> Result<RuleReply, Failure> {
    let rule = group.rules.get(id).ok_or_else(|| {
        Failure::not_found(format!("the network group {} has no access rule {id}", group.group.object.label))
    })?;
    Ok(RuleReply { schema: SCHEMA, ng_id: group.id().clone(), rule: AccessRule::clone(&rule.object) })
}
