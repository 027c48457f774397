//! `meshctl get KIND -w`: what there is, then what changes, as it changes.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use jiff::Timestamp;
use mesh_client::Event;
use serde_json::Value;

use super::{GetArguments, cluster_url, columns, form::ObjectForm, kind::Kind, name};
use crate::{
    daemon::Daemon,
    exit::{Exit, Failure},
    network::text,
    output::{Output, yaml},
};

/// Between two attempts to resume.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) fn run(daemon: &Daemon, arguments: &GetArguments) -> Result<String, Failure> {
    if !matches!(arguments.kind, Kind::Cluster(_)) {
        let hint = "`meshctl ng watch` shows what changes in network groups";
        return Err(Failure::usage("only objects of the inter-cluster network can be watched so", hint));
    }
    daemon.wait(follow(daemon, arguments))?;
    Ok(String::new())
}

/// Begins anew when the connection breaks, until nobody reads our output any more; what is refused stays refused.
async fn follow(daemon: &Daemon, arguments: &GetArguments) -> Result<(), Failure> {
    let mut begun = false;
    loop {
        match read(daemon, arguments, &mut begun).await {
            Ok(()) => return Ok(()),
            Err(failure) => {
                if !begun || !matches!(failure.exit, Exit::Unreachable | Exit::Timeout) {
                    return Err(failure);
                }
                eprintln!("{}; trying again", failure.error.message);
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn read(daemon: &Daemon, arguments: &GetArguments, begun: &mut bool) -> Result<(), Failure> {
    let mut url = cluster_url(arguments.kind, Some("watch"));
    if !arguments.all_namespaces {
        url = url.query("namespace", &arguments.scope.namespace);
    }
    if let Some(selector) = &arguments.selector {
        url = url.query("selector", selector);
    }
    let mut events = daemon.client.events(url, None, daemon.timeout).await?;
    let mut has_header = std::mem::replace(begun, true);
    while let Some(event) = events.next().await? {
        let object = object(&event)?;
        let is_meant = arguments.name.as_deref().is_none_or(|name| text(&object, "/metadata/name") == name);
        if !is_meant {
            continue;
        }
        let shown = show(&event, &object, arguments, has_header)?;
        has_header = true;
        if !write(&shown)? {
            return Ok(());
        }
    }
    Err(Failure::new(Exit::Unreachable, format!("{} ended the stream", daemon.client.place()), ""))
}

fn object(event: &Event) -> Result<Value, Failure> {
    event.json().map_err(|error| Failure::unexpected(format!("event {} is not understood: {error}", event.event)))
}

fn show(event: &Event, object: &Value, arguments: &GetArguments, has_header: bool) -> Result<String, Failure> {
    let is_gone = event.event == "deleted";
    match arguments.form.form() {
        ObjectForm::JsonPath(path) => Ok(path.fill_json(object) + "\n"),
        ObjectForm::Template(path) => Ok(path.fill_go(object) + "\n"),
        ObjectForm::Plain(Output::Json) => {
            Ok(format!("{}\n", serde_json::json!({ "event": event.event, "object": object })))
        }
        ObjectForm::Plain(Output::Yaml) => Ok(format!("---\n{}", yaml(object)?)),
        ObjectForm::Plain(Output::Name) => Ok(name(object) + if is_gone { " deleted\n" } else { "\n" }),
        ObjectForm::Plain(output @ (Output::Table | Output::Wide)) => {
            let now = Timestamp::now().as_second();
            let is_wide = output == Output::Wide;
            let table =
                columns::table(arguments.kind, std::slice::from_ref(object), is_wide, arguments.all_namespaces, now);
            let (header, row) = table.split_once('\n').unwrap_or_default();
            let gone = if is_gone { format!("{}  deleted\n", row.trim_end()) } else { row.to_owned() };
            Ok(if has_header { gone } else { format!("{header}\n{gone}") })
        }
    }
}

/// `false`: nobody reads any more.
fn write(text: &str) -> Result<bool, Failure> {
    let mut output = io::stdout();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::unexpected(format!("cannot write: {error}"))),
    }
}
