//! One client at the socket of a device: its requests are answered one after the other by whoever knows the device.

use anyhow::{Context as _, Result};
use mesh_core::uapi::{Outcome, Parser};
use rustix::net::{AddressFamily, SocketType, netdevice::name_to_index};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};
use zeroize::Zeroizing;

/// Read at once.
const CHUNK: usize = 16 << 10;

/// Bytes of a reply; keys are in them.
pub(super) type Reply = Zeroizing<Vec<u8>>;

/// Until the client hangs up, or says something after which nothing makes sense.
pub(super) async fn hold<A>(mut client: UnixStream, answer: impl Fn(Outcome) -> A) -> Result<()>
where
    A: Future<Output = Result<Reply>>,
{
    let mut parser = Parser::new(zone);
    let mut chunk = Zeroizing::new(vec![0; CHUNK]);
    loop {
        let read = client.read(&mut chunk).await.context("read a request")?;
        if read == 0 {
            return Ok(());
        }
        let mut rest = &chunk[..read];
        while !rest.is_empty() {
            let outcome;
            (rest, outcome) = parser.read(rest);
            let Some(asked) = outcome else { continue };
            let is_lost = matches!(asked, Outcome::Lost(_));
            let reply = answer(asked).await?;
            client.write_all(&reply).await.context("send a reply")?;
            if is_lost {
                return Ok(());
            }
        }
    }
}

/// The index of a link's name in this network namespace, where the sockets are.
fn zone(name: &str) -> Option<u32> {
    let socket = rustix::net::socket(AddressFamily::INET6, SocketType::DGRAM, None).ok()?;
    name_to_index(socket, name).ok()
}
