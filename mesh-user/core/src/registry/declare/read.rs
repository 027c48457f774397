//! From the texts of manifests to declarations, with every problem of every field.

use std::{net::IpAddr, str::FromStr};

use serde_json::{Map, Value};

use super::{Declaration, Declared, GroupSpec, kind};
use crate::{
    model::{
        API_VERSION, GROUPS_API_VERSION, Manifest, ObjectName, Place, Problems,
        document::{api_version, values},
        group::{Access, Label, MemberId, NotAllowed, Org, PeerKind, PeerRole},
        tree::{Fields, Sink},
    },
    plan::PublicKey,
    registry::{MemberSpec, PeerSpec},
};

impl Declaration {
    /// Everything that the manifests declare of network groups; what names no org is of `org`. Other kinds are read by
    /// [`crate::registry::Proposal`].
    pub fn read_all(manifests: &[Manifest], org: &Org) -> Result<Vec<Declaration>, Problems> {
        let mut problems = Problems::default();
        let mut declarations = Vec::new();
        for Manifest { file, text } in manifests.iter().filter(|manifest| may_declare(&manifest.text)) {
            for value in values(file, text, &mut problems) {
                if api_version(&value) == Some(GROUPS_API_VERSION) {
                    declarations.extend(read(file, &value, org, &mut problems));
                }
            }
        }
        problems.or(declarations)
    }
}

/// A directory may hold hundreds of connections, and to read a text costs far more than to look for a word in it: what
/// speaks of connections alone is read by who wants those. An escape could stand for any letter.
fn may_declare(text: &str) -> bool {
    !text.contains(API_VERSION) || text.contains(GROUPS_API_VERSION) || text.contains('\\')
}

/// `None`: it has problems.
fn read(file: &str, value: &Value, org: &Org, problems: &mut Problems) -> Option<Declaration> {
    let root = value.as_object()?;
    let place = Place { file: file.to_owned(), object: Some(object_name(root, org)) };
    let sink = Sink::new(place.clone());
    let declaration = declaration(root, org, place, &sink);
    let found = sink.into_problems().0;
    let clean = found.is_empty();
    problems.0.extend(found);
    declaration.filter(|_| clean)
}

/// As far as it can be told, to say where a problem is.
fn object_name(root: &Map<String, Value>, org: &Org) -> ObjectName {
    let of_metadata = |field: &str| root.get("metadata")?.get(field)?.as_str().map(str::to_owned);
    ObjectName {
        kind: root.get("kind").and_then(Value::as_str).unwrap_or("object").to_owned(),
        namespace: of_metadata("org").unwrap_or_else(|| org.to_string()),
        name: of_metadata("name").unwrap_or_default(),
    }
}

fn declaration(root: &Map<String, Value>, org: &Org, place: Place, sink: &Sink) -> Option<Declaration> {
    let mut root = Fields::new(root, "", sink);
    root.ignore(&["apiVersion", "status"]);
    let kind = root.text("kind").and_then(|kind| kind::ALL.into_iter().find(|known| *known == kind));
    if kind.is_none() {
        root.report("kind", "missing or not known", format!("write one of {}", kind::ALL.join(", ")));
    }
    let metadata = root.required_section("metadata").and_then(|metadata| Metadata::read(metadata, kind, org));
    // A group needs nothing but its name.
    let empty = Map::new();
    let spec = if kind == Some(kind::GROUP) && root.is_absent("spec") {
        root.ignore(&["spec"]);
        Some(Fields::new(&empty, "spec", sink))
    } else {
        root.required_section("spec")
    };
    let (metadata, mut spec) = (metadata?, spec?);
    let declared = metadata.declared(&mut spec);
    spec.finish();
    root.finish();
    Some(Declaration { place, org: metadata.org, declared: declared?, path: "spec".to_owned() })
}

/// The name as what it is for each kind.
enum Name {
    Group(Label),
    Member(MemberId),
    Peer(Label),
    Rule(crate::model::group::RuleId),
}

struct Metadata {
    org: Org,
    name: Name,
}

impl Metadata {
    fn read(mut fields: Fields<'_>, kind: Option<&str>, org: &Org) -> Option<Metadata> {
        fields.ignore(&["annotations", "labels"]);
        let org = if fields.is_absent("org") { Some(org.clone()) } else { None };
        let org = org.or_else(|| parsed(&mut fields, "org"));
        let name = match kind {
            Some(kind::GROUP) => required(&mut fields, "name").map(Name::Group),
            Some(kind::MEMBER) => required(&mut fields, "name").map(Name::Member),
            Some(kind::PEER) => required(&mut fields, "name").map(Name::Peer),
            Some(_) => required(&mut fields, "name").map(Name::Rule),
            None => None,
        };
        fields.ignore(&["org", "name"]);
        fields.finish();
        Some(Metadata { org: org?, name: name? })
    }

    fn declared(&self, spec: &mut Fields<'_>) -> Option<Declared> {
        match &self.name {
            Name::Group(label) => Some(Declared::Group(group(spec, label))),
            Name::Member(id) => {
                let group = required(spec, "group");
                let member = member(spec, id.clone());
                Some(Declared::Member { group: group?, member })
            }
            Name::Peer(label) => peer(spec, label),
            Name::Rule(id) => {
                let (group, from, to) = (required(spec, "group"), required(spec, "from"), required(spec, "to"));
                let traffic = required(spec, "traffic");
                Some(Declared::Rule { group: group?, id: id.clone(), from: from?, to: to?, traffic: traffic? })
            }
        }
    }
}

fn group(spec: &mut Fields<'_>, label: &Label) -> GroupSpec {
    let mut tags = std::collections::BTreeSet::new();
    for text in spec.texts("tags") {
        match text.parse() {
            Ok(tag) => drop(tags.insert(tag)),
            Err(error) => report(spec, "tags", &error),
        }
    }
    let mut cidrs = spec.cidrs("cidr");
    if cidrs.len() > 1 {
        spec.report("cidr", "more than one", "a group has one CIDR");
    }
    let prefix_length = spec.number("prefixLength", 1..=128).and_then(|length| u8::try_from(length).ok());
    let default_access = match spec.text("defaultAccess") {
        None | Some("allow") => Access::Allow,
        Some("deny") => Access::Deny,
        Some(other) => {
            spec.report("defaultAccess", format!("{other:?} is not known"), "write allow or deny");
            Access::Allow
        }
    };
    GroupSpec {
        label: label.clone(),
        description: spec.text("description").map(str::to_owned).filter(|text| !text.is_empty()),
        tags,
        cidr: cidrs.pop(),
        prefix_length,
        default_access,
        members: members(spec),
    }
}

/// A list of ids, and of mappings with an id.
fn members(spec: &mut Fields<'_>) -> Vec<MemberSpec> {
    let mut members = Vec::new();
    for (path, value) in spec.items("members") {
        let id = |text: &str| {
            let id = text.parse::<MemberId>();
            id.map_err(|error| spec.report_at(&path, error.to_string(), "write a member id, such as app_...")).ok()
        };
        match value {
            Value::String(text) => {
                let id = id(text);
                members.extend(id.map(|id| MemberSpec { id, label: None, kind: None, domain_name: None }));
            }
            Value::Object(fields) => {
                let mut fields = spec.within(fields, &path);
                let id = required(&mut fields, "id");
                members.extend(id.map(|id| member(&mut fields, id)));
                fields.finish();
            }
            _ => spec.report_at(&path, "neither an id nor a mapping", "write a member id, such as app_..."),
        }
    }
    members
}

fn member(fields: &mut Fields<'_>, id: MemberId) -> MemberSpec {
    let (kind, domain_name) = (parsed(fields, "kind"), parsed(fields, "domainName"));
    MemberSpec { id, label: fields.text("label").map(str::to_owned), kind, domain_name }
}

fn peer(spec: &mut Fields<'_>, label: &Label) -> Option<Declared> {
    let kind = parsed(spec, "type").unwrap_or(PeerKind::ExternalPeer);
    let group = required(spec, "group");
    let public_key = required::<PublicKey>(spec, "publicKey");
    let role = parsed(spec, "role").unwrap_or(PeerRole::Client);
    let ip: Option<IpAddr> = parsed(spec, "ip");
    let peer = PeerSpec {
        id: None,
        kind,
        label: Some(label.clone()),
        parent_member: parsed(spec, "parentMember"),
        role,
        ip,
        port: spec.number("port", 1..=u16::MAX),
        hostname: spec.text("hostname").map(str::to_owned),
        parent_event: spec.text("parentEvent").map(str::to_owned),
        hv: None,
        address: None,
        public_key: public_key?,
    };
    Some(Declared::Peer { group: group?, peer })
}

fn required<T: FromStr<Err: std::fmt::Display>>(fields: &mut Fields<'_>, field: &'static str) -> Option<T> {
    if fields.is_absent(field) {
        fields.ignore(&[field]);
        fields.report(field, "missing", "add it");
        return None;
    }
    parsed(fields, field)
}

fn parsed<T: FromStr<Err: std::fmt::Display>>(fields: &mut Fields<'_>, field: &'static str) -> Option<T> {
    let text = fields.text(field)?;
    text.parse().map_err(|error| fields.report(field, format!("{error}"), "correct it")).ok()
}

fn report(fields: &Fields<'_>, field: &str, error: &NotAllowed) {
    fields.report(field, error.to_string(), "correct it");
}
