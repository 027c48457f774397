//! The lines of Clever Cloud's documentation, as `docs/from-clever.md` lists them.

use anyhow::{Context, Result, bail, ensure};
use mesh_lab::process::Finished;
use serde_json::Value;

use crate::hub::Hub;

/// What the documentation has; `clever ng` stands there twice.
const LINES: usize = 14;

const KEY: &str = "YgrU6lGpQZoLcLTUUVyTGbrAbPRt8lHqFcEHbaXWqRE=";

struct Row {
    clever: String,
    meshctl: String,
}

/// NG-48 and the command lines of the documentation.
#[test]
fn lines_run_with_the_first_word_replaced() -> Result<()> {
    let rows = rows()?;
    ensure!(rows.len() == LINES, "{} lines", rows.len());
    let hub = Hub::start()?;
    for (index, row) in rows.iter().enumerate() {
        let same = row.clever.replacen("clever", "meshctl", 1);
        for (way, line) in [("same", &same), ("here", &row.meshctl)] {
            let org = format!("{way}-{index}");
            let finished = run(&hub, &org, line).with_context(|| line.clone())?;
            ensure!(finished.status.success(), "{line}: {finished:?}\n{}", hub.node.tail(20));
            check(&hub, &org, &row.clever, &finished).with_context(|| format!("{line}: {finished:?}"))?;
        }
    }
    Ok(())
}

fn rows() -> Result<Vec<Row>> {
    let text = include_str!("../../../../docs/from-clever.md");
    let lines = text.lines().filter(|line| line.starts_with("| `clever "));
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('`').collect();
        let [_, clever, _, meshctl, ..] = cells.as_slice() else { bail!("no two command lines in {line}") };
        Ok(Row { clever: (*clever).to_owned(), meshctl: (*meshctl).to_owned() })
    };
    lines.map(row).collect()
}

/// In an org of its own, with a group of what the line speaks of.
fn run(hub: &Hub, org: &str, line: &str) -> Result<Finished> {
    let mut id = String::new();
    if !line.contains("create") {
        let made = hub.json(org, "meshctl ng create myNG --link redis_xxx")?;
        id = text(&made, "/networkGroup/id")?.to_owned();
        hub.done(org, &format!("meshctl ng create external laptop myNG {KEY}"))?;
    }
    let words = [
        ("ngIdOrLabel", "myNG"),
        ("ngIdorLabel", &id),
        ("ngId", &id),
        ("ngLabel", "myNG"),
        ("resourceIdOrName", "redis_xxx"),
        ("text_to_search", "MYng"),
        ("peerIdOrLabel", "laptop"),
    ];
    let line = words.iter().fold(line.to_owned(), |line, (word, filled)| line.replace(word, filled));
    let asks = line.contains("delete") && !line.contains("--yes");
    // A terminal, and somebody who says yes.
    let line = if asks { format!("(sleep 0.5; echo y) | script -qec '{line}' /dev/null") } else { line };
    hub.shell(org, &line)
}

fn check(hub: &Hub, org: &str, clever: &str, finished: &Finished) -> Result<()> {
    let group = || hub.json(org, "meshctl ng get myNG");
    let ids = |group: &Value| -> Result<Vec<String>> {
        let members = group.pointer("/networkGroup/members").and_then(Value::as_array).context("no members")?;
        members.iter().map(|member| text(member, "/id").map(str::to_owned)).collect()
    };
    let has = |member: &str| Ok::<bool, anyhow::Error>(ids(&group()?)?.iter().any(|id| id == member));
    let out = &finished.stdout;
    let holds = match clever {
        "clever features enable ng" => out.contains("always on"),
        "clever ng" => {
            let words: Vec<&str> = out.lines().next().unwrap_or_default().split_whitespace().collect();
            words == ["(index)", "ID", "Label", "Network", "CIDR", "Members", "Peers"] && out.contains(" myNG ")
        }
        "clever ng create myNG" => ids(&group()?)?.is_empty(),
        "clever ng create myNG --link app_xxx,postgresql_xxx" => ids(&group()?)? == ["app_xxx", "postgresql_xxx"],
        r#"clever ng create myNG --description "My first NG" --tags test,ng"# => {
            let group = group()?;
            let tags = group.pointer("/networkGroup/tags").context("no tags")?;
            text(&group, "/networkGroup/description")? == "My first NG" && *tags == serde_json::json!(["ng", "test"])
        }
        "clever ng delete ngId" | "clever ng delete ngLabel" => {
            hub.shell(org, "meshctl ng get myNG")?.status.code() == Some(3)
        }
        "clever ng link app_xxx ngIdOrLabel" => has("app_xxx")?,
        "clever ng unlink redis_xxx ngIdorLabel" => !has("redis_xxx")?,
        "clever ng get ngIdOrLabel -F json" => text(&serde_json::from_str(out)?, "/networkGroup/label")? == "myNG",
        "clever ng get resourceIdOrName" => out.contains("redis_xxx.m.ng_") && out.contains("ADDON"),
        "clever ng search text_to_search -F json" => {
            let found: Value = serde_json::from_str(out)?;
            let sizes = ["networkGroups", "members", "peers"].map(|list| found[list].as_array().map(Vec::len));
            sizes[0] == Some(1) && sizes[1].is_some() && sizes[2].is_some()
        }
        "clever ng get-config peerIdOrLabel myNG" => {
            out.starts_with("[Interface]\n") && out.contains("PrivateKey = <%PrivateKey%>\n")
        }
        _ => bail!("nothing says what this line does"),
    };
    ensure!(holds, "it did something else");
    Ok(())
}

fn text<'a>(value: &'a Value, pointer: &str) -> Result<&'a str> {
    value.pointer(pointer).and_then(Value::as_str).with_context(|| format!("no {pointer} in {value}"))
}
