//! Who watches a kind sees every object, then what changes of it, status included.

use std::{
    io::{BufRead as _, BufReader},
    process::Stdio,
    sync::mpsc,
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::site::{PATIENCE, Site, all, client, condition, configuration, public_key};

#[test]
fn changes_of_objects_and_of_their_status_are_told() -> Result<()> {
    let site = Site::start()?;
    site.apply(&client("cl02", "192.0.2.7", 32009))?;
    let mut command = site.namespace.command("curl");
    command.args(["--silent", "--no-buffer", "--max-time", "30", "--unix-socket"]).arg(site.node.socket());
    let mut reader = command.arg("http://mesh/v1/objects/gatewayclients/watch").stdout(Stdio::piped()).spawn()?;
    let output = BufReader::new(reader.stdout.take().context("a pipe")?);
    let (sender, events) = mpsc::channel();
    let listening = std::thread::spawn(move || {
        let mut name = String::new();
        for line in output.lines().map_while(Result::ok) {
            if let Some(event) = line.strip_prefix("event: ") {
                event.clone_into(&mut name);
            } else if let Some(data) = line.strip_prefix("data: ") {
                let object: Value = serde_json::from_str(data).expect("the data is JSON");
                if sender.send((name.clone(), object)).is_err() {
                    return;
                }
            }
        }
    });
    let next = || events.recv_timeout(PATIENCE);
    let story = (|| -> Result<()> {
        let (event, object) = next()?;
        assert_eq!(
            (event.as_str(), condition(&object, "Ready").unwrap().1.as_str()),
            ("object", "WaitsForConfiguration")
        );
        site.apply(&all(&[configuration("cl02", "10.9.0.0/16"), public_key("cl02")]))?;
        while condition(&next()?.1, "Ready").unwrap().0 != "True" {}
        site.ask("DELETE", "/v1/objects/gatewayclients/client", None)?.json()?;
        while next()?.0 != "deleted" {}
        Ok(())
    })();
    reader.kill()?;
    reader.wait()?;
    listening.join().expect("the reader ends with its pipe");
    story
}
