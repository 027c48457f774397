//! `meshctl ng rule`: who may begin which conversations inside a group.

use clap::{Args, Subcommand};
use mesh_client::Url;
use mesh_core::{
    api::group::{CreateRule, GroupReply, RuleList, RuleReply, UpdateGroup},
    model::group::{Access, AccessRule, Party, Traffic},
};

use super::{Desk, show, update};
use crate::{
    exit::{Exit, Failure},
    output::Form,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// The rules of a group
    List {
        /// Id or label
        group: String,
    },
    /// Allows FROM to begin conversations with TO
    Add(Rule),
    /// Takes a rule back
    Delete(Doomed),
    /// What is not allowed by a rule: allow or deny
    Default {
        /// Id or label
        group: String,
        #[arg(value_parser = update::access)]
        access: Access,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Rule {
    /// Id or label
    group: String,
    /// A member id, or '*'
    from: Party,
    to: Party,
    /// any, icmp, tcp, udp, tcp/PORT or udp/FIRST-LAST
    #[arg(default_value = "any")]
    traffic: Traffic,
}

#[derive(Debug, Args)]
pub(crate) struct Doomed {
    /// Id or label
    group: String,
    /// Its id, or its FROM
    #[arg(value_name = "ID|FROM")]
    first: String,
    to: Option<Party>,
    /// As it was added
    traffic: Option<Traffic>,
}

pub(super) fn run(desk: &Desk, verb: &Verb) -> Result<String, Failure> {
    match verb {
        Verb::List { group } => list(desk, group),
        Verb::Add(rule) => add(desk, rule),
        Verb::Delete(doomed) => delete(desk, doomed),
        Verb::Default { group, access } => default(desk, group, *access),
    }
}

fn list(desk: &Desk, group: &str) -> Result<String, Failure> {
    let list: RuleList = desk.daemon.get(desk.group_url(group, &["rules"]))?;
    desk.form.print(&list, |list| {
        let default = format!("What no rule allows: {}\n", show::access(list.default_access));
        match list.rules.as_slice() {
            [] => default,
            rules => format!("{default}\n{}", show::rules(rules)),
        }
    })
}

fn add(desk: &Desk, rule: &Rule) -> Result<String, Failure> {
    let Rule { group, from, to, traffic } = rule;
    let body = CreateRule { from: from.to_string(), to: to.to_string(), traffic: traffic.to_string() };
    let url = desk.group_url(group, &["rules"]);
    let reply: RuleReply = desk.daemon.post(url.clone(), &body)?;
    let idle = if desk.form == Form::Text { without_effect(desk, url, group)? } else { String::new() };
    desk.form.print(&reply, |RuleReply { ng_id, rule, .. }| {
        format!("{} in {ng_id} (rule {})\n{idle}", sentence(rule, "may begin"), rule.id)
    })
}

/// Rules allow: where everything is allowed they say nothing.
fn without_effect(desk: &Desk, url: Url, group: &str) -> Result<String, Failure> {
    let list: RuleList = desk.daemon.get(url)?;
    Ok(match list.default_access {
        Access::Allow => format!("It has no effect until `meshctl ng rule default {group} deny`: all is allowed now\n"),
        Access::Deny => String::new(),
    })
}

fn delete(desk: &Desk, doomed: &Doomed) -> Result<String, Failure> {
    let id = match &doomed.to {
        None => doomed.first.clone(),
        Some(to) => find(desk, doomed, to)?,
    };
    let reply: RuleReply = desk.daemon.delete(desk.group_url(&doomed.group, &["rules", &id]))?;
    desk.form.print(&reply, |RuleReply { ng_id, rule, .. }| {
        format!("{} in {ng_id} by rule {}\n", sentence(rule, "may no longer begin"), rule.id)
    })
}

/// The id of the rule that says this.
fn find(desk: &Desk, doomed: &Doomed, to: &Party) -> Result<String, Failure> {
    let from: Party = doomed.first.parse().map_err(|error| Failure::usage(format!("{error}"), ""))?;
    let list: RuleList = desk.daemon.get(desk.group_url(&doomed.group, &["rules"]))?;
    let says_so = |rule: &&AccessRule| {
        rule.from == from && rule.to == *to && doomed.traffic.is_none_or(|traffic| rule.traffic == traffic)
    };
    let found: Vec<&AccessRule> = list.rules.iter().filter(says_so).collect();
    let what = format!("from {from} to {to}");
    let hint = format!("`meshctl ng rule list {}` shows them", doomed.group);
    match found.as_slice() {
        [rule] => Ok(rule.id.to_string()),
        [] => Err(Failure::new(Exit::NotFound, format!("{} has no rule {what}", doomed.group), hint)),
        several => {
            let ids: Vec<String> = several.iter().map(|rule| format!("{} ({})", rule.id, rule.traffic)).collect();
            let message = format!("{} rules are {what}: {}", several.len(), ids.join(", "));
            Err(Failure::new(Exit::Conflict, message, hint))
        }
    }
}

fn default(desk: &Desk, group: &str, access: Access) -> Result<String, Failure> {
    let body = UpdateGroup { default_access: Some(access), ..UpdateGroup::default() };
    let reply: GroupReply = desk.daemon.patch(desk.group_url(group, &[]), &body)?;
    desk.form.print(&reply, |reply| {
        let group = &reply.network_group.group;
        format!("What no rule allows in {} ({}): {}\n", group.label, group.id, show::access(group.default_access))
    })
}

fn sentence(rule: &AccessRule, verb: &str) -> String {
    let AccessRule { from, to, traffic, .. } = rule;
    format!("{from} {verb} {traffic} with {to}")
}
