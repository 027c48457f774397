//! A whole daemon is killed (SIGKILL) while two callers change groups over its API. Each time it starts again, and what was
//! acknowledged is there; what was asked and not answered is there as a whole or not at all.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
    time::Duration,
};

use anyhow::{Result, bail, ensure};
use mesh_client::{Client, Error};
use serde_json::{Value, json};

use crate::site::{PATIENCE, Site};

const KILLS: u64 = 20;
const CALLERS: u64 = 2;
/// Milliseconds that a daemon works before it is killed.
const LIFE: std::ops::Range<u64> = 30..250;
const GROUPS: &str = "/v1/orgs/default/networkgroups";

/// How many members a group has; `None`: there is no group.
type State = Option<usize>;

/// What a caller knows of its groups, by label.
#[derive(Debug, Default)]
struct Told(BTreeMap<String, Fact>);

#[derive(Debug, Default)]
struct Fact {
    acknowledged: State,
    /// Asked for, and not answered.
    begun: Option<State>,
}

/// Knuth's linear congruential generator: the same moments in each run.
struct Random(u64);

impl Random {
    fn within(&mut self, range: &std::ops::Range<u64>) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        range.start + (self.0 >> 33) % (range.end - range.start)
    }
}

#[test]
fn a_killed_daemon_keeps_what_it_acknowledged() -> Result<()> {
    let mut site = Site::start()?;
    let mut random = Random(42);
    let mut told = Told::default();
    let (mut acknowledged, mut interrupted) = (0, 0);
    for kill in 0..KILLS {
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let client = site.client();
                thread::spawn(move || call(&client, &format!("c{caller}-{kill}")))
            })
            .collect();
        thread::sleep(Duration::from_millis(random.within(&LIFE)));
        site.node.kill()?;
        for caller in callers {
            let (answers, facts) = caller.join().expect("a caller ends by itself")?;
            acknowledged += answers;
            interrupted += facts.0.values().filter(|fact| fact.begun.is_some()).count();
            told.0.extend(facts.0);
        }
        site.node.start()?;
        told.assert_holds(&site.json("GET", GROUPS, None)?)?;
    }
    ensure!(acknowledged > 100, "only {acknowledged} changes were acknowledged");
    ensure!(interrupted > 5, "only {interrupted} changes were interrupted");
    Ok(())
}

/// Changes groups until nobody answers any more. Gives how many changes were acknowledged.
fn call(client: &Client, prefix: &str) -> Result<(usize, Told)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut told = Told::default();
    let mut answers = 0;
    for number in 0.. {
        let label = format!("{prefix}-{number}");
        let group = format!("{GROUPS}/{label}");
        let members = json!([{ "id": "app_one" }, { "id": "app_two" }]);
        let create = json!({ "label": label, "prefixLength": 24, "members": members });
        let mut changes = vec![(GROUPS.to_owned(), Some(create), Some(2))];
        changes.push((format!("{group}/members"), Some(json!({ "id": "app_three" })), Some(3)));
        if number % 3 == 0 {
            changes.push((group, None, None));
        }
        for (url, body, state) in changes {
            let fact = told.0.entry(label.clone()).or_default();
            fact.begun = Some(state);
            let answer: Result<Value, Error> = runtime.block_on(async {
                match &body {
                    Some(body) => client.post(&*url, body, PATIENCE).await,
                    None => client.delete(&*url, PATIENCE).await,
                }
            });
            match answer {
                Ok(_) => *fact = Fact { acknowledged: state, begun: None },
                Err(Error::Broken { .. } | Error::Unreachable { .. }) => return Ok((answers, told)),
                Err(error) => bail!("{url}: {error}"),
            }
            answers += 1;
        }
    }
    bail!("there are no more numbers")
}

impl Told {
    /// What was found is what was acknowledged from now on.
    fn assert_holds(&mut self, list: &Value) -> Result<()> {
        let mut found = BTreeMap::new();
        let mut prefixes = BTreeSet::new();
        for group in list["networkGroups"].as_array().into_iter().flatten() {
            let members = group["members"].as_array().map_or(0, Vec::len);
            found.insert(group["label"].as_str().unwrap_or_default().to_owned(), members);
            ensure!(prefixes.insert(group["networkIp"].to_string()), "a prefix is given out twice: {group}");
        }
        for (label, fact) in &mut self.0 {
            let state = found.remove(label);
            ensure!(state == fact.acknowledged || Some(state) == fact.begun, "{label}: {state:?}, told {fact:?}");
            *fact = Fact { acknowledged: state, begun: None };
        }
        ensure!(found.is_empty(), "nobody made {found:?}");
        Ok(())
    }
}
