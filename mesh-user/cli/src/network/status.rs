//! `network status`: one line for each connection of this cluster.

use mesh_core::model::ObjectKind;
use serde_json::{Value, json};

use super::{
    cluster::Cluster,
    reading::{broken, is_about, nets, text},
};
use crate::{
    exit::{Exit, Failure},
    output::Output,
    table::{bytes, cell, render},
};

const HEADER: [&str; 10] =
    ["PEER", "ROLE", "STATUS", "ENDPOINT", "LATENCY", "RECEIVED", "SENT", "REMAP", "MTU", "DETAIL"];

/// Of all remotes, or of those that are named.
pub(crate) fn run(cluster: &dyn Cluster, remotes: &[String], output: Output) -> Result<String, Failure> {
    let mut connections = cluster.list(ObjectKind::Connection)?;
    if let Some(missing) = remotes.iter().find(|remote| !connections.iter().any(|object| is_about(object, remote))) {
        let message = format!("there is no connection to {missing}");
        return Err(Failure::new(Exit::NotFound, message, "`meshctl network status` lists all"));
    }
    connections.retain(|object| remotes.is_empty() || remotes.iter().any(|remote| is_about(object, remote)));
    let reply = json!({ "schema": mesh_core::api::group::SCHEMA, "connections": connections });
    output.form().print(&reply, |_| match output {
        Output::Name => connections.iter().map(|object| format!("{}\n", peer(object))).collect(),
        _ if connections.is_empty() => "No connections. `meshctl network connect` makes one.\n".to_owned(),
        Output::Table | Output::Wide | Output::Json | Output::Yaml => {
            let mut table = render(&HEADER, &connections.iter().map(row).collect::<Vec<_>>());
            if output == Output::Wide {
                connections.iter().for_each(|object| table += &history(object));
            }
            table
        }
    })
}

fn peer(connection: &Value) -> &str {
    let id = text(connection, "/status/remoteClusterID");
    if id.is_empty() { text(connection, "/metadata/name") } else { id }
}

fn row(connection: &Value) -> Vec<String> {
    let shown = |pointer: &str| cell(text(connection, pointer));
    let number = |pointer: &str| connection.pointer(pointer).and_then(Value::as_u64);
    let traffic = |way: &str| {
        let count = |what: &str| number(&format!("/status/{way}{what}"));
        count("Bytes").map_or_else(|| "-".to_owned(), bytes)
    };
    let remap = connection.pointer("/status/remap").and_then(Value::as_array);
    let remap =
        remap.into_iter().flatten().map(|pair| format!("{}->{}", text(pair, "/real"), text(pair, "/presented")));
    let remap: Vec<String> = remap.collect();
    let mtu = match (number("/status/mtu"), number("/status/pathMtu")) {
        (Some(mtu), Some(path)) if path < mtu => format!("{mtu} (path carries {path})"),
        (Some(mtu), _) => mtu.to_string(),
        (None, _) => "-".to_owned(),
    };
    let mut why = broken(connection);
    why.extend(nets(connection.pointer("/status/detail")).into_iter().filter(|text| !text.is_empty()));
    vec![
        peer(connection).to_owned(),
        shown("/spec/type"),
        shown("/status/value"),
        shown("/status/endpoint"),
        shown("/status/latency/value"),
        traffic("rx"),
        traffic("tx"),
        cell(&remap.join(", ")),
        mtu,
        cell(&why.join("; ")),
    ]
}

/// What changed last, the newest at the end.
fn history(connection: &Value) -> String {
    let changes = connection.pointer("/status/history").and_then(Value::as_array);
    let rows: Vec<Vec<String>> = changes
        .into_iter()
        .flatten()
        .map(|change| {
            ["/time", "/condition", "/from", "/to", "/reason"].map(|field| cell(text(change, field))).to_vec()
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    format!("\n{}\n{}", peer(connection), render(&["TIME", "CONDITION", "FROM", "TO", "REASON"], &rows))
}
