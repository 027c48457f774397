//! What does the view show now, given what the daemon answered and which keys were pressed? No terminal and no clock.

use std::time::Duration;

use mesh_core::api::{Status, node::LocalPeer};

use super::rows::{Row, Tab};

/// One look at the daemon.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reading {
    /// Since the view began.
    pub(super) at: Duration,
    pub(super) status: Status,
    pub(super) peers: Vec<LocalPeer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Letter(char),
    Up,
    Down,
    PageUp,
    PageDown,
    Next,
    Previous,
    Enter,
    Escape,
    Backspace,
    Interrupt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Stay,
    Quit,
}

/// Rows that a page key passes.
const PAGE: usize = 10;

#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) current: Option<Reading>,
    /// The one before, for rates.
    previous: Option<Reading>,
    /// Why there is no newer reading.
    pub(super) trouble: Option<String>,
    pub(super) tab: Tab,
    pub(super) filter: String,
    pub(super) is_typing: bool,
    /// Column by which each tab is sorted; `None`: as the daemon told it.
    sort: [Option<usize>; Tab::ALL.len()],
    pub(super) selected: usize,
}

impl Model {
    pub(super) fn take(&mut self, reading: Reading) {
        self.previous = self.current.replace(reading);
        self.trouble = None;
        self.keep_selection();
    }

    /// What was read last stays on the screen.
    pub(super) fn fail(&mut self, why: String) {
        self.trouble = Some(why);
    }

    pub(super) fn press(&mut self, key: Key) -> Next {
        match key {
            Key::Interrupt => return Next::Quit,
            Key::Letter(letter) if self.is_typing => self.filter.push(letter),
            Key::Backspace if self.is_typing => drop(self.filter.pop()),
            Key::Enter => self.is_typing = false,
            Key::Escape => {
                self.is_typing = false;
                self.filter.clear();
            }
            Key::Letter('q') => return Next::Quit,
            Key::Letter('/') => self.is_typing = true,
            Key::Letter('s') => self.sort_by_next(),
            Key::Up => self.selected = self.selected.saturating_sub(1),
            Key::Down => self.selected += 1,
            Key::PageUp => self.selected = self.selected.saturating_sub(PAGE),
            Key::PageDown => self.selected += PAGE,
            Key::Next => self.go(1),
            Key::Previous => self.go(Tab::ALL.len() - 1),
            Key::Letter(_) | Key::Backspace => {}
        }
        self.keep_selection();
        Next::Stay
    }

    /// The rows of the tab that pass the filter, in their order.
    pub(super) fn rows(&self) -> Vec<Row> {
        let Some(current) = &self.current else { return Vec::new() };
        let wanted = self.filter.to_lowercase();
        let mut rows = self.tab.rows(current, self.previous.as_ref());
        rows.retain(|row| row.iter().any(|cell| cell.text.to_lowercase().contains(&wanted)));
        if let Some(column) = self.sorted_by() {
            rows.sort_by(|one, other| one[column].order(&other[column]));
        }
        rows
    }

    pub(super) fn sorted_by(&self) -> Option<usize> {
        self.sort[self.tab as usize]
    }

    fn sort_by_next(&mut self) {
        let columns = self.tab.header().len();
        let sort = &mut self.sort[self.tab as usize];
        *sort = match *sort {
            None => Some(0),
            Some(column) if column + 1 < columns => Some(column + 1),
            Some(_) => None,
        };
    }

    fn go(&mut self, by: usize) {
        self.tab = Tab::ALL[(self.tab as usize + by) % Tab::ALL.len()];
        self.selected = 0;
    }

    fn keep_selection(&mut self) {
        self.selected = self.selected.min(self.rows().len().saturating_sub(1));
    }
}
