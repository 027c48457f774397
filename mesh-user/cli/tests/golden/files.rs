//! `apply`, `get`, `delete`, and what is written for shells and readers.

use std::{fs, slice::from_ref};

use insta::assert_snapshot;
use mesh_core::api::{Action, Applied, ApplyReply, group::SCHEMA};
use serde_json::{Value, json};

use crate::scripted::{Answer, transcript, transcript_in};

const MANIFEST: &str = "apiVersion: mesh/v1\nkind: NetworkGroup\nmetadata:\n  name: shop\nspec:\n  description: new\n";

/// NG-50.
#[test]
fn apply() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("more")).unwrap();
    for name in ["a.yaml", "more/b.yaml", "more/c.yml"] {
        fs::write(folder.path().join(name), MANIFEST).unwrap();
    }
    let applied = |action, diff: &[&str]| Applied {
        action,
        kind: "NetworkGroup".to_owned(),
        name: "shop".to_owned(),
        diff: diff.iter().map(|line| (*line).to_owned()).collect(),
    };
    let changed = applied(Action::Changed, &["description: \"old\" -> \"new\""]);
    let reply = |dry_run, changes| Answer::ok(&ApplyReply { schema: SCHEMA, dry_run, changes, plan: Vec::new() });
    let transcript = |line: &str, answers: &[Answer]| transcript_in(folder.path(), line, answers);
    let texts = [
        transcript("apply -f a.yaml --dry-run", &[reply(true, vec![changed.clone()])]),
        transcript("apply -f more -f a.yaml --org other", &[reply(false, vec![changed.clone()])]),
        transcript("apply -f a.yaml", &[reply(false, vec![applied(Action::Unchanged, &[])])]),
        transcript("apply -f a.yaml -o json", &[reply(false, vec![changed.clone()])]),
        transcript("apply -f a.yaml -o name", &[reply(false, vec![changed])]),
        transcript("apply -f absent.yaml", &[]),
        transcript("apply", &[]),
    ];
    assert_snapshot!(texts.join("\n"));
}

fn manifest(kind: &str, name: &str, spec: Value, status: Value) -> Value {
    let metadata = json!({ "name": name, "org": "default" });
    json!({ "apiVersion": "mesh/v1", "kind": kind, "metadata": metadata, "spec": spec, "status": status })
}

fn objects(kind: &str, objects: &[&Value]) -> Answer {
    Answer::ok(&json!({ "schema": 1, "kind": kind, "objects": objects }))
}

#[test]
fn get_and_delete() {
    let group = manifest(
        "NetworkGroup",
        "shop",
        json!({ "description": "new", "tags": ["a"], "defaultAccess": "allow", "cidr": "10.255.0.0/16" }),
        json!({ "id": "ng_1", "version": 7, "members": 3, "peers": 2, "managedBy": "api" }),
    );
    let objects = |found: &[&Value]| objects("NetworkGroup", found);
    let (none, one, two) = (objects(&[]), objects(&[&group]), objects(&[&group, &group]));
    let mut texts: Vec<String> = ["table", "wide", "json", "yaml", "name"]
        .map(|form| transcript(&format!("get networkgroups -o {form}"), from_ref(&two)))
        .into();
    texts.extend([
        transcript("get ng shop --group x --org other", from_ref(&one)),
        transcript("get Peer --all-orgs", from_ref(&none)),
        transcript("get thing", &[]),
        transcript("delete networkgroup shop --yes", from_ref(&one)),
        transcript("delete networkgroup shop --skip-confirm -o json", from_ref(&one)),
        transcript("delete networkgroup shop", &[one]),
        transcript("delete networkgroup shop", &[none]),
    ]);
    assert_snapshot!(texts.join("\n"));
}

#[test]
fn each_kind_has_its_columns() {
    let member = json!({ "group": "shop", "label": "jobs", "kind": "ADDON", "domainName": "jobs.cc-ng.cloud" });
    let server = json!({
        "group": "shop", "type": "CleverPeer", "parentMember": "app_1", "role": "SERVER", "publicKey": "K=",
        "ip": "192.0.2.1", "port": 51_820, "hostname": "hv-a",
    });
    let client = json!({ "group": "shop", "type": "ExternalPeer", "parentMember": "external_1", "publicKey": "L=" });
    let rule = json!({ "group": "shop", "from": "*", "to": "app_1", "traffic": "tcp/80" });
    let own = |address: &str, id: &str| json!({ "id": id, "address": address, "managedBy": "file" });
    let member = manifest("Member", "queue_3", member, json!({ "status": "active", "managedBy": "api" }));
    let server = manifest("Peer", "p1", server, own("10.255.0.5", "p1"));
    let client = manifest("Peer", "laptop", client, own("10.255.0.6", "p2"));
    let rule = manifest("AccessRule", "r1", rule, json!({ "managedBy": "api" }));
    let answers = [
        ("members", objects("Member", &[&member])),
        ("peers", objects("Peer", &[&server, &client])),
        ("accessrules", objects("AccessRule", &[&rule])),
    ];
    let texts = answers.each_ref().map(|(kind, answer)| {
        ["table", "wide"].map(|form| transcript(&format!("get {kind} -o {form}"), from_ref(answer))).join("\n")
    });
    assert_snapshot!(texts.join("\n"));
}

#[test]
fn shells_and_readers() {
    for (shell, expected) in
        [("bash", "complete -F _meshctl"), ("zsh", "#compdef meshctl"), ("fish", "complete -c meshctl")]
    {
        let script = transcript(&format!("completion {shell}"), &[]);
        assert!(script.contains("exit 0") && script.contains(expected) && script.contains("get-config"), "{script}");
    }
    let folder = tempfile::tempdir().unwrap();
    assert!(transcript_in(folder.path(), "man [DIR]/man1", &[]).contains("exit 0"));
    for page in ["meshctl.1", "meshctl-ng.1", "meshctl-ng-create-external.1", "meshctl-apply.1"] {
        let text = fs::read_to_string(folder.path().join("man1").join(page)).unwrap();
        assert!(text.contains(".SH SYNOPSIS"), "{page}:\n{text}");
    }
}

/// No verb and no flag of the command line is without words.
#[test]
fn everything_has_help() {
    assert_snapshot!(
        ["--help", "ng --help", "ng create --help", "ng join --help", "apply --help"]
            .map(|line| transcript(line, &[]))
            .join("\n")
    );
}
