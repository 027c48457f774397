//! An object has one owner: the file that it stands in, or the API.

use anyhow::Result;

use crate::site::{Site, condition, configuration, until};

#[test]
fn what_stands_in_a_file_is_changed_there_alone() -> Result<()> {
    let text = configuration("cl02", "10.8.0.0/16");
    let site = Site::start_with(|node| node.put_manifest("mine", &configuration("cl02", "10.8.0.0/16")))?;
    let known = site.object("configurations")?;
    assert_eq!(condition(&known, "NetworkCIDRsConfigured").unwrap().0, "True");
    assert!(known["metadata"]["creationTimestamp"].as_str().unwrap().starts_with("20"), "{known}");
    let uid = known["metadata"]["uid"].clone();

    let (status, message) = site.refused(&text.replace("10.8", "10.9"))?;
    assert!(message.contains("it stands in mine.yaml, which alone may change it; change that file"), "{message}");
    assert_eq!(status, 400);
    let (status, message) = site.ask("DELETE", "/v1/objects/configuration/cl02", None)?.refusal()?;
    assert!(status == 409 && message.contains("mine.yaml"), "{status} {message}");

    site.node.put_manifest("mine", &text.replace("10.8", "10.9"))?;
    until("the file to be taken up", || {
        let now = site.object("configurations")?;
        assert_eq!(condition(&now, "NetworkCIDRsConfigured").unwrap().0, "True");
        Ok((now["spec"]["remote"]["cidr"]["pod"] == "10.9.0.0/16").then_some(()))
    })?;
    assert_eq!(site.object("configurations")?["metadata"]["uid"], uid);
    Ok(())
}

#[test]
fn a_file_that_takes_what_was_applied_is_refused_and_both_are_named() -> Result<()> {
    let site = Site::start()?;
    let text = configuration("cl02", "10.8.0.0/16");
    site.apply(&text)?;
    site.node.put_manifest("late", &text)?;
    until("the refusal", || {
        let status = site.ask("GET", "/v1/status", None)?.json()?;
        let told = status["problems"].to_string();
        Ok((told.contains("late.yaml") && told.contains("the store")).then_some(()))
    })?;
    assert_eq!(condition(&site.object("configurations")?, "NetworkCIDRsConfigured").unwrap().1, "Refused");
    // The object gives way; the file stays.
    site.node.remove_manifest("late")?;
    until("the end of it", || {
        Ok(site.ask("GET", "/v1/status", None)?.json()?["problems"].as_array().unwrap().is_empty().then_some(()))
    })?;
    assert_eq!(condition(&site.object("configurations")?, "NetworkCIDRsConfigured").unwrap().0, "True");
    Ok(())
}

/// LQ-11: built-in templates are there to be read.
#[test]
fn templates_that_are_built_in_are_shown_and_stay() -> Result<()> {
    let site = Site::start()?;
    let names: Vec<_> = site.objects("wgst")?.iter().map(|one| one["metadata"]["name"].to_string()).collect();
    assert!(names.contains(&"\"wireguard-server\"".to_owned()), "{names:?}");
    let path = "/v1/objects/wggatewayservertemplates/wireguard-server?namespace=liqo";
    assert_eq!(site.ask("DELETE", path, None)?.refusal()?.0, 409);
    assert_eq!(site.ask("GET", path, None)?.json()?["objects"].as_array().unwrap().len(), 1);
    Ok(())
}
