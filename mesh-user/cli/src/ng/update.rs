//! `meshctl ng update`: what of a group can change.

use std::collections::BTreeSet;

use clap::Args;
use mesh_core::{
    api::group::{GroupReply, UpdateGroup},
    model::group::{Access, Tag},
};

use super::{Desk, show};
use crate::exit::Failure;

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
pub(crate) struct Arguments {
    /// Id or label
    #[arg(value_name = "GROUP")]
    group: String,
    /// Empty: it has none
    #[arg(long, value_name = "TEXT", group = "change")]
    description: Option<String>,
    /// All of them; empty: it has none
    #[arg(long, value_name = "TAG,..", group = "change", value_parser = tags)]
    tags: Option<BTreeSet<Tag>>,
    #[arg(long, value_name = "allow|deny", group = "change", value_parser = access)]
    default_access: Option<Access>,
}

pub(super) fn run(desk: &Desk, arguments: &Arguments) -> Result<String, Failure> {
    let Arguments { group, description, tags, default_access } = arguments;
    let body = UpdateGroup { description: description.clone(), tags: tags.clone(), default_access: *default_access };
    let reply: GroupReply = desk.daemon.patch(desk.group_url(group, &[]), &body)?;
    desk.form.print(&reply, |reply| show::group(&reply.network_group))
}

pub(super) fn access(text: &str) -> Result<Access, String> {
    match text.to_ascii_lowercase().as_str() {
        "allow" => Ok(Access::Allow),
        "deny" => Ok(Access::Deny),
        _ => Err("allow or deny".to_owned()),
    }
}

fn tags(text: &str) -> Result<BTreeSet<Tag>, String> {
    let tags = text.split(',').filter(|tag| !tag.is_empty());
    tags.map(|tag| tag.parse().map_err(|error| format!("{error}"))).collect()
}
