//! Two ends on loopback addresses, and strangers.

use std::net::Ipv4Addr;

use mesh_core::{
    plan::{DeviceName, PROBE_PORT, Probe},
    probe::Thresholds,
};
use tokio::{net::UdpSocket, time::timeout};

use super::*;

const SOON: Duration = Duration::from_secs(10);
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 77, 0, 1));
const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 77, 0, 2));

fn plan(ends: &[(u16, IpAddr, IpAddr)]) -> Arc<Plan> {
    let connection = |from, to| Connection {
        name: "default/x".to_owned(),
        remote: "x".to_owned(),
        transport: Transport::WireguardServer { device: DeviceName("mesh-x".to_owned()) },
        probe: Some(Probe { from, to }),
        paths: Vec::new(),
        thresholds: Thresholds::default(),
    };
    let connections = ends.iter().map(|(id, from, to)| (ConnectionId(*id), connection(*from, *to))).collect();
    Arc::new(Plan { connections, ..Plan::default() })
}

async fn until(reports: &mut watch::Receiver<Reports>, id: u16, state: ConnectionState) -> Report {
    let wanted = |reports: &Reports| reports.get(&ConnectionId(id)).is_some_and(|report| report.state == state);
    let reached = timeout(SOON, reports.wait_for(wanted)).await.unwrap().unwrap();
    reached[&ConnectionId(id)].clone()
}

#[tokio::test]
async fn two_ends_connect_and_strangers_get_no_answer() {
    let (plans, receiver) = watch::channel(plan(&[(1, HERE, THERE), (2, THERE, HERE)]));
    let mut reports = start(receiver, None, |_| Sessions::new());
    until(&mut reports, 2, ConnectionState::Connected).await;
    let report = until(&mut reports, 1, ConnectionState::Connected).await;
    assert!(report.latency.is_some_and(|latency| latency < Duration::from_secs(1)));
    assert!(report.latencies.total() > 0);

    let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let request = Message {
        kind: Kind::Request,
        leg: Leg::Gateways,
        mtu: 0,
        connection: 7,
        sequence: 9,
        run: 1,
        faults: Faults::default(),
    };
    let (asked, reply) = (request.encode(), Message { kind: Kind::Reply, ..request }.encode());
    let target = (HERE, PROBE_PORT);
    for ignored in [b"hello".as_slice(), &reply, &[asked.as_slice(), b"x"].concat()] {
        stranger.send_to(ignored, target).await.unwrap();
    }
    let long = Message { leg: Leg::Size, ..request }.encode();
    for asked in [&asked[..], &[long.as_slice(), &[0; 800]].concat()] {
        stranger.send_to(asked, target).await.unwrap();
        let mut buffer = [0; 1_000];
        let (length, _) = timeout(SOON, stranger.recv_from(&mut buffer)).await.unwrap().unwrap();
        assert!(length <= asked.len());
        let answer = Message::decode(&buffer[..length]).unwrap();
        assert_eq!((answer.kind, answer.connection, answer.sequence), (Kind::Reply, 7, 9));
        assert_eq!(answer.mtu, 0, "a stranger is told nothing of tunnels");
        assert!(answer.faults.has(Faults::NO_RESPONDER) && answer.run != 1);
    }

    plans.send(plan(&[])).unwrap();
    timeout(SOON, reports.wait_for(Reports::is_empty)).await.unwrap().unwrap();
    drop(plans);
}

#[tokio::test]
async fn an_address_that_is_not_here_is_reported() {
    let absent = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    let (_plans, receiver) = watch::channel(plan(&[(1, absent, THERE)]));
    let mut reports = start(receiver, None, |_| Sessions::new());
    let told =
        |reports: &Reports| reports.get(&ConnectionId(1)).is_some_and(|one| one.detail.contains("not on this node"));
    let reached = timeout(SOON, reports.wait_for(told)).await.unwrap().unwrap();
    assert_eq!(reached[&ConnectionId(1)].state, ConnectionState::Connecting);
}
