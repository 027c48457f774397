//! How rows become a table: columns as wide as their widest cell, two spaces between, no trailing spaces.

/// `rows` have as many cells as `header`.
pub(crate) fn render(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([header[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut text = line(header.iter().copied(), &widths);
    for row in rows {
        text += &line(row.iter().map(String::as_str), &widths);
    }
    text
}

/// Names and what they stand for, one a line.
pub(crate) fn pairs(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    rows.iter().map(|(name, value)| format!("{name:width$}  {}\n", cell(value))).collect()
}

/// 999 B, 1.2 kB, 34 MB: three digits are enough to see what happens.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if count < 1_000 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1e3;
    let mut unit = 0;
    // 999.5 would be shown as 1000.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1e3;
        unit += 1;
    }
    let digits = if value < 9.95 { 1 } else { 0 };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// An empty cell is shown as a dash, so that columns can be counted.
pub(crate) fn cell(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

fn line<'a>(cells: impl Iterator<Item = &'a str>, widths: &[usize]) -> String {
    let padded: Vec<String> = cells.zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
    format!("{}\n", padded.join("  ").trim_end())
}

/// Of a round trip.
pub(crate) fn latency(micros: u64) -> String {
    if micros < 1_000 { format!("{micros} us") } else { format!("{:.1} ms", micros as f64 / 1e3) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["a".to_owned(), "long".to_owned()], vec!["bcd".to_owned(), "é".to_owned()]];
        assert_eq!(render(&["X", "Y"], &rows), "X    Y\na    long\nbcd  é\n");
    }

    #[test]
    fn pairs_are_aligned() {
        assert_eq!(pairs(&[("ID", "x".to_owned()), ("Label", String::new())]), "ID     x\nLabel  -\n");
    }

    #[test]
    fn byte_counts_keep_three_digits() {
        let shown = [0, 999, 1_000, 9_949, 9_950, 999_499, 999_500, 1_500_000_000, u64::MAX].map(bytes);
        assert_eq!(shown, ["0 B", "999 B", "1.0 kB", "9.9 kB", "10 kB", "999 kB", "1.0 MB", "1.5 GB", "18 EB"]);
    }
}
