//! The configuration socket of a WireGuard device: requests of whoever may open it.

use mesh_core::uapi::{Configuration, Live, Outcome, Parser, print};

use crate::Bytes;

/// The first byte says in which pieces the rest arrives. What was applied can be printed, and the printed text makes the
/// same device again.
pub fn uapi(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let piece = usize::from(bytes.byte()).max(1);
    let mut configuration = Configuration::default();
    let mut parser = Parser::new(|_| None);
    for chunk in bytes.0.chunks(piece) {
        let mut rest = chunk;
        loop {
            let (left, outcome) = parser.read(rest);
            assert!(left.len() <= rest.len(), "the parser gives back more than it got");
            rest = left;
            match outcome {
                Some(Outcome::Set(change)) => {
                    if configuration.check(&change).is_ok() {
                        configuration.apply(change);
                    }
                }
                Some(Outcome::Get | Outcome::Refused(_)) => {}
                Some(Outcome::Lost(_)) => return prints_itself(&configuration),
                None => break,
            }
        }
    }
    prints_itself(&configuration);
}

fn prints_itself(configuration: &Configuration) {
    let text = printed(configuration);
    let mut again = Configuration::default();
    // What the engine knows is told, never asked for; a reply also ends in a number and a blank line of its own.
    let told = ["last_handshake_time_", "tx_bytes=", "rx_bytes=", "errno="];
    let request: String = text
        .lines()
        .filter(|line| !told.iter().any(|key| line.starts_with(key)))
        .flat_map(|line| [line, "\n"])
        .collect();
    let request = format!("set=1\n{request}\n");
    let (rest, outcome) = Parser::new(|_| None).read(request.as_bytes());
    assert!(rest.is_empty(), "a reply is one request");
    match outcome {
        Some(Outcome::Set(change)) => again.apply(change),
        other => panic!("a reply is not accepted as a request: {other:?}"),
    };
    assert_eq!(printed(&again), text);
}

fn printed(configuration: &Configuration) -> String {
    let mut out = Vec::new();
    let device = configuration.device(configuration.listen_port(), |_| Live::default());
    print(&device, &mut out).expect("memory takes everything");
    String::from_utf8(out).expect("replies are text")
}
