//! In which form `get` prints objects.

use std::str::FromStr;

use clap::Args;

use super::path::Path;
use crate::output::{Form, Output};

/// `-o`, of `get`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ObjectForm {
    Plain(Output),
    /// Fields of the object, or of `items` where there are several.
    JsonPath(Path),
    Template(Path),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct FormArguments {
    /// Form of the output: table, wide, json, yaml, name, jsonpath=EXPRESSION or template=TEXT
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    output: ObjectForm,
    /// Text with fields in it, as in {{.status.endpoint}}
    #[arg(long, value_name = "TEXT", value_parser = Path::template, conflicts_with = "output")]
    template: Option<Path>,
}

impl FormArguments {
    pub(crate) fn form(&self) -> ObjectForm {
        self.template.clone().map_or_else(|| self.output.clone(), ObjectForm::Template)
    }

    /// Of a failure.
    pub(crate) fn of_failure(&self) -> Form {
        match &self.output {
            ObjectForm::Plain(output) => output.form(),
            ObjectForm::JsonPath(_) | ObjectForm::Template(_) => Form::Text,
        }
    }
}

impl FromStr for ObjectForm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, expression) = text.split_once('=').map_or((text, None), |(name, rest)| (name, Some(rest)));
        match (name, expression) {
            ("jsonpath", Some(expression)) => Path::jsonpath(expression).map(ObjectForm::JsonPath),
            ("template" | "go-template", Some(text)) => Path::template(text).map(ObjectForm::Template),
            ("table", None) => Ok(ObjectForm::Plain(Output::Table)),
            ("wide", None) => Ok(ObjectForm::Plain(Output::Wide)),
            ("json", None) => Ok(ObjectForm::Plain(Output::Json)),
            ("yaml", None) => Ok(ObjectForm::Plain(Output::Yaml)),
            ("name", None) => Ok(ObjectForm::Plain(Output::Name)),
            _ => Err("it is table, wide, json, yaml, name, jsonpath=EXPRESSION or template=TEXT".to_owned()),
        }
    }
}
