//! The verbs of `ng` that ask the node's own daemon, and `features`.

use std::slice::from_ref;

use insta::assert_snapshot;
use mesh_core::api::{
    group::SCHEMA,
    node::{JoinList, JoinReply},
};

use crate::{
    replies::local_peer,
    scripted::{Answer, transcript},
};

/// NG-46.
#[test]
fn whoami() {
    let list = |peers| Answer::ok(&JoinList { schema: SCHEMA, peers });
    let texts = [
        transcript("ng whoami", &[list(vec![local_peer()])]),
        transcript("ng whoami -F json", &[list(vec![local_peer()])]),
        transcript("ng whoami", &[list(Vec::new())]),
    ];
    assert_snapshot!(texts.join("\n"));
}

/// NG-41, NG-49: what was left already is no failure.
#[test]
fn join_and_leave() {
    let joined = Answer::ok(&JoinReply { schema: SCHEMA, peer: local_peer() });
    let late = Answer::refused(504, "timeout", "the hub gave no answer within 10 s", "it goes on trying");
    let absent = Answer::refused(404, "not_found", "this node is not in shop", "");
    let texts = [
        transcript("ng join shop", from_ref(&joined)),
        transcript("ng join shop --member app_3f1c --label a --netns blue --timeout 3 -F json", from_ref(&joined)),
        transcript("ng join shop", &[late]),
        transcript("ng join shop --hub nowhere", &[]),
        transcript("ng leave shop --member app_3f1c", &[joined]),
        transcript("ng leave shop", from_ref(&absent)),
        transcript("ng leave shop -F json", &[absent]),
    ];
    assert_snapshot!(texts.join("\n"));
}

/// NG-48.
#[test]
fn features() {
    let lines = ["features list", "features enable ng", "features enable ng -o json", "features enable flight"];
    assert_snapshot!(lines.map(|line| transcript(line, &[])).join("\n"));
}

#[test]
fn a_daemon_that_is_not_there() {
    let lines = ["ng --socket [DIR]/none", "ng -F json --socket [DIR]/none", "ng --context nowhere"];
    assert_snapshot!(lines.map(|line| transcript(line, &[])).join("\n"));
}
