//! Every verb before a real daemon, as golden files: what was typed, what came of it, how it ended.

use anyhow::Result;
use insta::assert_snapshot;

use crate::{hub::Hub, session::Session};

const ALICE: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";
const BOB: &str = "3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=";

/// NG-01, NG-02, NG-03, NG-04, NG-05, NG-06, NG-07, NG-32.
#[test]
fn groups_come_and_go() -> Result<()> {
    let hub = Hub::start()?;
    let mut session = Session::new(&hub, "default");
    session.type_in(&[
        "meshctl ng",
        "meshctl ng create shop --description 'My first NG' --tags test,ng",
        "meshctl ng create shop -F json",
        "meshctl ng create 'a,b c.d_e' -F json",
        "meshctl ng create wrong --link app_1,nonsense_2",
        "meshctl ng get wrong",
        "meshctl ng create wrong --tags 'a b'",
        "meshctl ng create app_label --link app_1,postgresql_2 -F json",
        "meshctl ng update shop --description Second --tags ng -F json",
        "meshctl ng delete shop",
        "meshctl ng delete app_label",
        "meshctl ng delete app_label --yes -F json",
        "meshctl ng delete app_label --yes",
        "meshctl ng delete shop --yes",
        "meshctl ng get shop -F json",
    ])?;
    assert_snapshot!(session.text);
    Ok(())
}

/// NG-10, NG-11, NG-12, NG-13, NG-14, NG-15, NG-16, NG-17, NG-18.
#[test]
fn members_are_linked_and_unlinked() -> Result<()> {
    let hub = Hub::start()?;
    let mut session = Session::new(&hub, "default");
    session.type_in(&[
        "meshctl ng create shop",
        "meshctl ng link app_1 shop",
        "meshctl ng link app_1 shop",
        "meshctl ng link app_1 shop -F json",
        "meshctl ng link postgresql_2 shop -F json",
        "meshctl ng link queue_3 shop",
        "meshctl ng link queue_3 shop --kind add-on --label jobs",
        "meshctl ng link lb_4 shop --kind LoadBalancer --domain front.cc-ng.cloud -F json",
        "meshctl ng link app_5 shop --domain front.example.com",
        "meshctl ng link addon_6 shop",
        "meshctl ng link app_1 nothing",
        "meshctl ng get shop",
        "meshctl ng unlink postgresql_2 shop",
        "meshctl ng unlink postgresql_2 shop",
        "meshctl ng unlink postgresql_2 shop -F json",
        "meshctl ng get app_1",
        "meshctl ng get app_1 -F json",
    ])?;
    assert_snapshot!(session.text);
    Ok(())
}

/// NG-25, NG-26, NG-27, NG-28, NG-29, NG-34, NG-35, NG-36, NG-37.
#[test]
fn external_peers_come_and_go() -> Result<()> {
    let hub = Hub::start()?;
    let mut session = Session::new(&hub, "default");
    let (laptop, phone) = (
        format!("meshctl ng create external laptop shop {ALICE}"),
        format!("meshctl ng create external phone shop {BOB} --role server --ip 198.51.100.7"),
    );
    session.type_in(&[
        "meshctl ng create shop --cidr 10.101.0.0/16",
        &laptop,
        &laptop,
        "meshctl ng create external x shop nonsense",
        &phone,
        &format!("{phone} --port 51820 --member external_phones -F json"),
        "meshctl ng get laptop",
        "meshctl ng get phone -F json",
        "meshctl ng get-config laptop shop",
        "printf dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo= > alice.key",
        "meshctl ng get-config laptop shop --private-key-file alice.key --out-file wg0.conf",
        "stat -c %a wg0.conf",
        "wg-quick strip ./wg0.conf",
        "meshctl ng get-config phone shop --private-key-file alice.key",
        "meshctl ng get-config phone shop",
        "meshctl ng get-config phone shop -F json",
        "meshctl ng get-config nothing shop",
        "meshctl ng delete external laptop shop",
        "meshctl ng delete external laptop shop --yes",
        "meshctl ng delete external laptop shop --yes -F json",
        "meshctl ng delete external phone shop --yes -F json",
        "meshctl ng get shop -F json",
    ])?;
    assert_snapshot!(session.text);
    Ok(())
}

/// NG-09, NG-30, NG-31, NG-33.
#[test]
fn what_is_looked_for_is_found() -> Result<()> {
    let hub = Hub::start()?;
    let mut session = Session::new(&hub, "default");
    session.type_in(&[
        "meshctl ng create shop --link app_1 --description 'Where WE sell'",
        "meshctl ng create other -o acme --link app_1",
        "meshctl ng",
        "meshctl ng -o acme",
        "meshctl ng get other",
        "meshctl ng search we -F json",
        "meshctl ng search SHOP",
        "meshctl ng search nothing",
        "meshctl ng search nothing -F json",
        &format!("meshctl ng create external shop shop {ALICE}"),
        "meshctl ng get shop --type NetworkGroup -F json",
        "meshctl ng get shop --type Peer",
        "meshctl ng get shop --type CleverPeer",
        "meshctl ng search app_1 --type Member,ExternalPeer",
    ])?;
    assert_snapshot!(session.text);
    // Its message lists ids in the order of ids, which is another each time.
    let ambiguous = hub.shell("default", "meshctl ng get shop -F json")?;
    assert_eq!(ambiguous.status.code(), Some(4), "{ambiguous:?}");
    assert!(ambiguous.stdout.starts_with("{\"error\":{\"code\":\"ambiguous\""), "{ambiguous:?}");
    Ok(())
}

/// NG-44, NG-45, NG-49.
#[test]
fn rules_and_blocks() -> Result<()> {
    let hub = Hub::start()?;
    let mut session = Session::new(&hub, "default");
    session.type_in(&[
        "meshctl ng create shop --link app_1,postgresql_2 --default-deny",
        "meshctl ng rule list shop",
        "meshctl ng rule add shop app_1 postgresql_2 tcp/5432",
        "meshctl ng rule add shop '*' app_1 icmp -F json",
        "meshctl ng rule add shop app_1 app_9 tcp/0",
        "meshctl ng rule delete shop app_1 postgresql_2",
        "meshctl ng rule delete shop app_1 postgresql_2",
        "meshctl ng rule list shop -F json",
        "meshctl ng rule default shop allow",
        "meshctl ng block app_9",
        "meshctl ng block app_1",
        "meshctl ng block -F json",
        "meshctl ng unblock app_1",
        "meshctl ng block",
    ])?;
    assert_snapshot!(session.text);
    Ok(())
}
