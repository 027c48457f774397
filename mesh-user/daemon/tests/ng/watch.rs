//! `meshctl ng watch` before a daemon that goes and comes back.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use mesh_lab::{interrupt, process::Daemon};
use serde_json::Value;

use crate::hub::Hub;

const PATIENCE: Duration = Duration::from_secs(20);

/// The lines that a `watch` has printed so far.
struct Watched {
    program: Daemon,
}

impl Watched {
    fn start(hub: &Hub, name: &str, arguments: &[&str]) -> Result<Watched> {
        let mut command = Command::new(hub.node.program());
        command.arg("--socket").arg(hub.node.socket()).args(arguments);
        let program = Daemon::start(name, command, &hub.node.directory().join(format!("{name}.log")))?;
        Ok(Watched { program })
    }

    /// Of standard output; what is said on standard error is no JSON.
    fn events(&self) -> Result<Vec<Value>> {
        let text = fs::read_to_string(self.program.log())?;
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    fn versions(&self) -> Result<Vec<u64>> {
        let groups = self.events()?.into_iter().filter(|event| event["event"] == "group");
        groups.map(|event| event["data"]["networkGroup"]["version"].as_u64().context("no version")).collect()
    }

    fn wait_for_version(&self, version: u64) -> Result<()> {
        let what = format!("version {version} in {}", self.program.log().display());
        interrupt::wait_for(&what, PATIENCE, Duration::from_millis(50), || {
            Ok(self.versions()?.contains(&version).then_some(()))
        })
        .with_context(|| self.program.tail(20))
    }
}

/// NG-38, NG-39: each version once and in order, over kill -9 of the daemon, until the group is deleted.
#[test]
fn a_group_is_followed_over_a_restart() -> Result<()> {
    let mut hub = Hub::start()?;
    hub.done("default", "meshctl ng create shop")?;
    let mut watched = Watched::start(&hub, "group", &["ng", "watch", "shop", "-F", "json"])?;
    watched.wait_for_version(1)?;
    hub.done("default", "meshctl ng link app_1 shop")?;
    watched.wait_for_version(2)?;
    hub.node.kill()?;
    hub.node.start()?;
    hub.done("default", "meshctl ng link app_2 shop")?;
    watched.wait_for_version(3)?;
    hub.done("default", "meshctl ng delete shop --yes")?;
    let status = watched.program.wait(PATIENCE)?;
    ensure!(status.success(), "{status}\n{}", watched.program.tail(20));
    ensure!(watched.versions()? == [1, 2, 3], "{:?}", watched.versions()?);
    let last = watched.events()?.pop().context("no events")?;
    ensure!(last["event"] == "deleted", "{last}");
    Ok(())
}

/// NG-40: another peer changes the configuration of the first.
#[test]
fn a_configuration_is_followed() -> Result<()> {
    let hub = Hub::start()?;
    hub.done("default", "meshctl ng create shop")?;
    let key = |name: &str| hub.done("default", &format!("wg genkey | tee {name}.key | wg pubkey"));
    let (laptop, phone) = (key("laptop")?, key("phone")?);
    hub.done("default", &format!("meshctl ng create external laptop shop {}", laptop.trim()))?;
    let watched = Watched::start(&hub, "configuration", &["ng", "watch", "shop", "laptop", "-F", "json"])?;
    let wait_for = |text: &str| {
        interrupt::wait_for(&format!("{text:?} in the stream"), PATIENCE, Duration::from_millis(50), || {
            let events = watched.events()?;
            let conf = events.last().and_then(|event| event["data"]["conf"].as_str().map(str::to_owned));
            Ok(conf.is_some_and(|conf| conf.contains(text)).then_some(()))
        })
        .with_context(|| watched.program.tail(20))
    };
    wait_for("[Interface]")?;
    let server = "--role server --ip 198.51.100.7 --port 51820";
    hub.done("default", &format!("meshctl ng create external phone shop {} {server}", phone.trim()))?;
    wait_for("Endpoint = 198.51.100.7:51820")
}

/// NG-39: everything of an org, as objects.
#[test]
fn an_org_is_followed() -> Result<()> {
    let hub = Hub::start()?;
    let watched = Watched::start(&hub, "org", &["ng", "watch", "-F", "json"])?;
    let wait_for = |key: &str, is_there: bool| {
        let is_it = |event: &Value| {
            let data = &event["data"];
            let has_key = data["key"].as_str().is_some_and(|found| found.starts_with(key));
            event["event"] == "object" && has_key && data["value"].is_null() != is_there
        };
        interrupt::wait_for(&format!("{key} in the stream"), PATIENCE, Duration::from_millis(50), || {
            Ok(watched.events()?.iter().any(is_it).then_some(()))
        })
        .with_context(|| watched.program.tail(20))
    };
    hub.done("other", "meshctl ng create hidden")?;
    hub.done("default", "meshctl ng create shop")?;
    wait_for("groups/ng_", true)?;
    hub.done("default", "meshctl ng delete shop --yes")?;
    wait_for("groups/ng_", false)?;
    let text = fs::read_to_string(watched.program.log())?;
    ensure!(!text.contains("hidden"), "{text}");
    Ok(())
}
