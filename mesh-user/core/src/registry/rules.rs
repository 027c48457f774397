//! What the settings of the node that has the store say about all network groups.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::{Author, MemberSpec, Refusal};
use crate::model::group::{DomainName, GroupId, Member, MemberId, MemberKind, MemberStatus};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Domains that the names of members lie in; names that nobody chose lie in the first.
    pub suffixes: Vec<DomainName>,
    /// Where the CIDRs of groups come from, the first before the second.
    pub pool: Vec<IpNet>,
    /// Of a group's CIDR where nobody says it, as of IPv4: 16 to 28. With IPv6 it is 96 more.
    pub prefix_length: u8,
    /// How an id begins, and what kind of member it is then.
    pub kinds: BTreeMap<String, MemberKind>,
    /// What no group's CIDR may overlap, and whose it is: prefixes of clusters, routes of the host.
    pub taken: Vec<(IpNet, String)>,
    /// How long a node lives without a word of it.
    pub lease_seconds: u32,
}

/// The prefixes of ids that are known without settings.
const KINDS: [(&str, MemberKind); 7] = [
    ("app_", MemberKind::Application),
    ("elasticsearch_", MemberKind::Addon),
    ("mongodb_", MemberKind::Addon),
    ("mysql_", MemberKind::Addon),
    ("postgresql_", MemberKind::Addon),
    ("redis_", MemberKind::Addon),
    (MemberId::EXTERNAL, MemberKind::External),
];
/// An add-on's other id, which is no member's.
const LEGACY: &str = "addon_";

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            suffixes: vec!["cc-ng.cloud".parse().expect("a domain name")],
            pool: vec!["10.0.0.0/8".parse().expect("a CIDR")],
            prefix_length: 16,
            kinds: KINDS.into_iter().map(|(prefix, kind)| (prefix.to_owned(), kind)).collect(),
            taken: Vec::new(),
            lease_seconds: 60,
        }
    }
}

impl Rules {
    /// The member that is asked for; `path` leads to its fields.
    pub(super) fn member(
        &self,
        group: &GroupId,
        spec: &MemberSpec,
        author: Author,
        path: &str,
    ) -> Result<Member, Refusal> {
        let kind = self.kind(&spec.id, spec.kind, path)?;
        let domain_name = match &spec.domain_name {
            Some(name) => self.chosen_name(group, &spec.id, name, path)?,
            None => self.default_name(group, &spec.id),
        };
        if let Some(label) = &spec.label {
            plain_text(&format!("{path}label"), "label", label, 255)?;
        }
        let (id, label) = (spec.id.clone(), spec.label.clone());
        let status = MemberStatus::Active;
        Ok(Member { id, label, domain_name, kind, status, managed_by: author, made_with_peer: false })
    }

    /// `<member>.m.<group>.<first suffix>`
    pub fn default_name(&self, group: &GroupId, member: &MemberId) -> DomainName {
        let suffix = self.suffixes.first().map_or("invalid", DomainName::as_str);
        let name = format!("{member}.m.{group}.{suffix}");
        name.parse().expect("ids consist of what a domain name may, and a suffix is checked for its length")
    }

    fn kind(&self, id: &MemberId, kind: Option<MemberKind>, path: &str) -> Result<MemberKind, Refusal> {
        let path = format!("{path}id");
        if id.as_str().starts_with(LEGACY) {
            let hint = "give the id that names the product, such as postgresql_..., mysql_... or redis_...: an add-on \
                        has both";
            return Err(Refusal::invalid(path, format!("{id} is the legacy id of an add-on"), hint));
        }
        if id.as_str().starts_with(GroupId::PREFIX) {
            let hint = "the member comes first, then the group";
            return Err(Refusal::invalid(path, format!("{id} is the id of a network group"), hint));
        }
        let known = self.kinds.iter().rev().find(|(prefix, _)| id.as_str().starts_with(prefix.as_str()));
        kind.or(known.map(|(_, kind)| *kind)).ok_or_else(|| {
            let prefixes: Vec<&str> = self.kinds.keys().map(String::as_str).collect();
            let hint = format!("begin it with one of {}, or say its kind (--kind)", prefixes.join(", "));
            Refusal::invalid(path, format!("the id {id} does not tell what kind of member it is"), hint)
        })
    }

    /// A name below an allowed suffix that no other member has by itself.
    fn chosen_name(
        &self,
        group: &GroupId,
        member: &MemberId,
        name: &DomainName,
        path: &str,
    ) -> Result<DomainName, Refusal> {
        let path = format!("{path}domainName");
        let below = |suffix: &DomainName| name.as_str().strip_suffix(suffix.as_str())?.strip_suffix('.');
        let Some(own) = self.suffixes.iter().find_map(below) else {
            let suffixes: Vec<&str> = self.suffixes.iter().map(DomainName::as_str).collect();
            let hint = format!("give a name below one of {}", suffixes.join(", "));
            return Err(Refusal::invalid(path, format!("{name} is below no allowed suffix"), hint));
        };
        let default = format!("{member}.m.{group}").to_ascii_lowercase();
        let generated = own.rsplit('.').nth(1).is_some_and(|label| label == "m" || label == "p");
        if generated && own != default {
            let message = format!("{name} is what another member or peer may be called");
            return Err(Refusal::invalid(path, message, "names NAME.m.GROUP and NAME.p.GROUP are given by the system"));
        }
        Ok(name.clone())
    }
}

/// One line of 1 to `most` characters.
pub(super) fn plain_text(path: &str, noun: &str, text: &str, most: usize) -> Result<(), Refusal> {
    let count = text.chars().count();
    if (1..=most).contains(&count) && !text.chars().any(char::is_control) {
        return Ok(());
    }
    let message = format!("the {noun} is empty, longer than {most} characters, or holds control characters");
    Err(Refusal::invalid(path, message, format!("give 1 to {most} printable characters")))
}
