//! LQ-76: what is shown can be read by Prometheus, has Liqo's names, and is what the documents ask for.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use super::*;

/// One sample as the text format says it, read without a look at how it is written.
#[derive(Debug, PartialEq)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

fn status() -> Status {
    let json = serde_json::json!({
        "schema": 1, "version": "0.1.0", "cluster": "cl01", "public_key": "k",
        "interfaces": [{"name": "pods0", "role": "workload", "wanted": "auto", "hook": "tcx", "why": "", "packets": 1, "bytes": 2}],
        "connections": [{
            "name": "default/b", "remote": "b\"\\\n2", "kind": "Client", "state": "Connected", "latency_us": 420, "detail": "",
            "device": "mesh-b", "endpoint": null, "listen_port": 1, "handshake_age_s": 7, "rx_bytes": 10, "tx_bytes": 20,
            "rx_packets": 1, "tx_packets": 2, "mtu": 1340, "path_mtu": 1300,
            "lanes": [{"gateway": "k", "port": 51840, "shard": 0, "state": "Live", "endpoint": null, "handshake_age_s": 7, "rx_bytes": 10,
                "tx_bytes": 20, "rx_packets": 1, "tx_packets": 2}],
            "conditions": [{"type": "DataPath", "status": "False", "observedGeneration": 0,
                "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "NotForwardedThere", "message": "m"}],
        }],
        "remaps": [{"connection": "default/b", "real": "10.0.0.0/16", "presented": "10.1.0.0/16", "packets": 3, "bytes": 4}],
        "groups": [{"group": "g", "group_id": "i", "org": "o", "member": "m", "peer": "p", "device": "mesh-g", "netns": null,
            "address": null, "listen_port": 1, "up": true, "detail": "", "hub": "", "hub_reachable": true, "peers": 3,
            "sessions": 2, "rx_bytes": 1, "tx_bytes": 1, "rx_packets": 1, "tx_packets": 1}],
        "drops": {"spoofed-source": 5}, "problems": ["one"], "notices": [],
    });
    serde_json::from_value(json).unwrap()
}

fn shown() -> String {
    let mut latencies = Latencies::default();
    [90, 420, 9_000_000].into_iter().for_each(|us| latencies.count(Duration::from_micros(us)));
    let latencies = [(status().connections[0].remote.clone(), latencies)].into();
    render(&status(), &Measured { latencies, store: StoreSize { revision: 9, ..StoreSize::default() } })
}

/// Names with their types, and all samples; panics where the text is not of the format.
fn parse(text: &str) -> (BTreeMap<String, String>, Vec<Sample>) {
    let (mut types, mut samples) = (BTreeMap::new(), Vec::new());
    let mut current = String::new();
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} has two families");
            current = name.to_owned();
        } else if !line.starts_with("# HELP ") {
            let sample = sample(line);
            let base = ["_bucket", "_sum", "_count"].into_iter().find_map(|suffix| sample.name.strip_suffix(suffix));
            let of =
                base.filter(|base| types.get(*base).is_some_and(|kind| kind == "histogram")).unwrap_or(&sample.name);
            assert_eq!(of, current, "a sample stands outside of its family");
            samples.push(sample);
        }
    }
    (types, samples)
}

fn sample(line: &str) -> Sample {
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap();
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, text) = rest.split_once("=\"").unwrap();
            let (mut value, mut characters) = (String::new(), text.char_indices());
            let close = loop {
                match characters.next().unwrap() {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match characters.next().unwrap().1 {
                        'n' => '\n',
                        plain @ ('"' | '\\') => plain,
                        other => panic!("escape {other:?}"),
                    }),
                    (_, plain) => value.push(plain),
                }
            };
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
            rest = &text[close + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').unwrap();
    }
    Sample { name: name.to_owned(), labels, value: rest.strip_prefix(' ').unwrap().parse().unwrap() }
}

#[test]
fn what_is_shown_has_the_text_format_and_the_names_of_liqo() {
    let (types, samples) = parse(&shown());
    let value = |name: &str, label: Option<(&str, &str)>| {
        let is = |one: &&Sample| one.name == name && label.is_none_or(|(key, text)| one.labels[key] == text);
        samples.iter().find(is).unwrap_or_else(|| panic!("{name}: {samples:?}")).value
    };
    for (name, kind, expected) in [
        ("liqo_peer_receive_bytes_total", "counter", 10.0),
        ("liqo_peer_transmit_bytes_total", "counter", 20.0),
        ("liqo_peer_latency_us", "gauge", 420.0),
        ("liqo_peer_is_connected", "gauge", 1.0),
    ] {
        assert_eq!((types[name].as_str(), value(name, None)), (kind, expected));
        let labels = &samples.iter().find(|one| one.name == name).unwrap().labels;
        assert_eq!(labels["driver"], "wireguard");
        assert_eq!(labels["cluster_id"], "b\"\\\n2", "whatever stands in a label comes back");
    }
    assert_eq!(types["liqo_peer_latency_histogram_us"], "histogram");
    assert_eq!(value("liqo_peer_latency_histogram_us_bucket", Some(("le", "100"))), 1.0);
    assert_eq!(value("liqo_peer_latency_histogram_us_bucket", Some(("le", "500"))), 2.0);
    assert_eq!(value("liqo_peer_latency_histogram_us_bucket", Some(("le", "+Inf"))), 3.0);
    assert_eq!(value("liqo_peer_latency_histogram_us_count", None), 3.0);
    assert_eq!(value("liqo_peer_latency_histogram_us_sum", None), 9_000_510.0);
    assert_eq!(value("mesh_connection_condition", Some(("status", "false"))), 1.0);
    assert_eq!(value("mesh_connection_condition", Some(("status", "true"))), 0.0);
}

/// Names of metrics in a text, however they stand there.
fn names_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("liqo_peer_") || word.starts_with("mesh_")).map(str::to_owned).collect()
}

/// The rules and the dashboard ask for nothing that is not there, and the list of metrics has each of them.
#[test]
fn documents_name_what_exists() {
    let (types, samples) = parse(&shown());
    let exist: BTreeSet<String> = types.keys().cloned().chain(samples.into_iter().map(|sample| sample.name)).collect();
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    for file in ["alerts.yaml", "dashboard.json", "metrics.md"] {
        let named = names_in(&fs::read_to_string(docs.join(file)).unwrap());
        assert!(!named.is_empty() && named.is_subset(&exist), "{file}: {:?}", named.difference(&exist));
    }
    let listed = names_in(&fs::read_to_string(docs.join("metrics.md")).unwrap());
    let missing: Vec<_> = types.keys().filter(|name| !listed.contains(*name)).collect();
    assert!(missing.is_empty(), "docs/metrics.md lacks {missing:?}");
    let dashboard: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(docs.join("dashboard.json")).unwrap()).unwrap();
    assert!(dashboard["panels"].as_array().is_some_and(|panels| !panels.is_empty()));
}
