//! What each request does and replies.

use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::site::{Site, public_key};

const GROUPS: &str = "/v1/orgs/default/networkgroups";
const GROUP: &str = "/v1/orgs/default/networkgroups/myNG";

/// NG-01, NG-02, NG-03, NG-05, NG-07, NG-11, NG-38: a group from its creation to its end.
#[test]
fn a_group_lives() -> Result<()> {
    let site = Site::start()?;
    let mode = std::fs::metadata(site.node.socket())?.permissions().mode();
    ensure!(mode & 0o777 == 0o660, "the socket has mode {mode:o}");

    let body = json!({ "label": "myNG", "description": "first", "tags": ["a", "b"], "members": [{ "id": "app_one" }] });
    let made = site.json("POST", GROUPS, Some(body))?;
    let group = &made["networkGroup"];
    ensure!(made["schema"] == 1 && group["version"] == 1 && group["ownerId"] == "default", "{made}");
    ensure!(group["members"][0]["kind"] == "APPLICATION" && group["tags"] == json!(["a", "b"]), "{made}");
    let id = group["id"].as_str().context("an id")?.to_owned();
    ensure!(site.json("GET", &format!("{GROUPS}/{id}"), None)? == site.json("GET", GROUP, None)?, "by id and label");

    let linked =
        site.json("POST", &format!("{GROUP}/members"), Some(json!({ "id": "redis_two", "kind": "add-on" })))?;
    ensure!(linked["member"]["kind"] == "ADDON" && linked["ngId"] == id.as_str(), "{linked}");
    ensure!(site.json("GET", &format!("{GROUP}/members/redis_two"), None)? == linked, "a member");
    let updated = site.json("PATCH", GROUP, Some(json!({ "description": "", "defaultAccess": "deny" })))?;
    let group = &updated["networkGroup"];
    ensure!(group["version"] == 3 && group.get("description").is_none() && group["defaultAccess"] == "deny", "{group}");
    site.json("DELETE", &format!("{GROUP}/members/redis_two"), None)?;
    ensure!(site.refused("DELETE", &format!("{GROUP}/members/redis_two"), None)? == (404, "not_member".into()), "gone");

    let list = site.json("GET", GROUPS, None)?;
    ensure!(list["networkGroups"][0]["version"] == 4 && list["networkGroups"][0]["id"] == id.as_str(), "{list}");
    let deleted = site.json("DELETE", GROUP, None)?;
    ensure!(deleted["networkGroup"]["id"] == id.as_str(), "{deleted}");
    ensure!(site.refused("GET", GROUP, None)? == (404, "not_found".into()), "gone");
    ensure!(site.json("GET", GROUPS, None)?["networkGroups"] == json!([]), "none is left");
    Ok(())
}

/// NG-25, NG-26, NG-27, NG-34, NG-35: peers, their roles and configurations.
#[test]
fn peers_come_change_and_go() -> Result<()> {
    let site = Site::start()?;
    site.json("POST", GROUPS, Some(json!({ "label": "myNG", "members": [{ "id": "app_one" }] })))?;
    let server = json!({
        "parentMember": "app_one", "peerKind": "CleverPeer", "peerRole": "SERVER", "hv": "hv-a",
        "ip": "192.0.2.1", "port": 51820, "publicKey": public_key(1),
    });
    let made = site.json("POST", &format!("{GROUP}/peers"), Some(server))?;
    ensure!(made["peer"]["endpoint"]["publicTerm"] == json!({ "host": "192.0.2.1", "port": 51820 }), "{made}");
    let path = format!("{GROUP}/peers/{}", made["peerId"].as_str().context("an id")?);
    let key = public_key(2);
    let moved = site.json("PATCH", &path, Some(json!({ "publicKey": key, "ip": "192.0.2.9", "port": 51821 })))?;
    ensure!(moved["peer"]["endpoint"]["ngTerm"]["host"] == made["peer"]["endpoint"]["ngTerm"]["host"], "{moved}");
    ensure!(moved["peer"]["publicKey"] == key.as_str() && site.json("GET", &path, None)? == moved, "{moved}");
    let half = site.refused("PATCH", &path, Some(json!({ "publicKey": key, "ip": "192.0.2.9" })))?;
    ensure!(half == (400, "invalid".into()), "{half:?}");

    let external = json!({ "label": "laptop", "publicKey": public_key(3) });
    let external = site.json("POST", &format!("{GROUP}/external-peers"), Some(external))?;
    ensure!(external["peer"]["type"] == "ExternalPeer", "{external}");
    let configuration = site.json("GET", &format!("{GROUP}/peers/laptop/configuration"), None)?;
    let text = configuration["conf"].as_str().context("a text")?;
    ensure!(text.contains("<%PrivateKey%>") && text.contains("192.0.2.9:51821") && text.contains(&key), "{text}");
    ensure!(configuration["version"] == site.json("GET", GROUP, None)?["networkGroup"]["version"], "{configuration}");

    site.json("DELETE", &format!("{GROUP}/peers/laptop"), None)?;
    let group = site.json("GET", GROUP, None)?;
    let members: Vec<&Value> = group["networkGroup"]["members"].as_array().into_iter().flatten().collect();
    ensure!(members.len() == 1 && members[0]["id"] == "app_one", "its parent went with it: {group}");
    Ok(())
}

/// NG-44, NG-45: rules and blocks.
#[test]
fn rules_and_blocks() -> Result<()> {
    let site = Site::start()?;
    site.json(
        "POST",
        GROUPS,
        Some(json!({ "label": "myNG", "members": [{ "id": "app_one" }, { "id": "redis_two" }] })),
    )?;
    let rules = format!("{GROUP}/rules");
    let added = site.json("POST", &rules, Some(json!({ "from": "app_one", "to": "*", "traffic": "tcp/5432" })))?;
    let list = site.json("GET", &rules, None)?;
    ensure!(list["rules"] == json!([added["rule"]]) && list["defaultAccess"] == "allow", "{list}");
    let wrong = site.refused("POST", &rules, Some(json!({ "from": "app_one", "to": "*", "traffic": "icmp/1" })))?;
    ensure!(wrong == (400, "invalid".into()), "{wrong:?}");
    site.json("DELETE", &format!("{rules}/{}", added["rule"]["id"].as_str().context("an id")?), None)?;
    ensure!(site.json("GET", &rules, None)?["rules"] == json!([]), "deleted");

    let unknown = site.refused("PUT", "/v1/orgs/default/members/app_three/block", None)?;
    ensure!(unknown == (404, "not_found".into()), "{unknown:?}");
    let block = "/v1/orgs/default/members/app_one/block";
    let blocked = site.json("PUT", block, None)?;
    ensure!(site.json("GET", "/v1/orgs/default/blocks", None)?["blocks"] == json!([blocked["block"]]), "{blocked}");
    site.json("DELETE", block, None)?;
    ensure!(site.json("GET", "/v1/orgs/default/blocks", None)?["blocks"] == json!([]), "opened");

    let status = "/v1/orgs/default/members/app_one/status";
    let reported = site.json("PUT", status, Some(json!({ "status": "deleted" })))?;
    ensure!(reported["members"][0]["status"] == "deleted" && reported["members"][0]["ngLabel"] == "myNG", "{reported}");
    Ok(())
}

/// NG-15, NG-19, NG-29, NG-30, NG-31, NG-32, NG-33: what is looked for.
#[test]
fn looking_for_things() -> Result<()> {
    let site = Site::start()?;
    for label in ["myNG", "other"] {
        site.json("POST", GROUPS, Some(json!({ "label": label, "members": [{ "id": "app_one" }] })))?;
        let peer = json!({ "label": "laptop", "publicKey": public_key(3) });
        site.json("POST", &format!("{GROUPS}/{label}/external-peers"), Some(peer))?;
    }
    let find = |what: &str| format!("/v1/orgs/default/resources/{what}");
    let member = site.json("GET", &find("app_one"), None)?;
    ensure!(member["member"].as_array().is_some_and(|groups| groups.len() == 2), "one entry for each group: {member}");
    ensure!(site.json("GET", &find("myNG?type=NetworkGroup"), None)?["networkGroup"]["label"] == "myNG", "a group");
    ensure!(site.refused("GET", &find("laptop"), None)? == (409, "ambiguous".into()), "two peers have the label");
    ensure!(site.refused("GET", &find("nothing"), None)? == (404, "not_found".into()), "nothing has the name");
    ensure!(site.refused("GET", &find("app_one?type=Nonsense"), None)? == (400, "invalid".into()), "no such type");

    let none = site.json("GET", "/v1/orgs/default/search?q=zzz", None)?;
    ensure!(none == json!({ "schema": 1, "networkGroups": [], "members": [], "peers": [] }), "{none}");
    let found = site.json("GET", "/v1/orgs/default/search?q=MYng&type=NetworkGroup", None)?;
    ensure!(found["networkGroups"].as_array().is_some_and(|groups| groups.len() == 1), "{found}");
    let configuration = site.json("GET", "/v1/networkgroup/configuration", None)?;
    ensure!(configuration == json!({ "schema": 1, "dnsSuffixes": ["cc-ng.cloud"] }), "{configuration}");
    Ok(())
}

/// NG-38: a version that the caller has is not sent again.
#[test]
fn the_version_is_the_etag() -> Result<()> {
    let site = Site::start()?;
    site.json("POST", GROUPS, Some(json!({ "label": "myNG" })))?;
    ensure!(site.curl(GROUP, &["--header", "If-None-Match: \"1\""])?.status == 304, "known");
    ensure!(site.curl(GROUP, &["--header", "If-None-Match: \"0\", \"1\""])?.status == 304, "known among others");
    ensure!(site.curl(GROUP, &["--header", "If-None-Match: \"2\""])?.status == 200, "another");
    ensure!(site.curl(GROUP, &["--head", "--header", "Accept: */*"])?.body.contains("etag: \"1\""), "it is said");
    Ok(())
}

/// NG-50: manifests are applied whole or not at all; objects come out in the form that goes in.
#[test]
fn manifests_in_and_out() -> Result<()> {
    let site = Site::start()?;
    let manifests = "\
apiVersion: mesh/v1
kind: NetworkGroup
metadata: {name: myNG}
spec: {description: declared, members: [app_one]}
---
apiVersion: mesh/v1
kind: Peer
metadata: {name: laptop}
spec: {group: myNG, publicKey: KEY}
";
    let manifests = manifests.replace("KEY", &public_key(1));
    let apply = |query: &str, text: &str| {
        site.curl(&format!("/v1/apply{query}"), &["--header", "Content-Type: application/yaml", "--data-binary", text])
    };
    let actions = |reply: &Value| -> Vec<String> {
        let changes = reply["changes"].as_array().into_iter().flatten();
        changes
            .filter_map(|change| Some(format!("{} {}", change["action"].as_str()?, change["kind"].as_str()?)))
            .collect()
    };
    let dry = apply("?dryRun=true", &manifests)?.json()?;
    ensure!(dry["dryRun"] == true && actions(&dry).contains(&"created NetworkGroup".to_owned()), "{dry}");
    ensure!(site.json("GET", GROUPS, None)?["networkGroups"] == json!([]), "a dry run made something");
    let half = manifests.replace(&public_key(1), "no key");
    ensure!(apply("", &half)?.refusal()? == (400, "invalid".into()), "half of it is wrong");
    ensure!(site.json("GET", GROUPS, None)?["networkGroups"] == json!([]), "half of it was made");
    let done = apply("", &manifests)?.json()?;
    ensure!(actions(&done) == actions(&dry), "{done} {dry}");
    let again = apply("", &manifests)?.json()?;
    ensure!(actions(&again).iter().all(|action| action.starts_with("unchanged")), "{again}");

    let out = site.json("GET", "/v1/objects/ng", None)?;
    ensure!(out["kind"] == "NetworkGroup" && out["objects"][0]["spec"]["description"] == "declared", "{out}");
    let member = site.json("GET", "/v1/objects/members/app_one?group=myNG", None)?;
    ensure!(member["objects"][0]["metadata"]["name"] == "app_one", "{member}");
    let text = out["objects"][0].to_string();
    let back =
        site.curl("/v1/apply", &["--header", "Content-Type: application/json", "--data-binary", &text])?.json()?;
    ensure!(actions(&back).iter().all(|action| action.starts_with("unchanged")), "what comes out goes in: {back}");

    ensure!(apply("", "- [")?.refusal()? == (400, "invalid".into()), "no YAML");
    ensure!(site.curl("/v1/apply", &["--data-binary", "a"])?.refusal()?.0 == 415, "no type");
    ensure!(site.refused("GET", "/v1/objects/colour", None)? == (404, "not_found".into()), "no such kind");
    ensure!(site.refused("DELETE", "/v1/objects/peer/nobody", None)? == (404, "not_found".into()), "nobody");
    site.json("POST", GROUPS, Some(json!({ "label": "other", "members": [{ "id": "app_one" }] })))?;
    ensure!(site.refused("DELETE", "/v1/objects/member/app_one", None)? == (409, "ambiguous".into()), "in two groups");
    site.json("DELETE", "/v1/objects/member/app_one?group=other", None)?;
    let deleted = site.json("DELETE", "/v1/objects/peer/laptop", None)?;
    ensure!(deleted["objects"][0]["metadata"]["name"] == "laptop", "{deleted}");
    site.json("DELETE", "/v1/objects/networkgroup/myNG", None)?;
    ensure!(
        site.json("GET", "/v1/objects/ng?org=default", None)?["objects"].as_array().map(Vec::len) == Some(1),
        "one"
    );
    Ok(())
}
