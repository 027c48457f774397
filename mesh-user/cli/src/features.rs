//! `meshctl features`: what can be switched on. Network groups are always on; the verb is there for scripts that do it.

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use crate::{
    exit::Failure,
    output::{Form, Output, OutputArguments},
    table::render,
};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// The features
    List(OutputArguments),
    /// Switches a feature on
    Enable {
        feature: Feature,
        #[command(flatten)]
        output: OutputArguments,
    },
}

#[derive(Clone, Copy, Debug, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Feature {
    /// Network groups
    Ng,
}

#[derive(Debug, Serialize)]
struct Listing {
    schema: u32,
    features: Vec<State>,
}

#[derive(Debug, Serialize)]
struct State {
    feature: Feature,
    enabled: bool,
}

impl Arguments {
    pub(crate) fn form(&self) -> Form {
        self.output().form()
    }

    fn output(&self) -> Output {
        match &self.verb {
            Verb::List(output) | Verb::Enable { output, .. } => output.output,
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<String, Failure> {
    let features = vec![State { feature: Feature::Ng, enabled: true }];
    let listing = Listing { schema: mesh_core::api::group::SCHEMA, features };
    let output = arguments.output();
    output.form().print(&listing, |_| match (&arguments.verb, output) {
        (_, Output::Name) => "ng\n".to_owned(),
        (Verb::Enable { feature: Feature::Ng, .. }, _) => "Network groups (ng) are always on.\n".to_owned(),
        (Verb::List(_), _) => {
            let row = ["ng", "always on", "Network groups"].map(str::to_owned).to_vec();
            render(&["FEATURE", "STATE", "WHAT"], &[row])
        }
    })
}
