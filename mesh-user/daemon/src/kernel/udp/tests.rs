//! Real sockets on loopback: what is sent in one call arrives as it was meant.

use super::*;

fn loopback(sockets: &UdpSockets, v4: bool) -> SocketAddr {
    let ip = if v4 { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { IpAddr::V6(Ipv6Addr::LOCALHOST) };
    SocketAddr::new(ip, sockets.port())
}

fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> Received {
    for _ in 0..500 {
        match socket.receive(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            received => return received.unwrap(),
        }
    }
    panic!("no datagram within a second");
}

#[test]
fn a_batch_arrives_with_source_tos_and_the_address_that_was_hit() {
    for v4 in [true, false] {
        let (a, b) = (UdpSockets::bind(0).unwrap(), UdpSockets::bind(0).unwrap());
        let to = loopback(&b, v4);
        if b.towards(&to).is_none() {
            continue;
        }
        let payload: Vec<u8> = (0..2_500u16).map(|i| i as u8).collect();
        let transmit = Transmit { to, from: Some(to.ip()), tos: 2, segment: Some(1_000), payload: &payload };
        a.towards(&to).unwrap().send(&transmit).unwrap();

        let mut arrived = Vec::new();
        let mut buffer = vec![0; 65_535];
        while arrived.len() < payload.len() {
            let received = receive(b.towards(&to).unwrap(), &mut buffer);
            assert_eq!(received.from, loopback(&a, v4));
            assert_eq!((received.to, received.tos), (Some(to.ip()), 2));
            assert!(received.segment <= 1_000);
            arrived.extend_from_slice(&buffer[..received.len]);
        }
        assert_eq!(arrived, payload);
    }
}

#[test]
fn a_shared_port_is_shared_by_its_own_sockets_only() {
    let shared = UdpSockets::bind_shared(0, 3).unwrap();
    assert!(shared.len() == 3 && shared.iter().all(|sockets| sockets.port() == shared[0].port()));
    for count in [1, 2] {
        let error = format!("{:#}", UdpSockets::bind_shared(shared[0].port(), count).unwrap_err());
        assert!(error.contains("another process"), "{error}");
    }
}

#[test]
fn a_port_in_use_is_named() {
    let taken = UdpSockets::bind(0).unwrap();
    let error = format!("{:#}", UdpSockets::bind(taken.port()).unwrap_err());
    assert!(error.contains(&taken.port().to_string()), "{error}");
}
