//! Access rules between two members, judged at both ends by real shards.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    num::NonZeroUsize,
    sync::{Arc, mpsc::Receiver},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use mesh_common::{datapath::DropReason, ids::ConnectionId};
use mesh_core::{
    model::group::{AccessRule, Member, NetworkGroup, Peer as Instance},
    plan::{Peer, Policy},
    registry::{Group, Revision, Stored},
    tunnel::AllowedIps,
};
use mesh_lab::{Lab, Namespace};
use meshd::{
    kernel::{tun::Tun, udp::UdpSockets},
    shard::{Admission, Command, Event, Queue, Routing, Shards, Spread},
};
use serde_json::{Value, json};

use super::{
    site::{A, B, MTU, Side},
    underlay,
};

const WEB: &str = "10.101.0.5";
const DB: &str = "10.101.0.6";
const NUMBER: ConnectionId = ConnectionId(1);
const PATIENCE: Duration = Duration::from_secs(1);
/// More than what a socket keeps: the stream flows.
const LONG: usize = 4 << 20;

fn stored<T: serde::de::DeserializeOwned>(value: Value) -> Stored<T> {
    Stored { modified: Revision(1), object: Arc::new(serde_json::from_value(value).unwrap()) }
}

/// Of a group where all is denied but these: `FROM TO TRAFFIC`.
fn policy(rules: &[[&str; 3]]) -> Option<Arc<Policy>> {
    let group: Stored<NetworkGroup> = stored(json!({
        "id": "ng_12345678-1234-4123-8123-123456789abc", "ownerId": "default", "label": "shop", "scope": "workloads",
        "networkIp": "10.101.0.0/16", "lastAllocatedIp": DB, "defaultAccess": "deny", "version": 1,
    }));
    let mut state = Group::new(group, BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (id, address, side) in [("app_web", WEB, A), ("postgresql_db", DB, B)] {
        let member: Stored<Member> =
            stored(json!({"id": id, "domainName": format!("{id}.m.x.cc-ng.cloud"), "kind": "ADDON"}));
        let peer: Stored<Instance> = stored(json!({
            "type": "CleverPeer", "id": format!("peer-of-{id}"), "publicKey": side.key(), "hostname": "h",
            "parentMember": id, "endpoint": {"type": "ClientEndpoint", "ngIp": address},
        }));
        state.members.insert(member.object.id.clone(), member);
        state.peers.insert(peer.object.id.clone(), peer);
    }
    for (at, [from, to, traffic]) in rules.iter().enumerate() {
        let rule: Stored<AccessRule> =
            stored(json!({"id": format!("rule-{at}"), "from": from, "to": to, "traffic": traffic}));
        state.rules.insert(rule.object.id.clone(), rule);
    }
    Policy::of(&state).map(Arc::new)
}

/// One member's end.
struct End {
    side: Side,
    namespace: Namespace,
    shards: Shards,
    _events: Receiver<Event>,
    allowed: Arc<AllowedIps>,
    own: IpAddr,
}

impl End {
    fn start(side: Side, namespace: &Namespace, other: Side, own: &str, theirs: &str) -> Result<End> {
        let (shards, events) = Shards::start(NonZeroUsize::MIN)?;
        let queues = namespace.enter(|| {
            let tuns = Tun::open(&side.device(), NonZeroUsize::MIN)?.into_iter();
            tuns.map(|tun| Ok(Queue { tun, sockets: UdpSockets::bind(side.port)? })).collect::<Result<Vec<_>>>()
        })?;
        let device = side.device();
        namespace.ip(&["address", "replace", &format!("{own}/16"), "dev", &device.0])?;
        namespace.ip(&["link", "set", &device.0, "mtu", &MTU.to_string(), "up"])?;
        let allowed = Arc::new(AllowedIps::new([(format!("{theirs}/32").parse()?, NUMBER)]));
        shards.apply(Command::AddTunnel {
            device: device.clone(),
            mtu: MTU,
            secret: Some(side.secret()),
            spread: Spread::Peers,
            queues,
            routing: Routing::AllowedIps(Arc::clone(&allowed), Admission::default()),
        })?;
        let peer = Peer {
            connection: NUMBER,
            endpoints: vec![other.endpoint()],
            lane_ports: Vec::new(),
            keepalive_seconds: None,
            preshared_key: None,
            reserved: Vec::new(),
            announced: BTreeMap::new(),
        };
        shards.apply(Command::AddPeer(device, other.key(), peer))?;
        Ok(End { side, namespace: namespace.clone(), shards, _events: events, allowed, own: own.parse()? })
    }

    fn obey(&self, policy: Option<Arc<Policy>>) {
        let admission = Admission { own: Some(self.own), policy };
        let command = Command::SetAllowedIps(self.side.device(), Arc::clone(&self.allowed), admission);
        self.shards.apply(command).unwrap();
    }

    fn denied(&self) -> u64 {
        let drops = self.shards.statistics().drops;
        drops.iter().find(|(reason, _)| *reason == DropReason::NotAllowed).map_or(0, |(_, packets)| *packets)
    }

    fn pings(&self, to: &str) -> bool {
        self.namespace.run("ping", &["-c", "1", "-W", "1", to]).is_ok()
    }
}

/// Accepts one connection and sends back what it hears.
fn echo(end: &End, address: &str, port: u16) -> Result<thread::JoinHandle<()>> {
    let at: SocketAddr = format!("{address}:{port}").parse()?;
    let listener = end.namespace.enter(|| Ok(TcpListener::bind(at)?))?;
    listener.set_nonblocking(true)?;
    Ok(thread::spawn(move || {
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).unwrap();
                    // The client may leave when it likes.
                    let _ = std::io::copy(&mut &stream, &mut &stream);
                    return;
                }
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        }
    }))
}

fn connect(from: &End, to: &str, port: u16) -> Result<TcpStream> {
    let to: SocketAddr = format!("{to}:{port}").parse()?;
    let stream = from.namespace.enter(|| Ok(TcpStream::connect_timeout(&to, PATIENCE)?))?;
    stream.set_read_timeout(Some(5 * PATIENCE))?;
    Ok(stream)
}

/// Sends so much and waits until all of it came back.
fn exchange(mut stream: &TcpStream, len: usize) -> Result<()> {
    let mut writer = stream.try_clone()?;
    let sent = thread::spawn(move || writer.write_all(&vec![7; len]));
    let mut heard = vec![0; len];
    stream.read_exact(&mut heard)?;
    ensure!(heard.iter().all(|byte| *byte == 7), "other bytes came back");
    sent.join().expect("the writer ends")?;
    Ok(())
}

/// NG-45
#[test]
fn only_what_a_rule_allows_begins_and_its_answers_come_back() {
    let lab = Lab::new().unwrap();
    let (a, b) = underlay(&lab).unwrap();
    let web = End::start(A, &a, B, WEB, DB).unwrap();
    let db = End::start(B, &b, A, DB, WEB).unwrap();
    assert!(web.pings(DB) && db.pings(WEB), "everything is allowed where there is no policy");
    // An address that the database's node has beside that of its peer.
    b.ip(&["address", "add", "10.200.0.1/32", "dev", "lo"]).unwrap();
    a.ip(&["route", "add", "10.200.0.1/32", "dev", &A.device().0]).unwrap();
    let both = [DB, "10.200.0.1"].map(|to| (format!("{to}/32").parse().unwrap(), NUMBER));
    let routed = Command::SetAllowedIps(A.device(), Arc::new(AllowedIps::new(both)), Admission::default());
    web.shards.apply(routed).unwrap();
    assert!(web.pings("10.200.0.1"), "the kernel delivers what is for any address of its node");
    db.obey(None);
    assert!(!web.pings("10.200.0.1") && web.pings(DB), "but to a peer comes only what is for it");

    let rules = policy(&[["app_web", "postgresql_db", "tcp/5432"]]);
    [&web, &db].into_iter().for_each(|end| end.obey(rules.clone()));
    let served = [echo(&db, DB, 5432).unwrap(), echo(&db, DB, 5433).unwrap(), echo(&web, WEB, 5432).unwrap()];
    let stream = connect(&web, DB, 5432).unwrap();
    exchange(&stream, LONG).unwrap();
    assert_eq!((web.denied(), db.denied()), (0, 0));
    assert!(connect(&web, DB, 5433).is_err() && !web.pings(DB));
    assert!(web.denied() >= 2, "judged before it leaves");
    assert!(connect(&db, WEB, 5432).is_err() && db.denied() > 0);

    // The other end judges too.
    let before = db.denied();
    web.obey(None);
    assert!(connect(&web, DB, 5433).is_err() && db.denied() > before);
    exchange(&stream, LONG).unwrap();

    // Rules change under a connection that they allow.
    let more = policy(&[["app_web", "postgresql_db", "tcp/5432-5433"], ["*", "*", "icmp"]]);
    [&web, &db].into_iter().for_each(|end| end.obey(more.clone()));
    assert!(web.pings(DB) && db.pings(WEB) && connect(&db, WEB, 5432).is_err());
    let second = connect(&web, DB, 5433).unwrap();
    exchange(&stream, LONG).unwrap();
    exchange(&second, LONG).unwrap();
    [&web, &db].into_iter().for_each(|end| end.obey(None));
    exchange(&stream, LONG).unwrap();
    let third = connect(&db, WEB, 5432).unwrap();
    exchange(&third, 100).unwrap();
    drop((stream, second, third));
    served.into_iter().for_each(|served| served.join().unwrap());
}
