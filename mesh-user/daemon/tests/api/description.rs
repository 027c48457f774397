//! `/v1/openapi.json` is of everything that is answered.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::site::Site;

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Every path answers to exactly the methods that are described; the router is made from the same list, so nothing else is
/// there.
#[test]
fn every_described_request_is_answered() -> Result<()> {
    let site = Site::start()?;
    let description = site.json("GET", "/v1/openapi.json", None)?;
    ensure!(description["openapi"] == "3.1.0", "{}", description["openapi"]);
    let paths = description["paths"].as_object().context("paths")?;
    ensure!(paths.len() > 15, "only {} paths", paths.len());
    for (path, operations) in paths {
        let concrete = path.replace("{check}", "live").replace("{kind}", "member").replace(['{', '}'], "");
        for method in METHODS {
            let name = method.to_uppercase();
            let is_stream = operations[method]["responses"]["200"]["content"].get("text/event-stream").is_some();
            let limit = if is_stream && path == "/v1/watch" { ["--head", "--get"] } else { ["--request", &name] };
            let reply = site.curl(&concrete, &limit)?;
            let is_described = operations.get(method).is_some();
            ensure!((reply.status != 405) == is_described, "{name} {concrete}: {reply:?}");
            ensure!(reply.status < 500, "{name} {concrete}: {reply:?}");
        }
    }
    Ok(())
}

#[test]
fn every_reference_leads_somewhere() -> Result<()> {
    let site = Site::start()?;
    let description = site.json("GET", "/v1/openapi.json", None)?;
    let mut references = Vec::new();
    collect(&description, &mut references);
    ensure!(references.len() > 50, "only {} references", references.len());
    for reference in references {
        let pointer = reference.strip_prefix('#').context("a reference within")?;
        ensure!(description.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    Ok(())
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            references.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|field| collect(field, references));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => {}
    }
}
