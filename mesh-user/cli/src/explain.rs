//! `meshctl explain`: which stage, which entry, which verdict a packet would meet, from the daemon's own tables.

use std::net::IpAddr;

use clap::Args;
use mesh_core::{api::Explanation, explain::Sample};

use crate::{
    daemon::Daemon,
    exit::Failure,
    output::{Output, OutputArguments},
    table::{cell, render},
};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Address that the packet has as source where it enters
    #[arg(value_name = "SRC")]
    source: IpAddr,
    /// Address that it is sent to
    #[arg(value_name = "DST")]
    destination: IpAddr,
    /// What begins between peers of a network group: icmp, tcp/PORT or udp/PORT
    #[arg(value_name = "TRAFFIC")]
    traffic: Option<Sample>,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

pub(crate) fn run(daemon: &Daemon, arguments: &Arguments) -> Result<String, Failure> {
    let Arguments { source, destination, traffic, output } = arguments;
    let mut url = format!("/v1/explain?source={source}&destination={destination}");
    if let Some(traffic) = traffic {
        url += &format!("&traffic={traffic}");
    }
    let explanation: Explanation = daemon.get(url.as_str())?;
    output.output.form().print(&explanation, |explanation| match output.output {
        Output::Name => format!("{}\n", explanation.verdict),
        Output::Table | Output::Wide | Output::Json | Output::Yaml => table(explanation),
    })
}

fn table(explanation: &Explanation) -> String {
    let rows: Vec<Vec<String>> = explanation
        .stages
        .iter()
        .map(|stage| vec![stage.stage.clone(), cell(stage.entry.as_deref().unwrap_or("")), stage.outcome.clone()])
        .collect();
    let stages = render(&["STAGE", "ENTRY", "OUTCOME"], &rows);
    format!("{} -> {}\n\n{stages}\nverdict: {}\n", explanation.source, explanation.destination, explanation.verdict)
}

#[cfg(test)]
mod tests {
    use mesh_core::api::Stage;

    use super::*;

    #[test]
    fn stages_and_verdict_are_shown() {
        let stage = |stage: &str, entry: Option<&str>, outcome: &str| Stage {
            stage: stage.to_owned(),
            entry: entry.map(str::to_owned),
            outcome: outcome.to_owned(),
        };
        let explanation = Explanation {
            schema: 1,
            source: "10.243.1.5".to_owned(),
            destination: "10.71.2.7".to_owned(),
            stages: vec![
                stage("route", None, "into mesh-cl02"),
                stage("shard", Some("10.71.0.0/16"), "destination becomes 10.243.2.7"),
            ],
            verdict: "accepted on cl02".to_owned(),
        };
        let expected = "\
10.243.1.5 -> 10.71.2.7

STAGE  ENTRY         OUTCOME
route  -             into mesh-cl02
shard  10.71.0.0/16  destination becomes 10.243.2.7

verdict: accepted on cl02
";
        assert_eq!(table(&explanation), expected);
    }
}
