//! Where in the text of the settings something stands, and the problems found so far.

use std::{fmt::Display, str::FromStr};

use ipnet::IpNet;
use toml::Spanned;

use crate::model::{
    prefix,
    problem::{Problem, Problems},
};

pub(super) struct Reading<'a> {
    pub(super) file: &'a str,
    text: &'a str,
    pub(super) problems: Problems,
}

impl<'a> Reading<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        Reading { file, text, problems: Problems::default() }
    }

    /// A problem at a byte of the text.
    pub(super) fn report(&mut self, offset: Option<usize>, path: &str, message: impl Into<String>, hint: &str) {
        let line = offset.map(|offset| self.line(offset));
        self.problems.0.push(self.problem(line, path, message.into(), hint));
    }

    /// A problem of a value.
    pub(super) fn refuse<T>(&mut self, value: &Spanned<T>, path: &str, message: impl Into<String>, hint: &str) {
        self.report(Some(value.span().start), path, message, hint);
    }

    pub(super) fn problem(&self, line: Option<usize>, path: &str, message: String, hint: &str) -> Problem {
        let (file, hint) = (self.file.to_owned(), hint.to_owned());
        Problem { file, line, object: None, path: path.to_owned(), message, hint }
    }

    /// A text with rules of its own; its error is the message.
    pub(super) fn parse<T: FromStr<Err: Display>>(
        &mut self,
        text: &Spanned<String>,
        path: &str,
        hint: &str,
    ) -> Option<T> {
        let parsed = text.get_ref().parse();
        parsed.map_err(|error: T::Err| self.refuse(text, path, error.to_string(), hint)).ok()
    }

    /// As [`Reading::parse`], of a value that may be left out.
    pub(super) fn parse_given<T: FromStr<Err: Display>>(
        &mut self,
        text: Option<&Spanned<String>>,
        path: &str,
        hint: &str,
    ) -> Option<T> {
        text.and_then(|text| self.parse(text, path, hint))
    }

    pub(super) fn cidrs(&mut self, path: &str, list: &[Spanned<String>]) -> Vec<IpNet> {
        let mut nets = Vec::new();
        for text in list {
            match prefix::parse_cidr(text.get_ref()) {
                Ok(net) => nets.push(net),
                Err((message, hint)) => self.refuse(text, path, message, &hint),
            }
        }
        nets
    }

    fn line(&self, offset: usize) -> usize {
        1 + self.text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count()
    }
}
