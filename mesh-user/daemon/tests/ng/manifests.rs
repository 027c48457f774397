//! `meshctl apply`, `get` and `delete`: groups that are declared in files.

use std::time::Duration;

use anyhow::{Context, Result};
use insta::assert_snapshot;
use mesh_lab::interrupt;

use crate::{hub::Hub, session::Session};

/// NG-50, NG-49: applied twice, nothing changes the second time.
#[test]
fn manifests_are_applied() -> Result<()> {
    let hub = Hub::start()?;
    let mut session = Session::new(&hub, "default");
    let manifest = |description: &str| {
        format!(
            "printf 'apiVersion: mesh/v1\\nkind: NetworkGroup\\nmetadata:\\n  name: shop\\nspec:\\n  description: {description}\\n'"
        )
    };
    let (first, second) = (manifest("first"), manifest("second"));
    session.type_in(&[
        &format!("{first} | meshctl apply -f - --dry-run"),
        "meshctl ng get shop",
        &format!("{first} | meshctl apply -f -"),
        &format!("{first} | meshctl apply -f -"),
        &format!("{second} | meshctl apply -f - -o json"),
        "meshctl get networkgroups",
        "meshctl get networkgroup shop -o yaml",
        "meshctl get networkgroup shop -o yaml | meshctl apply -f -",
        "printf 'apiVersion: mesh/v1\\nkind: NetworkGroup\\nspec: {wrong: 1}\\n' | meshctl apply -f -",
        "printf 'apiVersion: mesh/v1\\nkind: NetworkGroup\\nmetadata: {name: other}\\n' > a.yaml",
        "printf 'kind: Peer\\n  wrong: [\\n' > b.yaml",
        "meshctl apply -f a.yaml -f b.yaml",
        "meshctl delete networkgroup shop",
        "meshctl delete networkgroup shop --yes",
        "meshctl get networkgroup shop -o json",
    ])?;
    assert_snapshot!(session.text);
    Ok(())
}

/// A problem goes with the text that it is about, also when the next text cannot be read.
#[test]
fn problems_are_those_of_the_manifests_that_are_there() -> Result<()> {
    let hub = Hub::start()?;
    hub.done("default", "meshctl ng create shop")?;
    let told = |what: &str, expected: &str, other: &str| -> Result<()> {
        interrupt::wait_for(what, Duration::from_secs(10), Duration::from_millis(50), || {
            let problems = hub.node.status()?.problems.join("\n");
            Ok((problems.contains(expected) && !problems.contains(other)).then_some(()))
        })
        .with_context(|| format!("{:?}", hub.node.status().map(|status| status.problems)))
    };
    hub.node.put_manifest("a.yaml", "apiVersion: mesh/v1\nkind: NetworkGroup\nmetadata: {name: shop}\n")?;
    told("the group of the API to be kept", "shop", "not readable")?;
    hub.node.put_manifest("a.yaml", "kind: [\n")?;
    told("what cannot be read to be told alone", "not readable", "shop")?;
    hub.node.remove_manifest("a.yaml")?;
    told("no problem to be left", "", "a.yaml")
}
