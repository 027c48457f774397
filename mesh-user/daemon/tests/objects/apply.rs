//! What is applied is shown with a status, and kept; what is wrong applies nothing.

use anyhow::Result;
use serde_json::json;

use crate::site::{Site, all, client, condition, configuration, public_key, server};

/// LQ-01, LQ-02, LQ-03, LQ-04, LQ-08, LQ-09, LQ-10, LQ-60: the files of the documentation, with several documents at once.
#[test]
fn the_documents_of_the_other_side_become_a_connection() -> Result<()> {
    let site = Site::start()?;
    let text = all(&[configuration("cl02", "10.243.0.0/16"), client("cl02", "192.0.2.7", 32009), public_key("cl02")]);
    let reply = site.apply(&text)?;
    let actions: Vec<_> = reply["changes"].as_array().unwrap().iter().map(|one| one["action"].clone()).collect();
    assert_eq!(actions, ["created", "created", "created"]);
    assert!(
        reply["plan"]
            .as_array()
            .unwrap()
            .iter()
            .any(|line| line == "+ route 10.71.0.0/16 dev mesh-cl02 metric 100 src 10.70.0.2"),
        "{reply}"
    );

    let known = site.object("configurations")?;
    assert_eq!(known["apiVersion"], "networking.liqo.io/v1beta1");
    assert_eq!(known["spec"]["remote"]["cidr"], json!({ "external": "10.70.0.0/16", "pod": "10.243.0.0/16" }));
    assert_eq!(known["status"]["remote"]["cidr"], json!({ "external": ["10.68.0.0/16"], "pod": ["10.71.0.0/16"] }));
    assert_eq!(condition(&known, "NetworkCIDRsConfigured"), Some(("True".into(), "Remapped".into())));
    let metadata = &known["metadata"];
    assert_eq!((&metadata["namespace"], &metadata["generation"]), (&json!("default"), &json!(1)));
    for field in ["uid", "creationTimestamp", "resourceVersion"] {
        assert!(metadata[field].is_string(), "{metadata}");
    }
    let gateway = site.object("gwc")?;
    assert_eq!(gateway["status"]["endpoint"], json!({ "addresses": ["192.0.2.7"], "port": 32009, "protocol": "UDP" }));
    assert_eq!(condition(&gateway, "Ready").unwrap().0, "True");
    assert_eq!(condition(&site.object("publickeys.networking.liqo.io")?, "Accepted").unwrap().0, "True");
    let connection = site.object("connections")?;
    assert_eq!(connection["spec"]["type"], "Client");
    assert_eq!(connection["spec"]["gatewayRef"]["name"], "client");
    assert_eq!(
        (&connection["metadata"]["name"], &connection["status"]["value"]),
        (&json!("cl02"), &json!("Connecting"))
    );
    assert_eq!(connection["status"]["remap"][0]["presented"], "10.68.0.0/16");

    // Again: nothing changes, and nothing is rewritten.
    let again = site.apply(&text)?;
    assert!(again["changes"].as_array().unwrap().iter().all(|one| one["action"] == "unchanged"), "{again}");
    assert_eq!(again["plan"], json!([]));
    assert_eq!(site.object("configurations")?["metadata"], *metadata);
    Ok(())
}

/// LQ-05, LQ-07: a server before the keys are exchanged.
#[test]
fn a_server_is_ready_before_the_key_of_its_client_is_there() -> Result<()> {
    let site = Site::start()?;
    site.apply(&server("cl02", 32_077))?;
    let gateway = site.object("gatewayservers")?;
    assert_eq!(condition(&gateway, "Ready"), Some(("False".into(), "WaitsForConfiguration".into())));
    site.apply(&configuration("cl02", "10.50.0.0/16"))?;
    let gateway = site.object("gatewayservers")?;
    assert_eq!(condition(&gateway, "Ready"), Some(("True".into(), "WaitsForPublicKey".into())));
    assert_eq!(gateway["status"]["publicKey"], site.info()?["publicKey"]);
    assert!(site.objects("connections")?.is_empty());
    site.apply(&public_key("cl02"))?;
    assert_eq!(site.object("conn")?["spec"]["type"], "Server");
    Ok(())
}

/// Every problem names file, object, field and next step; the good ones among them are not applied either.
#[test]
fn one_bad_document_applies_none() -> Result<()> {
    let site = Site::start()?;
    let bad = [
        ("kind: Configuration", "kind: Konfiguration", "kind: \"Konfiguration\" is not known; write one of"),
        ("kind: Configuration", "kind: Connection", "made by the daemon for each gateway"),
        ("v1beta1", "v1", "apiVersion: \"networking.liqo.io/v1\" is not known; write networking.liqo.io/v1beta1"),
        ("10.9.0.0/16", "10.9.0.7/16", "spec.remote.cidr.pod: 10.9.0.7/16 has host bits set; write 10.9.0.0/16"),
        ("    liqo.io/remote-cluster-id: cl03", "    other: x", "metadata.labels.liqo.io/remote-cluster-id: missing"),
        ("  name: cl03", "  name: CL03", "metadata.name: \"CL03\" is no name of an object"),
        ("external: 10.70.0.0/16", "external: 10.70.0.0/12", "external"),
        ("pod: 10.9", "pods: 10.9", "spec.remote.cidr.pods: unknown field; remove it"),
    ];
    for (old, new, said) in bad {
        let broken = configuration("cl03", "10.9.0.0/16").replace(old, new);
        let text = format!(
            "---\n# Manifest file: good.yaml\n{}---\n# Manifest file: bad.yaml\n{broken}",
            configuration("cl02", "10.8.0.0/16")
        );
        let (status, message) = site.refused(&text)?;
        assert_eq!(status, 400, "{message}");
        assert!(message.contains(said) && message.contains("bad.yaml"), "{said}: {message}");
        assert!(site.objects("configurations")?.is_empty(), "{said}");
    }
    // Problems of form and of what does not go together are told, too.
    let twins = all(&[configuration("cl02", "10.8.0.0/16"), configuration("cl02", "10.9.0.0/16")]);
    assert!(site.refused(&twins)?.1.contains("stands in the manifests already"), "{:?}", site.refused(&twins)?);
    let two = all(&[server("cl02", 32_001), client("cl02", "192.0.2.7", 1)]);
    assert!(site.refused(&two)?.1.contains("keep one gateway for each remote cluster"));
    // Network groups are part of it.
    let mixed = all(&[
        "apiVersion: mesh/v1\nkind: NetworkGroup\nmetadata: { name: g }\n".to_owned(),
        configuration("cl02", "10.8.0.0/16").replace("10.8.0.0/16", "x"),
    ]);
    site.refused(&mixed)?;
    assert_eq!(site.ask("GET", "/v1/objects/ng", None)?.json()?["objects"], json!([]));
    site.apply(&mixed.replace("pod: x", "pod: 10.8.0.0/16"))?;
    assert_eq!((site.objects("ng")?.len(), site.objects("conf")?.len()), (1, 1));
    Ok(())
}

#[test]
fn a_dry_run_tells_the_difference_of_the_plans_and_changes_nothing() -> Result<()> {
    let site = Site::start()?;
    let text = all(&[configuration("cl02", "10.50.0.0/16"), client("cl02", "192.0.2.7", 32009), public_key("cl02")]);
    let dry = site.ask("POST", "/v1/apply?dryRun=true", Some(&text))?.json()?;
    let plan = dry["plan"].as_array().unwrap();
    assert!(plan.iter().any(|line| line.as_str().unwrap().starts_with("+ tunnel mesh-cl02: mtu 1340")), "{dry}");
    assert!(site.objects("configurations")?.is_empty() && site.objects("connections")?.is_empty());
    site.apply(&text)?;
    let changed = text.replace("mtu: 1340", "mtu: 1400");
    let dry = site.ask("POST", "/v1/apply?dryRun=true", Some(&changed))?.json()?;
    let client = dry["changes"].as_array().unwrap().iter().find(|one| one["kind"] == "GatewayClient").unwrap();
    assert_eq!(client["diff"], json!(["spec.mtu: 1340 -> 1400"]));
    assert!(
        dry["plan"]
            .as_array()
            .unwrap()
            .iter()
            .any(|line| line.as_str().unwrap().starts_with("- tunnel mesh-cl02: mtu 1340"))
    );
    assert_eq!(site.object("gwc")?["spec"]["mtu"], 1340);
    Ok(())
}

/// LQ-27: with the same names.
#[test]
fn objects_outlive_the_daemon() -> Result<()> {
    let mut site = Site::start()?;
    let text = all(&[configuration("cl02", "10.243.0.0/16"), client("cl02", "192.0.2.7", 32009), public_key("cl02")]);
    site.apply(&text)?;
    let before = site.object("configurations")?;
    site.node.kill()?;
    site.node.start()?;
    let after = site.object("configurations")?;
    assert_eq!((&after["metadata"], &after["spec"]), (&before["metadata"], &before["spec"]));
    assert_eq!(after["status"]["remote"], before["status"]["remote"]);
    assert_eq!(site.objects("connections")?.len(), 1);
    Ok(())
}

/// LQ-13: what never changes.
#[test]
fn the_address_of_an_ip_and_the_prefix_of_a_network_stay() -> Result<()> {
    let site = Site::start()?;
    let ip = "apiVersion: ipam.liqo.io/v1alpha1\nkind: IP\nmetadata:\n  name: db\nspec:\n  ip: 203.0.113.7\n";
    let network =
        "apiVersion: ipam.liqo.io/v1alpha1\nkind: Network\nmetadata:\n  name: lab\nspec:\n  cidr: 10.55.0.0/16\n";
    site.apply(&format!("{ip}---\n{network}"))?;
    assert_eq!(condition(&site.object("ips")?, "Allocated").unwrap().0, "True");
    let given = site.object("networks.ipam.liqo.io")?;
    assert_eq!(
        (condition(&given, "Allocated").unwrap().0.as_str(), &given["status"]["cidr"]),
        ("True", &json!("10.55.0.0/16"))
    );
    let given = site.object("ip")?;
    assert_eq!(given["status"]["cidr"], "10.70.0.0/16");
    assert!(given["status"]["ip"].as_str().unwrap().starts_with("10.70.0."), "{given}");
    for (text, path) in [(ip.replace("113.7", "113.8"), "spec.ip"), (network.replace("10.55", "10.56"), "spec.cidr")] {
        let (_, message) = site.refused(&text)?;
        assert!(message.contains(&format!("{path}: it cannot be changed; delete the object")), "{message}");
    }
    let masked = ip.replace("  ip:", "  masquerade: true\n  ip:");
    site.apply(&masked)?;
    assert_eq!(site.object("ip")?["metadata"]["generation"], 2);
    let dangling = ip.replace("name: db", "name: two").replace("  ip:", "  networkRef: { name: nowhere }\n  ip:");
    assert!(site.refused(&dangling)?.1.contains("spec.networkRef: there is no Network default/nowhere"));
    Ok(())
}

#[test]
fn namespaces_and_labels_select() -> Result<()> {
    let site = Site::start()?;
    let other = configuration("cl03", "10.9.0.0/16").replace("  name:", "  namespace: liqo-tenant-cl03\n  name:");
    site.apply(&all(&[configuration("cl02", "10.8.0.0/16"), other]))?;
    let names = |query: &str| -> Result<String> {
        let list = site.ask("GET", &format!("/v1/objects/conf{query}"), None)?.json()?;
        let names = list["objects"].as_array().unwrap().iter().map(|one| one["metadata"]["name"].as_str().unwrap());
        Ok(names.collect::<Vec<_>>().join(" "))
    };
    assert_eq!(names("")?, "cl02 cl03");
    assert_eq!(names("?namespace=default")?, "cl02");
    assert_eq!(names("?selector=liqo.io/remote-cluster-id%3Dcl03")?, "cl03");
    assert_eq!(names("?selector=liqo.io/remote-cluster-id!%3Dcl03")?, "cl02");
    assert_eq!(names("?selector=other")?, "");
    assert_eq!(site.ask("GET", "/v1/objects/conf/cl03?namespace=default", None)?.refusal()?.0, 404);
    assert_eq!(site.ask("DELETE", "/v1/objects/conf/cl03", None)?.refusal()?.0, 404);
    let gone = site.ask("DELETE", "/v1/objects/conf/cl03?namespace=liqo-tenant-cl03", None)?.json()?;
    assert_eq!(gone["objects"][0]["metadata"]["name"], "cl03");
    assert_eq!(names("")?, "cl02");
    Ok(())
}
