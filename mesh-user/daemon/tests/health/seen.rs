//! What a node says of its connection to a remote, as `meshctl status -o json` prints it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mesh_lab::{interrupt, node::Node};
use serde_json::Value;

const PAUSE: Duration = Duration::from_millis(100);

/// The connection to `remote`.
pub(crate) fn connection(node: &Node, remote: &str) -> Result<Value> {
    let printed = node.meshctl(&["status", "-o", "json"])?;
    let status: Value = serde_json::from_str(&printed.stdout).with_context(|| format!("{printed:?}"))?;
    let all = status["connections"].as_array().context("no connections")?;
    let found = all.iter().find(|connection| connection["remote"] == remote);
    found.cloned().with_context(|| format!("no connection to {remote}: {status}"))
}

/// Status, reason and message of a condition.
pub(crate) fn condition(connection: &Value, kind: &str) -> Result<[String; 3]> {
    let all = connection["conditions"].as_array().context("no conditions")?;
    let found = all.iter().find(|condition| condition["type"] == kind);
    let found = found.with_context(|| format!("no condition {kind}: {connection}"))?;
    let word = |key: &str| found[key].as_str().map(str::to_owned).with_context(|| format!("no {key}: {found}"));
    Ok([word("status")?, word("reason")?, word("message")?])
}

/// Waits until the condition is so, and says how long that took.
pub(crate) fn wait_for(node: &Node, remote: &str, kind: &str, status: &str, patience: Duration) -> Result<Duration> {
    let begun = Instant::now();
    let reached = interrupt::wait_for(&format!("{kind} to be {status}"), patience, PAUSE, || {
        Ok((condition(&connection(node, remote)?, kind)?[0] == status).then_some(()))
    });
    reached.with_context(|| format!("{:?}\n{}", connection(node, remote), node.tail(20)))?;
    Ok(begun.elapsed())
}

/// Fails if the condition is not of this status and reason, or its message lacks one of the words.
pub(crate) fn expect(connection: &Value, kind: &str, status: &str, reason: &str, words: &[&str]) -> Result<()> {
    let [found, why, message] = condition(connection, kind)?;
    if found != status || why != reason || words.iter().any(|word| !message.contains(word)) {
        bail!("{kind} is {found} {why} {message:?}, expected {status} {reason} with {words:?}");
    }
    Ok(())
}

/// `CONDITION STATUS REASON` of each change, oldest first.
pub(crate) fn history(connection: &Value) -> Result<Vec<String>> {
    let all = connection["history"].as_array().context("no history")?;
    let line = |change: &Value| {
        let word = |key: &str| change[key].as_str().unwrap_or("?").to_owned();
        format!("{} {} {}", word("condition"), word("to"), word("reason"))
    };
    Ok(all.iter().map(line).collect())
}
