//! Who may do what over TCP, and that what is refused is logged.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::site::{PRINCIPALS, Reply, STRANGER, Site, public_key, with_body};

const GROUPS: &str = "/v1/orgs/default/networkgroups";
const GROUP: &str = "/v1/orgs/default/networkgroups/myNG";
const OTHERS: &str = "/v1/orgs/other/networkgroups";

fn populated() -> Result<Site> {
    let site = Site::start()?;
    for (groups, label) in [(GROUPS, "myNG"), (GROUPS, "second"), (OTHERS, "foreign")] {
        site.json("POST", groups, Some(json!({ "label": label, "members": [{ "id": "app_one" }] })))?;
    }
    Ok(site)
}

fn ask(site: &Site, name: &str, method: &str, path: &str, body: Option<Value>) -> Result<Reply> {
    let body = body.map(|body| body.to_string());
    site.curl_as(name, path, &with_body(method, body.as_deref()))
}

fn labels(reply: &Reply) -> Result<Vec<String>> {
    let list = reply.json()?;
    let groups = list["networkGroups"].as_array().into_iter().flatten();
    let mut labels: Vec<String> = groups.filter_map(|group| group["label"].as_str().map(str::to_owned)).collect();
    labels.sort_unstable();
    Ok(labels)
}

/// NG-09: another owner's group is neither listed nor found, whoever asks.
#[test]
fn what_is_seen() -> Result<()> {
    let site = populated()?;
    let cases: [(&str, &[&str], &[&str]); 4] = [
        ("admin", &["myNG", "second"], &[]),
        ("runner", &["myNG"], &[]),
        ("reader", &["myNG", "second"], &["foreign"]),
        ("everything", &["myNG", "second"], &["foreign"]),
    ];
    for (name, own, others) in cases {
        ensure!(labels(&ask(&site, name, "GET", GROUPS, None)?)? == own, "{name} lists default");
        ensure!(labels(&ask(&site, name, "GET", OTHERS, None)?)? == others, "{name} lists other");
        for (groups, label) in [(GROUPS, "myNG"), (GROUPS, "second"), (OTHERS, "foreign")] {
            let is_seen = if groups == GROUPS { own.contains(&label) } else { others.contains(&label) };
            let status = if is_seen { 200 } else { 404 };
            let found = groups.replace("networkgroups", "search?q=");
            for path in
                [format!("{groups}/{label}"), format!("{}{label}", groups.replace("networkgroups", "resources/"))]
            {
                let reply = ask(&site, name, "GET", &path, None)?;
                ensure!(reply.status == status, "{name} gets {path}: {reply:?}");
            }
            let reply = ask(&site, name, "GET", &format!("{found}{label}"), None)?;
            ensure!(labels(&reply)?.is_empty() != is_seen, "{name} searches {label}: {reply:?}");
        }
    }
    Ok(())
}

#[test]
fn what_is_changed() -> Result<()> {
    let site = populated()?;
    let peer = |number: u8| Some(json!({ "label": format!("p{number}"), "publicKey": public_key(number) }));
    let cases = [
        ("admin", "PATCH", GROUP.to_owned(), Some(json!({ "description": "x" })), 200),
        ("admin", "POST", OTHERS.to_owned(), Some(json!({ "label": "mine" })), 403),
        ("admin", "POST", format!("{GROUP}/external-peers"), peer(1), 200),
        ("runner", "POST", format!("{GROUP}/external-peers"), peer(2), 200),
        ("runner", "POST", format!("{GROUPS}/second/external-peers"), peer(3), 404),
        ("runner", "DELETE", format!("{GROUP}/peers/p2"), None, 200),
        ("runner", "PATCH", GROUP.to_owned(), Some(json!({ "description": "x" })), 403),
        ("runner", "DELETE", GROUP.to_owned(), None, 403),
        ("runner", "DELETE", format!("{GROUPS}/second"), None, 403),
        ("runner", "DELETE", format!("{GROUPS}/nothing"), None, 403),
        ("runner", "POST", format!("{GROUP}/members"), Some(json!({ "id": "app_two" })), 403),
        ("runner", "PUT", "/v1/orgs/default/members/app_one/block".to_owned(), None, 403),
        ("runner", "GET", "/v1/status".to_owned(), None, 403),
        ("reader", "POST", GROUPS.to_owned(), Some(json!({ "label": "new" })), 403),
        ("reader", "POST", format!("{GROUP}/external-peers"), peer(4), 403),
        ("reader", "GET", "/v1/status".to_owned(), None, 200),
        ("everything", "DELETE", format!("{OTHERS}/foreign"), None, 200),
        (STRANGER, "GET", GROUPS.to_owned(), None, 403),
        (STRANGER, "GET", "/v1/networkgroup/configuration".to_owned(), None, 403),
        (STRANGER, "GET", "/v1/openapi.json".to_owned(), None, 403),
    ];
    for (name, method, path, body, status) in cases {
        let reply = ask(&site, name, method, &path, body)?;
        ensure!(reply.status == status, "{name} {method} {path}: {reply:?}");
        if status == 403 {
            ensure!(reply.refusal()?.1 == "permission", "{reply:?}");
            let log = site.node.log()?;
            let request = format!("{method} {path}");
            let line = log.lines().find(|line| line.contains("WARN") && line.contains(name) && line.contains(&request));
            ensure!(line.is_some_and(|line| line.contains("reason")), "{name} {request} is not in the log:\n{log}");
        }
    }
    for (name, _) in PRINCIPALS {
        let reply = ask(&site, name, "GET", "/v1/node/whoami", None)?;
        ensure!(reply.refusal()? == (404, "not_found".to_owned()), "the node's own part is for its socket: {reply:?}");
    }
    Ok(())
}

/// Who is refused a CIDR is told whose it is only where it may see that.
#[test]
fn a_cidr_of_somebody_else_stays_without_a_name() -> Result<()> {
    let site = populated()?;
    let foreign = site.json("GET", &format!("{OTHERS}/foreign"), None)?;
    let cidr = &foreign["networkGroup"]["networkIp"];
    ensure!(cidr.is_string(), "{foreign}");
    let group = json!({ "label": "probe", "cidr": cidr });
    let manifest = json!({
        "apiVersion": "mesh/v1", "kind": "NetworkGroup", "metadata": { "name": "probe" }, "spec": { "cidr": cidr },
    });
    for (path, body) in [(GROUPS, &group), ("/v1/apply", &manifest)] {
        for (name, is_told) in [("admin", false), ("everything", true)] {
            let reply = ask(&site, name, "POST", path, Some(body.clone()))?;
            ensure!(reply.status >= 400 && reply.body.contains("overlaps"), "{name} {path}: {reply:?}");
            ensure!(reply.body.contains("foreign") == is_told, "{name} {path}: {reply:?}");
        }
    }
    Ok(())
}

#[test]
fn nobody_connects_without_a_certificate_of_the_ca() -> Result<()> {
    let site = Site::start()?;
    ensure!(ask(&site, "impostor", "GET", GROUPS, None).is_err(), "a certificate of another CA is taken");
    let ca = site.file("ca.pem").display().to_string();
    for arguments in [&["--cacert", &ca, "https://127.0.0.1:7443/v1/status"][..], &["http://127.0.0.1:7443/v1/status"]]
    {
        let mut command = site.namespace.command("curl");
        command.args(["--silent", "--fail", "--max-time", "5"]).args(arguments);
        let finished = mesh_lab::process::finish(&mut command, crate::site::PATIENCE)?;
        ensure!(!finished.status.success() && finished.stdout.is_empty(), "{finished:?}");
    }
    ensure!(site.node.log()?.contains("the TLS handshake failed"), "it is not logged:\n{}", site.node.tail(20));
    ensure!(ask(&site, "admin", "GET", GROUPS, None)?.status == 200, "others are served all the same");
    Ok(())
}

/// A certificate that was renewed is used without a restart.
#[test]
fn certificates_are_read_again() -> Result<()> {
    let site = Site::start()?;
    ensure!(ask(&site, "admin", "GET", GROUPS, None)?.status == 200, "before");
    // From now on clients are those of the other CA, and the server has a certificate that they do not trust.
    std::fs::copy(site.file("unknown-ca.pem"), site.file("ca.pem.new"))?;
    let trusted = site.file("trusted.pem");
    std::fs::copy(site.file("ca.pem"), &trusted)?;
    std::fs::rename(site.file("ca.pem.new"), site.file("ca.pem"))?;
    let name = |name: &str| site.file(name).display().to_string();
    let as_whom = |who: &str| -> Result<bool> {
        let mut command = site.namespace.command("curl");
        command.args(["--silent", "--fail", "--max-time", "5", "--cacert", &trusted.display().to_string()]);
        command.args(["--cert", &name(&format!("{who}.pem")), "--key", &name(&format!("{who}.key"))]);
        command.arg(format!("https://127.0.0.1:7443{GROUPS}"));
        Ok(mesh_lab::process::finish(&mut command, crate::site::PATIENCE)?.status.success())
    };
    ensure!(as_whom("impostor")?, "the new CA's client is refused:\n{}", site.node.tail(10));
    ensure!(!as_whom("admin")?, "the old CA's client is served");
    Ok(())
}
