//! A change that cannot be leaves everything as it was, and what depends on something deleted says so.

use anyhow::Result;

use crate::site::{Site, all, client, condition, configuration, public_key};

/// LQ-28: what this node alone can know (the allocator) refuses before anything is stored.
#[test]
fn what_cannot_be_planned_is_not_stored() -> Result<()> {
    let site = Site::start()?;
    let text = all(&[configuration("cl02", "10.243.0.0/16"), client("cl02", "192.0.2.7", 32009), public_key("cl02")]);
    site.apply(&text)?;
    let before = site.object("configurations")?;
    // Mesh-wide names on top of an address of this host.
    let host = site.namespace.command("ip").args(["addr", "add", "10.99.0.1/16", "dev", "lo"]).status()?;
    assert!(host.success());
    let wide = "    presented: { pod: 10.99.0.0/16, external: 10.98.0.0/16 }\n  local:\n    presented: { pod: 10.97.0.0/16, external: 10.96.0.0/16 }\n";
    let (status, message) = site.refused(&(configuration("cl02", "10.243.0.0/16") + wide))?;
    assert_eq!(status, 400, "{message}");
    assert!(message.contains("10.99.0.0/16") && message.contains("Configuration default/cl02"), "{message}");
    let after = site.object("configurations")?;
    assert_eq!(after, before);
    assert_eq!(site.objects("connections")?.len(), 1);
    Ok(())
}

#[test]
fn a_gateway_without_its_configuration_waits() -> Result<()> {
    let site = Site::start()?;
    let text = all(&[configuration("cl02", "10.243.0.0/16"), client("cl02", "192.0.2.7", 32009), public_key("cl02")]);
    site.apply(&text)?;
    site.ask("DELETE", "/v1/objects/configurations/cl02?namespace=default", None)?.json()?;
    assert!(site.objects("connections")?.is_empty());
    assert_eq!(condition(&site.object("gwc")?, "Ready"), Some(("False".into(), "WaitsForConfiguration".into())));
    assert_eq!(condition(&site.object("pk")?, "Accepted"), Some(("False".into(), "WaitsForConfiguration".into())));
    let status = site.ask("GET", "/v1/status", None)?.json()?;
    assert!(status["notices"].to_string().contains("waits for the Configuration of cl02"), "{status}");
    // It comes back as it was.
    site.apply(&configuration("cl02", "10.243.0.0/16"))?;
    assert_eq!(site.objects("connections")?.len(), 1);
    let (status, message) = site.ask("DELETE", "/v1/objects/connection/cl02", None)?.refusal()?;
    assert!(status == 409 && message.contains("made by the daemon"), "{message}");
    Ok(())
}
