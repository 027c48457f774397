//! The thread that answers datagrams.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use anyhow::{Context as _, Result};
use mesh_core::dns::{Outcome, Transport, View};
use rustix::event::{EventfdFlags, epoll, eventfd};
use tokio::sync::watch;

use super::forward::Forwarder;
use crate::kernel::datagrams::{DatagramSocket, Inbox, Outbox};

/// Events of one wait.
const EVENTS: usize = 64;
/// What the thread is woken by; doors are numbered from 0.
const WAKE: u64 = u64::MAX;

/// A socket and what is seen through it.
#[derive(Debug)]
pub(super) struct Door {
    socket: DatagramSocket,
    views: watch::Receiver<Arc<View>>,
    forwarder: Option<Forwarder>,
}

/// A handle of the thread, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Thread {
    orders: Arc<Orders>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Orders {
    /// `None`: nothing new.
    doors: Mutex<Option<Vec<Arc<Door>>>>,
    stop: AtomicBool,
    wake: OwnedFd,
}

impl Door {
    pub(super) fn new(socket: DatagramSocket, views: watch::Receiver<Arc<View>>, forwarder: Option<Forwarder>) -> Door {
        Door { socket, views, forwarder }
    }

    pub(super) fn socket(&self) -> &DatagramSocket {
        &self.socket
    }

    /// Answers one batch of what has come: then it is the next door's turn.
    fn answer(self: &Arc<Self>, inbox: &mut Inbox, outbox: &mut Outbox) {
        match self.socket.receive(inbox) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            // An ICMP error that an earlier answer has met; the next call has the next message.
            Err(error) => return tracing::trace!("DNS: {error}"),
        }
        let view = Arc::clone(&self.views.borrow());
        for (sender, query) in inbox.letters() {
            outbox.push(sender, |answer| match view.answer(query, Transport::Datagram, answer) {
                Outcome::Answer => true,
                Outcome::Silence => false,
                Outcome::Forward => {
                    if let Some(forwarder) = &self.forwarder {
                        forwarder.forward(Arc::clone(self), sender, query);
                    }
                    false
                }
            });
        }
        let lost = self.socket.send(outbox);
        if lost > 0 {
            tracing::debug!("DNS: the kernel did not take {lost} answers");
        }
    }
}

impl Thread {
    pub(super) fn start() -> Result<Thread> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).context("cannot make an eventfd")?;
        let orders = Arc::new(Orders { doors: Mutex::new(None), stop: AtomicBool::new(false), wake });
        // Once for all: later there may be no descriptor left for another.
        let ready = epoll::create(epoll::CreateFlags::CLOEXEC).context("cannot make an epoll")?;
        let wake = epoll::EventData::new_u64(WAKE);
        epoll::add(&ready, &orders.wake, wake, epoll::EventFlags::IN).context("cannot wait for orders")?;
        let heard = Arc::clone(&orders);
        let work = move || {
            if let Err(error) = run(&heard, &ready) {
                tracing::error!("DNS: datagrams are no longer answered: {error:#}");
            }
        };
        let thread = std::thread::Builder::new().name("dns-datagrams".to_owned()).spawn(work);
        Ok(Thread { orders, thread: Some(thread.context("cannot start a thread")?) })
    }

    /// From now on these, and no others.
    pub(super) fn serve(&self, doors: Vec<Arc<Door>>) {
        *self.orders.doors.lock().unwrap_or_else(PoisonError::into_inner) = Some(doors);
        self.orders.wake();
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.orders.stop.store(true, Ordering::Release);
        self.orders.wake();
        if let Some(thread) = self.thread.take() {
            // It says itself why it ended.
            let _ = thread.join();
        }
    }
}

impl Orders {
    fn wake(&self) {
        // It only fails when the counter is full, and then the thread is about to wake anyway.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    fn heard(&self) -> Option<Vec<Arc<Door>>> {
        let _ = rustix::io::read(&self.wake, &mut [0u8; 8]);
        self.doors.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

fn run(orders: &Orders, ready: &OwnedFd) -> Result<()> {
    let (mut inbox, mut outbox) = (Inbox::new(), Outbox::default());
    let mut doors: Vec<Arc<Door>> = Vec::new();
    let mut events = Vec::with_capacity(EVENTS);
    while !orders.stop.load(Ordering::Acquire) {
        events.clear();
        match epoll::wait(ready, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot wait for questions"),
        }
        let mut woken = false;
        for event in &events {
            match event.data.u64() {
                WAKE => woken = true,
                number => doors[number as usize].answer(&mut inbox, &mut outbox),
            }
        }
        if woken && let Some(others) = orders.heard() {
            unwatch(ready, &doors);
            doors = others;
            watch(ready, &doors);
        }
    }
    Ok(())
}

/// Whoever still sends through a door keeps its socket open, so it does not go by itself.
fn unwatch(ready: &OwnedFd, doors: &[Arc<Door>]) {
    for door in doors {
        // One that could not be added is not there.
        let _ = epoll::delete(ready, &door.socket);
    }
}

fn watch(ready: &OwnedFd, doors: &[Arc<Door>]) {
    for (number, door) in (0..).zip(doors) {
        let number = epoll::EventData::new_u64(number);
        if let Err(error) = epoll::add(ready, &door.socket, number, epoll::EventFlags::IN) {
            tracing::error!("DNS: datagrams to one address are not answered: {error}");
        }
    }
}
