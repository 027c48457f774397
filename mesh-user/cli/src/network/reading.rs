//! How what a daemon says of objects is read.

use std::fmt;

use serde_json::Value;

use crate::manifest::REMOTE_LABEL;

/// The object is about this remote cluster. A Connection need not carry the label: it is called like the cluster.
pub(crate) fn is_about(object: &Value, remote: &str) -> bool {
    let label = object.pointer("/metadata/labels").and_then(|labels| labels.get(REMOTE_LABEL));
    let stated = label.or_else(|| object.pointer("/status/remoteClusterID"));
    stated.or_else(|| object.pointer("/metadata/name")).and_then(Value::as_str) == Some(remote)
}

pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// `namespace/name`.
pub(crate) fn name(object: &Value) -> String {
    format!("{}/{}", text(object, "/metadata/namespace"), text(object, "/metadata/name"))
}

/// What is said of an object as it is now: `None` as long as only an older one was judged.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<Condition<'a>> {
    let generation = object.pointer("/metadata/generation").and_then(Value::as_u64).unwrap_or(0);
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array)?;
    let found = conditions.iter().find(|condition| text(condition, "/type") == kind)?;
    let observed = found.get("observedGeneration").and_then(Value::as_u64).unwrap_or(generation);
    let [status, reason, message] = ["/status", "/reason", "/message"].map(|pointer| text(found, pointer));
    (observed >= generation).then_some(Condition {
        is_true: status == "True",
        is_false: status == "False",
        reason,
        message,
    })
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Condition<'a> {
    pub(crate) is_true: bool,
    pub(crate) is_false: bool,
    pub(crate) reason: &'a str,
    pub(crate) message: &'a str,
}

impl Condition<'_> {
    /// It is false, and will not become true by itself: what is said must be changed.
    pub(crate) fn is_final(&self) -> bool {
        self.is_false && matches!(self.reason, "Refused" | "NoAddress")
    }
}

/// Where a gateway server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) addresses: Vec<String>,
    pub(crate) ports: Vec<u16>,
}

impl Reached {
    /// Of `status.endpoint`.
    pub(crate) fn read(gateway: &Value) -> Option<Reached> {
        let endpoint = gateway.pointer("/status/endpoint")?;
        let addresses: Vec<String> = nets(endpoint.get("addresses"));
        let port = |value: &Value| value.as_u64().and_then(|port| u16::try_from(port).ok());
        let ports = match endpoint.get("ports").and_then(Value::as_array) {
            Some(ports) => ports.iter().filter_map(port).collect(),
            None => endpoint.get("port").and_then(port).into_iter().collect::<Vec<_>>(),
        };
        (!addresses.is_empty() && !ports.is_empty()).then_some(Reached { addresses, ports })
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ports: Vec<String> = self.ports.iter().map(u16::to_string).collect();
        write!(f, "{}, UDP port {}", self.addresses.join(", "), ports.join(", "))
    }
}

/// A text, or the texts of a list.
pub(crate) fn nets(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(net)) => vec![net.clone()],
        Some(Value::Array(nets)) => nets.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// The conditions of a connection that do not hold, with what they say.
pub(crate) fn broken(connection: &Value) -> Vec<String> {
    let conditions = connection.pointer("/status/conditions").and_then(Value::as_array);
    let conditions = conditions.into_iter().flatten().filter(|condition| text(condition, "/status") == "False");
    conditions.map(|condition| format!("{}: {}", text(condition, "/type"), text(condition, "/message"))).collect()
}

pub(super) fn label<'a>(object: &'a Value, name: &str) -> &'a str {
    let labels = object.pointer("/metadata/labels").and_then(|labels| labels.get(name));
    labels.and_then(Value::as_str).unwrap_or_default()
}

/// Everything that `wanted` says, `there` says too.
pub(super) fn covers(there: &Value, wanted: &Value) -> bool {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => {
            wanted.iter().all(|(field, value)| there.get(field).is_some_and(|there| covers(there, value)))
        }
        (Value::Array(there), Value::String(_)) => there.len() == 1 && covers(&there[0], wanted),
        _ => there == wanted,
    }
}
