//! One TCP conversation that goes on and on in the background, every byte checked as it arrives.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::{End, echo};

/// Sends in one direction until it is stopped or dropped.
#[derive(Debug)]
pub struct Flow {
    stop: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    sender: Option<JoinHandle<Result<u64>>>,
    receiver: Option<JoinHandle<Result<u64>>>,
}

impl Flow {
    /// From `client` to `dial`, which must lead to `server`. It gives up after `patience` without progress.
    pub fn start(client: &End, server: &End, dial: IpAddr, patience: Duration) -> Result<Flow> {
        let listener = server.listen()?;
        let here = client.connect(SocketAddr::new(dial, listener.local_addr()?.port()))?;
        let (there, _) = echo::accept(&listener)?;
        here.set_write_timeout(Some(patience))?;
        there.set_read_timeout(Some(patience))?;
        let (stop, received) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (stop.clone(), received.clone());
        let sender = std::thread::spawn(move || send(here, &stopped));
        let receiver = std::thread::spawn(move || receive(there, &count));
        Ok(Flow { stop, received, sender: Some(sender), receiver: Some(receiver) })
    }

    /// Bytes that have arrived and were right.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Ends the conversation and returns how many bytes were carried.
    pub fn stop(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let (sent, received) = (join(self.sender.take())?, join(self.receiver.take())?);
        if sent != received {
            bail!("{sent:?} bytes were sent, {received:?} came");
        }
        received.context("the flow was stopped twice")
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Nobody asks for the outcome; both end within their patience.
        let _ = join(self.sender.take());
        let _ = join(self.receiver.take());
    }
}

/// Byte `at` of the conversation. 251 is prime, so a piece that is moved by a segment does not look right.
fn byte(at: u64) -> u8 {
    (at % 251) as u8
}

fn send(mut stream: TcpStream, stop: &AtomicBool) -> Result<u64> {
    let mut sent = 0u64;
    let mut piece = vec![0; 64 * 1024];
    while !stop.load(Ordering::Relaxed) {
        for (at, slot) in (sent..).zip(&mut piece) {
            *slot = byte(at);
        }
        let mut rest = &piece[..];
        while !rest.is_empty() {
            let written = stream.write(rest).with_context(|| format!("the flow stalled after {sent} bytes"))?;
            rest = &rest[written..];
            sent += written as u64;
        }
    }
    Ok(sent)
}

fn receive(mut stream: TcpStream, count: &AtomicU64) -> Result<u64> {
    let mut received = 0u64;
    let mut piece = vec![0; 256 * 1024];
    loop {
        let length = match stream.read(&mut piece) {
            Ok(0) => return Ok(received),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).with_context(|| format!("nothing more came after {received} bytes")),
        };
        if let Some((at, _)) = (received..).zip(&piece[..length]).find(|(at, came)| byte(*at) != **came) {
            bail!("byte {at} of the flow is wrong");
        }
        received += length as u64;
        count.store(received, Ordering::Relaxed);
    }
}

fn join<T>(thread: Option<JoinHandle<Result<T>>>) -> Result<Option<T>> {
    thread.map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).transpose()
}
