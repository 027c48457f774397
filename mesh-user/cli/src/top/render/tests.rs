//! How the view looks, as a terminal would show it.

use std::{collections::BTreeMap, time::Duration};

use mesh_core::{
    api::{
        Connection, ConnectionState, Status,
        node::{LocalPeer, RemotePeer},
    },
    plan::PublicKey,
};
use ratatui::{Terminal, backend::TestBackend};

use super::{
    super::model::{Key, Next, Reading},
    *,
};

fn remote(number: u8, endpoint: Option<&str>, age: Option<u64>, bytes: u64) -> RemotePeer {
    RemotePeer {
        peer: format!("peer-{number}").parse().unwrap(),
        member: ["app_web", "postgresql_db", "redis_cache"][usize::from(number) % 3].parse().unwrap(),
        address: format!("10.101.0.{number}").parse().unwrap(),
        endpoint: endpoint.map(str::to_owned),
        handshake_age_s: age,
        latency_us: age.map(|age| age * 40),
        rx_bytes: bytes,
        tx_bytes: bytes / 10,
    }
}

fn local(label: &str, up: bool, peers: Vec<RemotePeer>) -> LocalPeer {
    LocalPeer {
        org: "default".parse().unwrap(),
        ng_id: "ng_12345678-1234-4123-8123-123456789abc".parse().unwrap(),
        ng_label: label.parse().unwrap(),
        member: "app_web".parse().unwrap(),
        peer: "peer-5".parse().unwrap(),
        hv: "hv-a".parse().unwrap(),
        address: "10.101.0.5".parse().unwrap(),
        public_key: PublicKey([7; 32]),
        device: format!("mesh-g-{label}"),
        netns: None,
        names: Vec::new(),
        listen_port: 51_820,
        up,
        detail: String::new(),
        hub_reachable: true,
        peers,
    }
}

/// The look at second `at`: everything grows by so many bytes and packets each second.
fn reading(at: u64) -> Reading {
    let connection = Connection {
        name: "default/client".to_owned(),
        remote: "cl02".to_owned(),
        kind: "Client".to_owned(),
        state: ConnectionState::Connected,
        latency_us: Some(1_250),
        detail: String::new(),
        device: None,
        endpoint: Some("172.19.0.8:51840".to_owned()),
        listen_port: None,
        handshake_age_s: Some(7),
        rx_bytes: at * 12_000_000,
        tx_bytes: at * 500,
        rx_packets: 0,
        tx_packets: 0,
        lanes: Vec::new(),
        conditions: Vec::new(),
        history: Vec::new(),
        mtu: None,
        path_mtu: None,
    };
    let status = Status {
        schema: 1,
        version: "0.1.0".to_owned(),
        cluster: "cl01".to_owned(),
        public_key: String::new(),
        interfaces: Vec::new(),
        connections: vec![connection],
        remaps: Vec::new(),
        drops: BTreeMap::from([("not-allowed".to_owned(), 40 + 3 * at), ("barred".to_owned(), 100)]),
        problems: Vec::new(),
        notices: Vec::new(),
        groups: Vec::new(),
    };
    let peers = vec![
        remote(6, Some("192.0.2.6:51820"), Some(12), at * 2_000),
        remote(7, Some("192.0.2.7:51820"), Some(240), at * 1_000_000),
        remote(8, None, None, 0),
    ];
    Reading {
        at: Duration::from_secs(at),
        status,
        peers: vec![local("shop", true, peers), local("lab", false, vec![])],
    }
}

fn two_looks() -> Model {
    let mut model = Model::default();
    model.take(reading(10));
    model.take(reading(12));
    model
}

fn screen(model: &Model, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, model)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned() + "\n";
    (0..height).map(line).collect()
}

fn press(model: &mut Model, keys: &str) {
    for letter in keys.chars() {
        assert_eq!(model.press(Key::Letter(letter)), Next::Stay);
    }
}

#[test]
fn the_tabs_look_like_this() {
    let mut model = two_looks();
    for name in ["groups", "peers", "paths", "drops"] {
        insta::assert_snapshot!(name, screen(&model, 118, 9));
        model.press(Key::Next);
    }
    assert_eq!(model.tab, Tab::Groups);
}

/// Ids as they are given out do not fit, and nothing but names is shortened.
#[test]
fn long_names_give_way_on_a_narrow_screen() {
    let mut reading = reading(10);
    for peer in &mut reading.peers[0].peers {
        peer.member = "external_0b2c4d6e-1f3a-4b5c-8d7e-9f0a1b2c3d4e".parse().unwrap();
        peer.peer = "0b2c4d6e-1f3a-4b5c-8d7e-9f0a1b2c3d4e".parse().unwrap();
    }
    let mut model = Model::default();
    model.take(reading);
    model.press(Key::Next);
    insta::assert_snapshot!("narrow", screen(&model, 110, 8));
    assert!(screen(&model, 96, 8).contains("192.0.2.6:51820 "));
}

#[test]
fn before_the_first_answer_and_without_a_daemon() {
    let mut model = Model::default();
    assert!(screen(&model, 60, 5).starts_with("asking the daemon ..."));
    model.fail("cannot reach meshd".to_owned());
    assert!(screen(&model, 60, 5).starts_with("cannot reach meshd\n"));
    model.take(reading(1));
    model.fail("cannot reach meshd".to_owned());
    let shown = screen(&model, 90, 6);
    assert!(shown.starts_with("hv-a  meshd 0.1.0  cannot reach meshd\n") && shown.contains("mesh-g-shop"), "{shown}");
}

#[test]
fn a_filter_is_typed_kept_and_cleared() {
    let mut model = two_looks();
    model.press(Key::Next);
    press(&mut model, "/CACHEq");
    assert!(screen(&model, 90, 6).contains("nothing matches the filter"));
    model.press(Key::Backspace);
    assert!(screen(&model, 90, 8).contains("/CACHE_"));
    model.press(Key::Enter);
    let shown = screen(&model, 110, 8);
    assert!(shown.contains("redis_cache") && !shown.contains("postgresql_db"), "{shown}");
    model.press(Key::Escape);
    assert!(screen(&model, 110, 8).contains("postgresql_db"));
}

#[test]
fn numbers_are_sorted_from_the_greatest_and_words_by_letter() {
    let mut model = two_looks();
    model.press(Key::Next);
    let members = |model: &Model| model.rows().iter().map(|row| row[1].text.clone()).collect::<Vec<_>>();
    assert_eq!(members(&model), ["app_web", "postgresql_db", "redis_cache"]);
    press(&mut model, "sssssss");
    assert_eq!(model.sorted_by(), Some(6));
    assert_eq!(members(&model), ["postgresql_db", "app_web", "redis_cache"], "by what comes in");
    press(&mut model, "ss");
    assert_eq!(model.sorted_by(), Some(8));
    press(&mut model, "s");
    assert_eq!(model.sorted_by(), None);
}

#[test]
fn the_selection_stays_on_a_row() {
    let mut model = two_looks();
    model.press(Key::Next);
    for _ in 0..9 {
        model.press(Key::Down);
    }
    assert_eq!(model.selected, 2);
    model.press(Key::PageUp);
    assert_eq!(model.selected, 0);
    model.press(Key::PageDown);
    press(&mut model, "/web");
    assert_eq!(model.selected, 0, "one row is left");
    assert_eq!(model.press(Key::Interrupt), Next::Quit);
    model.press(Key::Enter);
    assert_eq!(model.press(Key::Letter('q')), Next::Quit);
}

#[test]
fn counters_that_begin_anew_have_no_rate() {
    let mut model = Model::default();
    model.take(reading(12));
    let mut fresh = reading(0);
    fresh.at = Duration::from_secs(13);
    model.take(fresh);
    assert!(model.rows().iter().all(|row| row[6].text == "0 B/s"), "{:?}", model.rows());
}

#[test]
fn a_screen_of_any_size_is_drawn() {
    let model = two_looks();
    for (width, height) in [(1, 1), (5, 2), (20, 3), (40, 4), (300, 90)] {
        assert_eq!(screen(&model, width, height).lines().count(), usize::from(height));
    }
}
