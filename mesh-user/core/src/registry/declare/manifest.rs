//! Objects in the form in which they can be declared.

use serde_json::{Value, json};

use super::kind;
use crate::{
    model::{
        GROUPS_API_VERSION,
        group::{AccessRule, Endpoint, Label, Member, Peer},
    },
    registry::Group,
};

/// `status` holds what cannot be declared.
impl Group {
    pub fn manifest(&self) -> Value {
        let own = &*self.group;
        let spec = json!({
            "description": own.description, "tags": own.tags, "cidr": own.network_ip, "defaultAccess": own.default_access,
        });
        let status = json!({
            "id": own.id, "scope": own.scope, "version": own.version, "managedBy": own.managed_by,
            "members": self.members.len(), "peers": self.peers.len(),
        });
        self.frame(kind::GROUP, own.label.as_str(), spec, status)
    }

    pub fn member_manifest(&self, member: &Member) -> Value {
        let spec = json!({
            "group": self.group.label, "label": member.label, "kind": member.kind, "domainName": member.domain_name,
        });
        let status = json!({ "status": member.status, "managedBy": member.managed_by });
        self.frame(kind::MEMBER, member.id.as_str(), spec, status)
    }

    pub fn peer_manifest(&self, peer: &Peer) -> Value {
        let public = peer.endpoint.public();
        let role = match &peer.endpoint {
            Endpoint::ServerEndpoint(_) => "SERVER",
            Endpoint::ClientEndpoint(_) => "CLIENT",
        };
        let spec = json!({
            "group": self.group.label, "type": peer.kind, "parentMember": peer.parent_member, "role": role,
            "publicKey": peer.public_key, "ip": public.map(|term| term.host), "port": public.map(|term| term.port),
            "hostname": peer.hostname, "parentEvent": peer.parent_event,
        });
        let status = json!({
            "id": peer.id, "address": peer.endpoint.address(), "hv": peer.hv, "managedBy": peer.managed_by,
        });
        self.frame(kind::PEER, peer.label.as_ref().map_or(peer.id.as_str(), Label::as_str), spec, status)
    }

    pub fn rule_manifest(&self, rule: &AccessRule) -> Value {
        let spec = json!({ "group": self.group.label, "from": rule.from, "to": rule.to, "traffic": rule.traffic });
        self.frame(kind::RULE, rule.id.as_str(), spec, json!({ "managedBy": rule.managed_by }))
    }

    fn frame(&self, kind: &str, name: &str, mut spec: Value, mut status: Value) -> Value {
        for part in [&mut spec, &mut status] {
            if let Value::Object(fields) = part {
                fields.retain(|_, value| !value.is_null());
            }
        }
        let metadata = json!({ "name": name, "org": self.group.owner_id });
        json!({ "apiVersion": GROUPS_API_VERSION, "kind": kind, "metadata": metadata, "spec": spec, "status": status })
    }
}
