//! Where does what stand on the screen?

use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Cell as ScreenCell, Paragraph, Row as ScreenRow, Table, TableState},
};

use super::{
    model::Model,
    rows::{Cell, Row, Tab},
};

/// Between columns.
const SPACING: u16 = 2;
/// What is left of a name in the narrowest column.
const SHORTEST: usize = 10;
const KEYS: &str = "q quit  tab next  / filter  s sort  arrows move";

/// Two lines above the table, one below.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model) {
    let lines = [Constraint::Length(1), Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)];
    let [node, tabs, table, keys] = Layout::vertical(lines).areas(frame.area());
    frame.render_widget(Paragraph::new(head(model)), node);
    frame.render_widget(Paragraph::new(titles(model)), tabs);
    draw_table(frame, model, table);
    frame.render_widget(Paragraph::new(foot(model)), keys);
}

fn head(model: &Model) -> Line<'static> {
    let bad = Style::new().fg(Color::Red);
    let Some(reading) = &model.current else {
        return match &model.trouble {
            Some(trouble) => Line::styled(trouble.clone(), bad),
            None => Line::raw("asking the daemon ..."),
        };
    };
    let status = &reading.status;
    let node = reading.peers.first().map_or(status.cluster.clone(), |peer| peer.hv.to_string());
    let mut spans = vec![Span::raw(format!("{node}  meshd {}", status.version))];
    if let Some(problem) = status.problems.first() {
        let more = match status.problems.len() {
            1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        spans.push(Span::styled(format!("  problem: {problem}{more}"), bad));
    }
    if let Some(trouble) = &model.trouble {
        spans.push(Span::styled(format!("  {trouble}"), bad));
    }
    Line::from(spans)
}

fn titles(model: &Model) -> Line<'static> {
    let title = |tab: Tab| {
        let style = if tab == model.tab { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        [Span::styled(format!(" {} ", tab.title()), style), Span::raw(" ")]
    };
    Line::from_iter(Tab::ALL.into_iter().flat_map(title))
}

fn foot(model: &Model) -> Line<'static> {
    if model.is_typing {
        return Line::raw(format!("/{}_  enter keeps it, esc clears it", model.filter));
    }
    if model.filter.is_empty() {
        return Line::raw(KEYS);
    }
    Line::raw(format!("filter: {}  {KEYS}", model.filter))
}

fn draw_table(frame: &mut Frame<'_>, model: &Model, area: Rect) {
    let rows = model.rows();
    let header = model.tab.header();
    if rows.is_empty() && model.current.is_some() {
        frame.render_widget(Paragraph::new(nothing(model)), area);
        return;
    }
    let numbers: Vec<bool> = (0..header.len()).map(|at| rows.iter().all(|row| row[at].is_number())).collect();
    let widths = widths(model.tab, &rows, usize::from(area.width));
    let align = |at: usize| if numbers[at] { Alignment::Right } else { Alignment::Left };
    let titles = header.iter().enumerate().map(|(at, title)| {
        let mark = if model.sorted_by() == Some(at) { "*" } else { "" };
        ScreenCell::new(Line::raw(format!("{title}{mark}")).alignment(align(at)))
    });
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let body = rows.iter().map(|row: &Row| {
        let cell = |(at, cell): (usize, &Cell)| Line::raw(shortened(&cell.text, widths[at])).alignment(align(at));
        ScreenRow::new(row.iter().enumerate().map(cell))
    });
    let lengths = widths.iter().map(|width| Constraint::Length(u16::try_from(*width).unwrap_or(u16::MAX)));
    let table = Table::new(body, lengths)
        .header(ScreenRow::new(titles).style(bold))
        .column_spacing(SPACING)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::default().with_selected(Some(model.selected));
    frame.render_stateful_widget(table, area, &mut state);
}

/// Each column as wide as its widest cell. What that is too much is taken from the names.
fn widths(tab: Tab, rows: &[Row], room: usize) -> Vec<usize> {
    let widest = |at: usize| rows.iter().map(|row| row[at].text.chars().count()).max().unwrap_or(0);
    let header = tab.header().iter().enumerate();
    let mut widths: Vec<usize> = header.map(|(at, title)| widest(at).max(title.len() + 1)).collect();
    let spaces = usize::from(SPACING) * (widths.len() - 1);
    let mut excess = (widths.iter().sum::<usize>() + spaces).saturating_sub(room);
    for at in tab.elastic() {
        let taken = excess.min(widths[*at].saturating_sub(SHORTEST));
        widths[*at] -= taken;
        excess -= taken;
    }
    widths
}

fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    format!("{kept}\u{2026}")
}

fn nothing(model: &Model) -> &'static str {
    if !model.filter.is_empty() {
        return "nothing matches the filter";
    }
    match model.tab {
        Tab::Groups => "this node is in no network group",
        Tab::Peers => "no peers of network groups",
        Tab::Paths => "no connections to other clusters",
        Tab::Drops => "nothing was dropped",
    }
}

#[cfg(test)]
mod tests;
