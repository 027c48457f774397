//! In which form an answer is printed.

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::exit::Failure;

/// Of every verb but those of `ng`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    #[default]
    Table,
    // A table with more columns.
    Wide,
    Json,
    Yaml,
    // Names alone, one a line.
    Name,
}

#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct OutputArguments {
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
}

/// Of the verbs of `ng`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    #[default]
    Human,
    Json,
    Yaml,
}

/// What is common to both: text for people, or a value for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Json,
    Yaml,
}

impl Output {
    pub(crate) fn form(self) -> Form {
        match self {
            Output::Json => Form::Json,
            Output::Yaml => Form::Yaml,
            Output::Table | Output::Wide | Output::Name => Form::Text,
        }
    }
}

impl Format {
    pub(crate) fn form(self) -> Form {
        match self {
            Format::Human => Form::Text,
            Format::Json => Form::Json,
            Format::Yaml => Form::Yaml,
        }
    }
}

impl Form {
    /// The value itself for programs, else what `text` makes of it.
    pub(crate) fn print<T: Serialize>(self, value: &T, text: impl FnOnce(&T) -> String) -> Result<String, Failure> {
        match self {
            Form::Text => Ok(text(value)),
            Form::Json => json(value),
            Form::Yaml => yaml(value),
        }
    }
}

pub(crate) fn json<T: Serialize>(value: &T) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value);
    text.map(|text| text + "\n").map_err(|error| Failure::unexpected(format!("cannot write JSON: {error}")))
}

pub(crate) fn yaml<T: Serialize>(value: &T) -> Result<String, Failure> {
    // By way of JSON, so that both forms have the same members.
    let value =
        serde_json::to_value(value).map_err(|error| Failure::unexpected(format!("cannot write YAML: {error}")))?;
    let text = serde_saphyr::to_string(&value);
    text.map_err(|error| Failure::unexpected(format!("cannot write YAML: {error}")))
}
