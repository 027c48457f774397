//! The lines of Liqo's documentation of the inter-cluster network, as `docs/from-liqo.md` lists them.

use anyhow::{Context, Result, bail, ensure};
use mesh_lab::process::Finished;
use serde_json::Value;

use crate::pair::Pair;

/// What the documentation has.
const LINES: usize = 33;
/// Of them, those of `network` with what is looked at between, and those of the procedure of two admins.
const NETWORK: usize = 13;
const PROCEDURE: usize = 23;

struct Row {
    liqo: String,
    here: String,
    /// Whose admin types it.
    admin: usize,
}

/// LQ-03, LQ-07, LQ-09, LQ-40, LQ-55 to LQ-62 and the command lines of the documentation.
#[test]
fn lines_run_with_the_first_word_replaced() -> Result<()> {
    let rows = rows()?;
    ensure!(rows.len() == LINES, "{} lines", rows.len());
    let mut pair = Pair::start(2)?;
    run_all(&pair, &rows[..NETWORK])?;
    // What stands between shows objects that the procedure at the end makes.
    run_all(&pair, &rows[PROCEDURE..])?;
    pair.network.joined(0, 1);
    pair.reach(0, 1)?;
    run_all(&pair, &rows[NETWORK..PROCEDURE])
}

fn rows() -> Result<Vec<Row>> {
    let text = include_str!("../../../../docs/from-liqo.md");
    let is_row = |line: &&str| line.starts_with("| `liqoctl ") || line.starts_with("| `kubectl ");
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('`').collect();
        let [_, liqo, _, here, rest, ..] = cells.as_slice() else { bail!("no two command lines in {line}") };
        let admin: usize = rest.split('|').nth(1).context("no column `where`")?.trim().parse()?;
        Ok(Row { liqo: (*liqo).to_owned(), here: (*here).to_owned(), admin: admin - 1 })
    };
    text.lines().filter(is_row).map(row).collect()
}

fn run_all(pair: &Pair, rows: &[Row]) -> Result<()> {
    for row in rows {
        let same = row.liqo.replacen("liqoctl", "meshctl", 1).replacen("kubectl", "meshctl", 1);
        for (is_same, line) in [(true, &same), (false, &row.here)] {
            let line = filled(pair, line)?;
            let asks = line.contains("network disconnect") || line.contains("network reset");
            // A terminal, and somebody who says yes.
            let typed = match asks && !line.contains("--yes") {
                true => format!("(sleep 0.5; echo y) | script -qec '{line}' /dev/null"),
                false => line.clone(),
            };
            let finished = pair.shell(row.admin, &typed)?;
            ensure!(finished.status.success(), "{line}: {finished:?}\n{}", pair.network.tails());
            check(pair, row, is_same, &line, &finished).with_context(|| format!("{line}: {finished:?}"))?;
        }
    }
    Ok(())
}

/// With what stands for placeholders and variables.
fn filled(pair: &Pair, line: &str) -> Result<String> {
    let mut line = line.to_owned();
    let needs =
        ["<REMOTE_IP>", "<REMOTE_PORT>", "$ADDRESS_SERVER", "$PORT_SERVER"].iter().any(|word| line.contains(word));
    if needs {
        let gateway = pair.json(1, "meshctl info peer cl01 --get network.gateway -o json")?;
        let (address, port) = (gateway["addresses"][0].as_str().context("no address")?, gateway["port"].to_string());
        for (word, value) in
            [("<REMOTE_IP>", address), ("$ADDRESS_SERVER", address), ("<REMOTE_PORT>", &port), ("$PORT_SERVER", &port)]
        {
            line = line.replace(word, value);
        }
    }
    let words = [
        ("<CLIENT_CLUSTER_ID>", "cl01"),
        ("<SERVER_CLUSTER_ID>", "cl02"),
        ("<REMOTE_CLUSTER_ID>", "cl01"),
        ("$CLUSTER_ID_CLIENT", "cl01"),
        ("$CLUSTER_ID_SERVER", "cl02"),
        ("<GATEWAY_NS>", "default"),
        ("<GATEWAY_NAME>", "server"),
        // A shell would take the braces for its own.
        ("{{.data.CLUSTER_ID}}", "\"{{.data.CLUSTER_ID}}\""),
        ("{{.status.endpoint}}", "\"{{.status.endpoint}}\""),
    ];
    Ok(words.iter().fold(line, |line, (word, value)| line.replace(word, value)))
}

fn check(pair: &Pair, row: &Row, is_same: bool, line: &str, finished: &Finished) -> Result<()> {
    let out = &finished.stdout;
    let holds = match row.liqo.split(['-', '>']).next().unwrap_or_default().trim() {
        "liqoctl network connect" => out.contains("(local) Connection is established"),
        "liqoctl network disconnect" => {
            let gone = pair.done(0, "meshctl get gwc -A -o name")? + &pair.done(1, "meshctl get gws -A -o name")?;
            gone.is_empty() && pair.done(0, "meshctl get conf -A -o name")? == "configuration/cl02\n"
        }
        "liqoctl network reset" => {
            out.contains("Nothing of cl01 is left") && pair.done(0, "meshctl get conf -A -o name")?.is_empty()
        }
        "liqoctl info" if is_same => out == "cl01\n",
        "liqoctl info" => out.contains("10.243.0.0/16"),
        "liqoctl info peer <REMOTE_CLUSTER_ID" => out.contains("172.31.0.2"),
        "kubectl get configmaps" => out == "cl01",
        "kubectl get gatewayservers" if is_same => {
            out.starts_with("map[addresses:[172.31.0.2] port:") && out.ends_with(" protocol:UDP]")
        }
        "kubectl get gatewayservers" => out.parse::<u16>().is_ok(),
        table if table.starts_with("kubectl get ") => is_table(table, is_same, out)?,
        "liqoctl create gatewayserver server" if line.contains(" -o ") => {
            ["GatewayServer", "NodePort", "wireguard-server"].iter().all(|word| out.contains(word))
        }
        "liqoctl create gatewayclient client" if line.contains(" -o ") => {
            ["GatewayClient", "172.31.0.2", "wireguard-client"].iter().all(|word| out.contains(word))
        }
        "liqoctl create gatewayserver server" => {
            out.starts_with("gatewayserver/default/server ") && has_endpoint(pair)?
        }
        "liqoctl create gatewayclient client" => out.starts_with("gatewayclient/default/client "),
        "liqoctl generate publickey" | "liqoctl generate configuration" => generated(pair, row, line, out)?,
        "kubectl apply" => out.contains("created") || out.contains("unchanged"),
        other => bail!("nothing says what {other:?} does"),
    };
    ensure!(holds, "it did something else");
    Ok(())
}

/// The columns of the documentation, and a word of the row; by another line, the same objects.
fn is_table(line: &str, is_same: bool, out: &str) -> Result<bool> {
    let (columns, word) = match line.trim_start_matches("kubectl get ").trim_end_matches(".networking.liqo.io") {
        "gatewayclients" => ("NAMESPACE|NAME|TEMPLATE NAME|IP|PORT|AGE", "wireguard-client"),
        "gatewayservers" => ("NAMESPACE|NAME|TEMPLATE NAME|IP|PORT|AGE", "wireguard-server"),
        "connections" => ("NAMESPACE|NAME|TYPE|STATUS|AGE", "Connected"),
        "configurations" => ("NAMESPACE|NAME|DESIRED POD CIDR|REMAPPED POD CIDR|AGE", "10.71.0.0/16"),
        other => bail!("nothing says what {other} look like"),
    };
    if !is_same {
        return Ok(["cl01", "cl02", "server"].iter().any(|name| out.contains(name)));
    }
    let header = out.lines().next().unwrap_or_default();
    let shown: Vec<&str> = header.split("  ").map(str::trim).filter(|name| !name.is_empty()).collect();
    Ok(shown.join("|") == columns && out.contains(word))
}

fn has_endpoint(pair: &Pair) -> Result<bool> {
    let shown =
        mesh_lab::interrupt::wait_for("an endpoint", std::time::Duration::from_secs(10), crate::pair::PAUSE, || {
            let gateway = pair.json(1, "meshctl get gws server -o json")?;
            Ok(gateway.pointer("/status/endpoint/port").and_then(Value::as_u64))
        })?;
    Ok(shown > 0)
}

/// To standard output, or to the file that the line names.
fn generated(pair: &Pair, row: &Row, line: &str, out: &str) -> Result<bool> {
    let file = line.split_whitespace().last().filter(|word| word.ends_with(".yaml"));
    let text = match file {
        Some(file) => std::fs::read_to_string(pair.home.join(file))?,
        None => out.to_owned(),
    };
    let id = ["cl01", "cl02"][row.admin];
    let kind = if line.contains("publickey") { "PublicKey" } else { "Configuration" };
    Ok(text.contains(kind) && text.contains("liqo.io/remote-cluster-id") && text.contains(id))
}
