//! `meshctl ng`: network groups. One file per verb or pair of verbs; how objects are shown stands in [`show`].
//!
//! The letters are Clever's: `-o` is the org here, `-F` the form of the output.

mod block;
mod config;
mod create;
mod delete;
mod external;
mod get;
mod join;
mod link;
mod list;
mod report;
mod rule;
mod search;
mod show;
mod update;
mod watch;
mod whoami;

use clap::{Args, Subcommand};
use mesh_client::Url;
use mesh_core::model::group::Org;

use crate::{
    daemon::{Daemon, Endpoint},
    exit::Failure,
    output::{Form, Format},
};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Owner of the groups [default: the context's, else `default`]
    #[arg(short, long, visible_alias = "owner", global = true)]
    org: Option<Org>,
    /// Form of the output
    #[arg(short = 'F', long, value_enum, global = true, default_value_t)]
    pub(crate) format: Format,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// The groups of an org; `meshctl ng` alone does the same
    List,
    /// Makes a group, or (`create external`) a peer that any WireGuard can be
    Create(create::Arguments),
    /// Changes a group's description, tags or default access
    Update(update::Arguments),
    /// Deletes a group, or (`delete external`) an external peer
    Delete(delete::Arguments),
    /// Makes a member of a group
    Link(link::LinkArguments),
    /// Takes a member out of a group
    Unlink(link::UnlinkArguments),
    /// A group, member or peer by its exact id or label
    Get(get::Arguments),
    /// Groups, members and peers whose id, label, tag, name or address holds a text
    Search(search::Arguments),
    /// The WireGuard configuration of a peer
    GetConfig(config::Arguments),
    /// Makes this node a peer of a group
    Join(join::JoinArguments),
    /// Ends what `join` began
    Leave(join::LeaveArguments),
    /// The peers that this node is
    Whoami,
    /// Every change as it happens, until it is interrupted
    Watch(watch::Arguments),
    /// Who may talk with whom inside a group
    #[command(subcommand)]
    Rule(rule::Verb),
    /// Whether what a member stands for is there still
    Status(report::Arguments),
    /// Closes a member to everything but its groups; without MEMBER: which ones are
    Block(block::BlockArguments),
    /// Opens it again
    Unblock(block::UnblockArguments),
}

/// Where a verb does its work: a daemon, the org that is meant, and the form of the answer.
#[derive(Debug)]
struct Desk {
    daemon: Daemon,
    org: Org,
    form: Form,
}

impl Desk {
    /// Below the org.
    fn url(&self, segments: &[&str]) -> Url {
        let org = Url::new("/v1/orgs").segment(self.org.as_str());
        segments.iter().fold(org, |url, segment| url.segment(segment))
    }

    /// Below a group, by id or label.
    fn group_url(&self, group: &str, segments: &[&str]) -> Url {
        segments.iter().fold(self.url(&["networkgroups", group]), |url, segment| url.segment(segment))
    }
}

pub(crate) fn run(endpoint: &Endpoint, arguments: &Arguments) -> Result<String, Failure> {
    let verb = arguments.verb.as_ref().unwrap_or(&Verb::List);
    let daemon = match verb {
        Verb::Join(_) | Verb::Leave(_) | Verb::Whoami => endpoint.node()?,
        _ => endpoint.daemon()?,
    };
    let org = arguments.org.clone().unwrap_or_else(|| daemon.org.clone());
    let desk = Desk { daemon, org, form: arguments.format.form() };
    dispatch(&desk, verb).map_err(|failure| {
        if failure.error.code != "not_found" || failure.error.hint.contains("--org") {
            return failure;
        }
        failure.and_hint(&format!("this was asked of org {}, --org asks another", desk.org))
    })
}

fn dispatch(desk: &Desk, verb: &Verb) -> Result<String, Failure> {
    match verb {
        Verb::List => list::run(desk),
        Verb::Create(arguments) => create::run(desk, arguments),
        Verb::Update(arguments) => update::run(desk, arguments),
        Verb::Delete(arguments) => delete::run(desk, arguments),
        Verb::Link(arguments) => link::link(desk, arguments),
        Verb::Unlink(arguments) => link::unlink(desk, arguments),
        Verb::Get(arguments) => get::run(desk, arguments),
        Verb::Search(arguments) => search::run(desk, arguments),
        Verb::GetConfig(arguments) => config::run(desk, arguments),
        Verb::Join(arguments) => join::join(desk, arguments),
        Verb::Leave(arguments) => join::leave(desk, arguments),
        Verb::Whoami => whoami::run(desk),
        Verb::Watch(arguments) => watch::run(desk, arguments),
        Verb::Rule(verb) => rule::run(desk, verb),
        Verb::Status(arguments) => report::run(desk, arguments),
        Verb::Block(arguments) => block::block(desk, arguments),
        Verb::Unblock(arguments) => block::unblock(desk, arguments),
    }
}
