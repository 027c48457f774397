//! `[[instance]]`: what runs on this node as a member of network groups.

use std::path::PathBuf;

use super::{file::InstanceSection, reading::Reading};
use crate::model::group::{MemberId, Org};

/// One peer of each group that the member is linked to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instance {
    pub org: Org,
    pub member: MemberId,
    /// The network namespace that its tunnels are put in; `None`: the daemon's own.
    pub netns: Option<PathBuf>,
}

impl Reading<'_> {
    /// `org` is the node's, for those that do not say theirs.
    pub(super) fn instances(&mut self, sections: &[InstanceSection], org: &Org) -> Vec<Instance> {
        let mut instances: Vec<Instance> = Vec::new();
        for section in sections {
            if let Some(netns) = section.netns.as_ref().filter(|netns| !netns.get_ref().is_absolute()) {
                let hint = "write the whole path, such as /run/netns/x";
                let message = format!("{} is no absolute path", netns.get_ref().display());
                self.refuse(netns, "instance.netns", message, hint);
            }
            let own = match &section.org {
                Some(text) => self.parse(text, "instance.org", "write the name of an org"),
                None => Some(org.clone()),
            };
            let hint = "write the id of the member, such as app_... or postgresql_...";
            let member = self.parse(&section.member, "instance.member", hint);
            let (Some(org), Some(member)) = (own, member) else { continue };
            let instance = Instance { org, member, netns: section.netns.as_ref().map(|netns| netns.get_ref().clone()) };
            if instances.contains(&instance) {
                let message = format!("{} stands twice with the same network namespace", instance.member);
                self.refuse(&section.member, "instance.member", message, "give each instance a namespace of its own");
            }
            instances.push(instance);
        }
        instances
    }
}
