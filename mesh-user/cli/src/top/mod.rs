//! `meshctl top`: a live view of what a node does: its groups, the peers behind them, its connections and its drops.
//!
//! [`model`] says what is shown, from what the daemon answered and which keys were pressed; [`rows`] makes tables of
//! answers; [`render`] puts them on a screen; [`screen`] owns the terminal and gives it back. Here they are joined.

mod model;
mod render;
mod rows;
mod screen;

use std::{
    sync::mpsc::{self, Receiver, SyncSender},
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use mesh_core::api::{Status, node::JoinList};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::signal::unix::{SignalKind, signal};

use crate::{daemon::Endpoint, exit::Failure};
use model::{Key, Model, Next, Reading};
use screen::Screen;

/// How long a key or an answer waits for its turn.
const TURN: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
}

/// What comes from elsewhere than the keyboard.
enum News {
    Read(Box<Reading>),
    Failed(String),
    Stop,
}

pub(crate) fn run(endpoint: &Endpoint, arguments: &Arguments) -> Result<String, Failure> {
    screen::check()?;
    let (tell, news) = mpsc::sync_channel(4);
    watch_signals(tell.clone())?;
    read(endpoint.clone(), Duration::from_secs(arguments.interval), tell)?;
    let mut screen = Screen::take().map_err(|error| cannot("use the terminal", &error))?;
    let mut model = Model::default();
    show(&mut screen, &mut model, &news).map_err(|error| cannot("draw", &error))?;
    Ok(String::new())
}

fn show(screen: &mut Screen, model: &mut Model, news: &Receiver<News>) -> std::io::Result<()> {
    let mut is_stale = true;
    loop {
        if is_stale {
            screen.draw(|frame| render::draw(frame, model))?;
        }
        is_stale = false;
        for event in news.try_iter() {
            match event {
                News::Read(reading) => model.take(*reading),
                News::Failed(why) => model.fail(why),
                News::Stop => return Ok(()),
            }
            is_stale = true;
        }
        if event::poll(TURN)? {
            match event::read()? {
                Event::Key(event) if event.kind != KeyEventKind::Release => {
                    if let Some(Next::Quit) = key(&event).map(|key| model.press(key)) {
                        return Ok(());
                    }
                    is_stale = true;
                }
                Event::Resize(..) => is_stale = true,
                _ => {}
            }
        }
    }
}

fn key(event: &KeyEvent) -> Option<Key> {
    let is_control = event.modifiers.contains(KeyModifiers::CONTROL);
    Some(match event.code {
        KeyCode::Char('c') if is_control => Key::Interrupt,
        KeyCode::Char(_) if is_control => return None,
        KeyCode::Char(letter) => Key::Letter(letter),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Tab | KeyCode::Right => Key::Next,
        KeyCode::BackTab | KeyCode::Left => Key::Previous,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        _ => return None,
    })
}

/// Asks the daemon again and again, on a thread that ends with the process.
fn read(endpoint: Endpoint, interval: Duration, tell: SyncSender<News>) -> Result<(), Failure> {
    let start = Instant::now();
    let daemon = endpoint.node()?;
    let look = move || {
        let status: Status = daemon.get("/v1/status")?;
        let joined: JoinList = daemon.get("/v1/node/whoami")?;
        Ok(Reading { at: start.elapsed(), status, peers: joined.peers })
    };
    let work = move || {
        loop {
            let news = match look() {
                Ok(reading) => News::Read(Box::new(reading)),
                Err(failure) => News::Failed(failure_line(&failure)),
            };
            if tell.send(news).is_err() {
                return;
            }
            thread::sleep(interval);
        }
    };
    spawn("reader", work)
}

fn failure_line(failure: &Failure) -> String {
    failure.error.message.clone()
}

/// Asked to end, it gives the terminal back first.
fn watch_signals(tell: SyncSender<News>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| cannot("start", &error))?;
    let (mut terminate, mut hang_up) = runtime
        .block_on(async { Ok((signal(SignalKind::terminate())?, signal(SignalKind::hangup())?)) })
        .map_err(|error: std::io::Error| cannot("watch signals", &error))?;
    let work = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = hang_up.recv() => {}
            }
        });
        // Nobody listens where the view ended by itself.
        let _ = tell.send(News::Stop);
    };
    spawn("signals", work)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(work);
    spawned.map(drop).map_err(|error| cannot("start a thread", &error))
}

fn cannot(what: &str, error: &std::io::Error) -> Failure {
    Failure::unexpected(format!("cannot {what}: {error}"))
}
