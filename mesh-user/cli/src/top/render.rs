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
    rows::{Row, Tab},
};

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
    let widths = header.iter().enumerate().map(|(at, title)| {
        let widest = rows.iter().map(|row| row[at].text.chars().count()).max().unwrap_or(0);
        Constraint::Length(widest.max(title.len() + 1).min(usize::from(u16::MAX)) as u16)
    });
    let align = |at: usize| if numbers[at] { Alignment::Right } else { Alignment::Left };
    let titles = header.iter().enumerate().map(|(at, title)| {
        let mark = if model.sorted_by() == Some(at) { "*" } else { "" };
        ScreenCell::new(Line::raw(format!("{title}{mark}")).alignment(align(at)))
    });
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let body = rows.iter().map(|row: &Row| {
        ScreenRow::new(row.iter().enumerate().map(|(at, cell)| Line::raw(cell.text.clone()).alignment(align(at))))
    });
    let table = Table::new(body, widths)
        .header(ScreenRow::new(titles).style(bold))
        .column_spacing(2)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::default().with_selected(Some(model.selected));
    frame.render_stateful_widget(table, area, &mut state);
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
