//! `meshctl apply`, `get` and `delete`: groups that are declared in files.

use anyhow::Result;
use insta::assert_snapshot;

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
