//! Tables of objects: which columns each kind has, the same as Liqo prints where Liqo has the kind.

use jiff::Timestamp;
use mesh_core::model::ObjectKind;
use serde_json::Value;

use super::kind::{GroupKind, Kind};
use crate::table::{cell, render};

/// A column: its header, where a manifest has it (the first of several that does), and whether only wide tables have it.
struct Column {
    header: &'static str,
    pointers: &'static [&'static str],
    is_wide: bool,
}

const fn column(header: &'static str, pointers: &'static [&'static str]) -> Column {
    Column { header, pointers, is_wide: false }
}

const fn wide(header: &'static str, pointers: &'static [&'static str]) -> Column {
    Column { header, pointers, is_wide: true }
}

const NAMESPACE: Column = column("NAMESPACE", &["/metadata/namespace"]);
const NAME: Column = column("NAME", &["/metadata/name"]);
const ORG: Column = column("ORG", &["/metadata/org"]);
const GROUP: Column = column("GROUP", &["/spec/group"]);
const MANAGED_BY: Column = wide("MANAGED BY", &["/status/managedBy"]);
const REMOTE: &str = "/metadata/labels/liqo.io~1remote-cluster-id";
/// The time since then is shown.
const CREATED: &str = "/metadata/creationTimestamp";
const AGE: Column = column("AGE", &[CREATED]);

const ENDPOINT: [Column; 2] = [
    column("IP", &["/status/endpoint/addresses/0", "/spec/endpoint/addresses/0"]),
    column("PORT", &["/status/endpoint/port", "/status/endpoint/ports", "/spec/endpoint/port", "/spec/endpoint/ports"]),
];

/// `now`: seconds since the epoch. In `all` namespaces, each is named.
pub(crate) fn table(kind: Kind, objects: &[Value], is_wide: bool, all: bool, now: i64) -> String {
    let mut columns = columns(kind);
    if matches!(kind, Kind::Cluster(_) | Kind::ConfigMap) && all {
        columns.insert(0, NAMESPACE);
    }
    columns.retain(|column| is_wide || !column.is_wide);
    let row = |object: &Value| columns.iter().map(|column| column.shown(object, now)).collect();
    let rows: Vec<Vec<String>> = objects.iter().map(row).collect();
    render(&columns.iter().map(|column| column.header).collect::<Vec<_>>(), &rows)
}

fn columns(kind: Kind) -> Vec<Column> {
    match kind {
        Kind::Group(kind) => {
            let mut columns = vec![NAME, ORG];
            columns.extend(of_groups(kind));
            columns.push(MANAGED_BY);
            columns
        }
        Kind::Cluster(kind) => {
            let mut columns = vec![NAME];
            columns.extend(of_clusters(kind));
            columns.push(AGE);
            columns
        }
        Kind::ConfigMap => vec![NAME, column("CLUSTER ID", &["/data/CLUSTER_ID"])],
    }
}

fn of_groups(kind: GroupKind) -> Vec<Column> {
    match kind {
        GroupKind::NetworkGroup => vec![
            column("CIDR", &["/spec/cidr"]),
            column("MEMBERS", &["/status/members"]),
            column("PEERS", &["/status/peers"]),
            column("ID", &["/status/id"]),
            wide("ACCESS", &["/spec/defaultAccess"]),
            wide("VERSION", &["/status/version"]),
            wide("DESCRIPTION", &["/spec/description"]),
        ],
        GroupKind::Member => vec![
            GROUP,
            column("KIND", &["/spec/kind"]),
            column("STATUS", &["/status/status"]),
            column("LABEL", &["/spec/label"]),
            wide("DOMAIN", &["/spec/domainName"]),
        ],
        GroupKind::Peer => vec![
            GROUP,
            column("MEMBER", &["/spec/parentMember"]),
            column("ADDRESS", &["/status/address"]),
            column("ENDPOINT", &["/spec/ip"]),
            column("PORT", &["/spec/port"]),
            column("TYPE", &["/spec/type"]),
            wide("NODE", &["/status/hv"]),
            wide("ID", &["/status/id"]),
            wide("KEY", &["/spec/publicKey"]),
        ],
        GroupKind::AccessRule => vec![
            GROUP,
            column("FROM", &["/spec/from"]),
            column("TO", &["/spec/to"]),
            column("TRAFFIC", &["/spec/traffic"]),
        ],
    }
}

fn of_clusters(kind: ObjectKind) -> Vec<Column> {
    let remote = wide("CLUSTERID", &[REMOTE]);
    match kind {
        ObjectKind::Configuration => vec![
            column("DESIRED POD CIDR", &["/spec/remote/cidr/pod"]),
            column("REMAPPED POD CIDR", &["/status/remote/cidr/pod"]),
            wide("DESIRED EXTERNAL CIDR", &["/spec/remote/cidr/external"]),
            wide("REMAPPED EXTERNAL CIDR", &["/status/remote/cidr/external"]),
            remote,
        ],
        ObjectKind::GatewayServer => {
            let [ip, port] = ENDPOINT;
            let template = column("TEMPLATE NAME", &["/spec/serverTemplateRef/name"]);
            let service = wide("SERVICE TYPE", &["/spec/endpoint/serviceType"]);
            vec![template, ip, port, service, wide("MTU", &["/spec/mtu"]), remote]
        }
        ObjectKind::GatewayClient => {
            let [ip, port] = ENDPOINT;
            let template = column("TEMPLATE NAME", &["/spec/clientTemplateRef/name"]);
            vec![template, ip, port, wide("MTU", &["/spec/mtu"]), remote]
        }
        ObjectKind::Connection => vec![
            column("TYPE", &["/spec/type"]),
            column("STATUS", &["/status/value"]),
            wide("LATENCY", &["/status/latency/value"]),
        ],
        ObjectKind::PublicKey => vec![column("CLUSTERID", &[REMOTE]), wide("KEY", &["/spec/publicKey"])],
        ObjectKind::WgGatewayServerTemplate | ObjectKind::WgGatewayClientTemplate => {
            vec![column("OBJECT KIND", &["/spec/objectKind/kind"])]
        }
        ObjectKind::Network => {
            vec![column("DESIRED CIDR", &["/spec/cidr"]), column("REMAPPED CIDR", &["/status/cidr"])]
        }
        ObjectKind::Ip => vec![
            column("LOCAL IP", &["/spec/ip"]),
            column("REMAPPED IP", &["/status/ip"]),
            wide("REMAPPED CIDR", &["/status/cidr"]),
            wide("MASQUERADE", &["/spec/masquerade"]),
        ],
    }
}

impl Column {
    fn shown(&self, object: &Value, now: i64) -> String {
        let found = self.pointers.iter().find_map(|pointer| object.pointer(pointer).filter(|value| !value.is_null()));
        match found {
            Some(Value::String(text)) if self.pointers == [CREATED] => age(text, now),
            Some(value) => one(value),
            None => "-".to_owned(),
        }
    }
}

fn one(value: &Value) -> String {
    match value {
        Value::String(text) => cell(text),
        Value::Array(items) => cell(&items.iter().map(one).collect::<Vec<_>>().join(",")),
        value => value.to_string(),
    }
}

/// As kubectl shows durations: two units at most, fewer the longer it is.
fn age(since: &str, now: i64) -> String {
    let Ok(since) = since.parse::<Timestamp>() else { return "<unknown>".to_owned() };
    let seconds = (now - since.as_second()).max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    let with = |value: i64, unit: &str, rest: i64, small: &str| match rest {
        0 => format!("{value}{unit}"),
        rest => format!("{value}{unit}{rest}{small}"),
    };
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 => with(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => with(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => with(days, "d", hours % 24, "h"),
        _ => format!("{days}d"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn created(seconds: i64) -> String {
        Timestamp::from_second(NOW - seconds).unwrap().to_string()
    }

    #[test]
    fn ages_as_kubectl_shows_them() {
        let cases = [
            (0, "0s"),
            (76, "76s"),
            (119, "119s"),
            (120, "2m"),
            (288, "4m48s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_860, "3h1m"),
            (28_800, "8h"),
            (172_800, "2d"),
            (176_400, "2d1h"),
            (86_400 * 400, "400d"),
            (-5, "0s"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(age(&created(seconds), NOW), expected, "{seconds}");
        }
        assert_eq!(age("yesterday", NOW), "<unknown>");
    }

    fn object(kind: &str, name: &str, seconds: i64, spec: Value, status: Value) -> Value {
        let labels = json!({ "liqo.io/remote-cluster-id": "cl02" });
        let metadata = json!({
            "namespace": "liqo-tenant-cl02", "name": name, "labels": labels, "creationTimestamp": created(seconds),
        });
        json!({ "kind": kind, "metadata": metadata, "spec": spec, "status": status })
    }

    /// LQ-03, LQ-07, LQ-09: columns and cells of Liqo's documentation.
    #[test]
    fn tables_as_liqo_prints_them() {
        let shown = |kind: ObjectKind, object: &Value| {
            let text = table(Kind::Cluster(kind), std::slice::from_ref(object), false, true, NOW);
            let row = |line: &str| {
                let cells = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
                cells.collect::<Vec<_>>().join("|")
            };
            text.lines().map(row).collect::<Vec<_>>().join("\n")
        };
        let endpoint = json!({ "addresses": ["172.19.0.8"], "port": 32_009, "protocol": "UDP" });
        let client = json!({ "clientTemplateRef": { "name": "wireguard-client" }, "endpoint": endpoint });
        let client = object("GatewayClient", "cl02", 28, client, json!({}));
        let expected =
            "NAMESPACE|NAME|TEMPLATE NAME|IP|PORT|AGE\nliqo-tenant-cl02|cl02|wireguard-client|172.19.0.8|32009|28s";
        assert_eq!(shown(ObjectKind::GatewayClient, &client), expected);
        let server = json!({ "serverTemplateRef": { "name": "wireguard-server" }, "endpoint": { "port": 51_840 } });
        let server = object("GatewayServer", "cl01", 69, server, json!({ "endpoint": endpoint }));
        let expected =
            "NAMESPACE|NAME|TEMPLATE NAME|IP|PORT|AGE\nliqo-tenant-cl02|cl01|wireguard-server|172.19.0.8|32009|69s";
        assert_eq!(shown(ObjectKind::GatewayServer, &server), expected);
        let connection =
            object("Connection", "gw-cl02", 76, json!({ "type": "Client" }), json!({ "value": "Connected" }));
        let expected = "NAMESPACE|NAME|TYPE|STATUS|AGE\nliqo-tenant-cl02|gw-cl02|Client|Connected|76s";
        assert_eq!(shown(ObjectKind::Connection, &connection), expected);
        let cidr = |pod: Value| json!({ "remote": { "cidr": { "pod": pod, "external": "10.70.0.0/16" } } });
        let spec = cidr(json!("10.243.0.0/16"));
        let configuration = object("Configuration", "cl02", 288, spec, cidr(json!(["10.71.0.0/16"])));
        let expected = "NAMESPACE|NAME|DESIRED POD CIDR|REMAPPED POD CIDR|AGE\n\
                        liqo-tenant-cl02|cl02|10.243.0.0/16|10.71.0.0/16|4m48s";
        assert_eq!(shown(ObjectKind::Configuration, &configuration), expected);
        let wide = table(Kind::Cluster(ObjectKind::Configuration), &[configuration], true, false, NOW);
        assert!(wide.starts_with("NAME ") && wide.contains("REMAPPED EXTERNAL CIDR") && wide.contains("CLUSTERID"));
    }
}
