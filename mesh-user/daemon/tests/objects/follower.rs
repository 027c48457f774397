//! The nodes of one cluster follow one hub: they have its objects, and each says what it sees of them.

use std::fs;

use anyhow::Result;
use mesh_lab::node::{Node, Programs};

use crate::site::{SETTINGS, Site, all, ask, client, configuration, objects, public_key, until};

#[test]
fn nodes_of_a_cluster_have_the_objects_of_their_hub() -> Result<()> {
    let site = Site::start()?;
    let text = all(&[configuration("cl02", "10.243.0.0/16"), client("cl02", "192.0.2.7", 32009), public_key("cl02")]);
    site.apply(&text)?;
    let namespace = site.lab.namespace("n2")?;
    let mut node = Node::new(&site.lab, "n2", &namespace, &Programs::beside(env!("CARGO_BIN_EXE_meshd"))?)?;
    let contexts = site.lab.directory().join("contexts.toml");
    fs::write(&contexts, format!("[context.hub]\nserver = \"unix://{}\"\n", site.node.socket().display()))?;
    let settings = SETTINGS.replace("\"n1\"", "\"n2\"");
    node.configure(&format!("hub = \"hub\"\ncontexts_file = {:?}\n{settings}", contexts.display().to_string()))?;
    node.start()?;
    let count = |kind: &str| Ok::<_, anyhow::Error>(objects(&namespace, &node, kind)?.len());
    until("the objects of the hub", || Ok((count("connections")? == 1).then_some(())))?;
    let (theirs, own) = (objects(&namespace, &node, "configurations")?, site.objects("configurations")?);
    assert_eq!(
        (&theirs[0]["metadata"], &theirs[0]["status"]["remote"]),
        (&own[0]["metadata"], &own[0]["status"]["remote"])
    );

    // They are changed at the hub alone.
    let (status, message) = ask(&namespace, &node, "POST", "/v1/apply", Some(&text))?.refusal()?;
    assert!(status == 409 && message.contains("follows the hub"), "{message}");
    assert_eq!(ask(&namespace, &node, "DELETE", "/v1/objects/gwc/client", None)?.refusal()?.0, 409);

    // Without its hub it goes on, also over a restart.
    let site = {
        let mut site = site;
        site.node.kill()?;
        site
    };
    std::thread::sleep(std::time::Duration::from_millis(1500));
    node.kill()?;
    node.start()?;
    assert_eq!(objects(&namespace, &node, "connections")?.len(), 1);
    let mut site = site;
    site.node.start()?;
    site.ask("DELETE", "/v1/objects/gwc/client", None)?.json()?;
    until("the deletion to arrive", || Ok((objects(&namespace, &node, "connections")?.is_empty()).then_some(())))?;
    Ok(())
}
