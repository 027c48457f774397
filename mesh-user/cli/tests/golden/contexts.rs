//! `context`: the user's file of daemons.

use std::fs;

use insta::assert_snapshot;
use mesh_core::api::group::{GroupList, SCHEMA};

use crate::scripted::{Answer, transcript_in};

#[test]
fn contexts_are_set_used_and_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let lines = [
        "context list",
        "context set here --server unix:///run/mesh/meshd.sock --org shop",
        "context set hub --server https://hub:7443",
        "context set other --server unix:///run/other.sock",
        "context use other",
        "context use nowhere",
        "context list -o wide",
        "context list -o json",
        "context list -o name",
        "context delete other",
    ];
    let mut texts = lines.map(|line| transcript_in(folder.path(), line, &[])).join("\n");
    let list = Answer::ok(&GroupList { schema: SCHEMA, network_groups: Vec::new() });
    texts += &transcript_in(folder.path(), "context set here --server unix://[DIR]/meshd.sock -o name", &[]);
    texts += &transcript_in(folder.path(), "ng --context here", &[list]);
    texts += &fs::read_to_string(folder.path().join(".config/mesh/contexts.toml")).unwrap();
    assert_snapshot!(texts.replace(folder.path().to_str().unwrap(), "[DIR]"));
}
