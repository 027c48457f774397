//! Comparisons as a picture: a panel each, a bar per program for the median, a whisker from the worst to the best.

use std::fmt::Write;

use super::{comparison::Comparison, short};

const COLUMNS: usize = 3;
const PANEL: (f64, f64) = (330.0, 190.0);
const MARGIN: f64 = 24.0;
const TITLE: f64 = 30.0;
const BAR: f64 = 18.0;
const STEP: f64 = 30.0;
/// Room for the names at the left of the bars, and for the figures at their right.
const NAMES: f64 = 100.0;
const FIGURES: f64 = 56.0;
const OURS: &str = "#1f6feb";
const THEIRS: &str = "#8c959f";

/// The text of an SVG file.
pub(super) fn svg(heading: &str, comparisons: &[Comparison]) -> String {
    let rows = comparisons.len().div_ceil(COLUMNS);
    let columns = comparisons.len().clamp(1, COLUMNS);
    let width = columns as f64 * (PANEL.0 + MARGIN) + MARGIN;
    let height = rows as f64 * (PANEL.1 + MARGIN) + MARGIN + TITLE;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    text(&mut svg, (MARGIN, MARGIN), "font-size=\"15\"", heading);
    for (at, comparison) in comparisons.iter().enumerate() {
        let left = MARGIN + (at % COLUMNS) as f64 * (PANEL.0 + MARGIN);
        let top = MARGIN + TITLE + (at / COLUMNS) as f64 * (PANEL.1 + MARGIN);
        panel(&mut svg, (left, top), comparison);
    }
    svg.push_str("</svg>\n");
    svg
}

fn panel(svg: &mut String, (left, top): (f64, f64), comparison: &Comparison) {
    let title = format!("{} ({})", comparison.name, comparison.unit);
    text(svg, (left, top + 12.0), "font-weight=\"bold\"", &title);
    let most = comparison.programs.iter().map(|program| program.spread.maximum).fold(f64::MIN_POSITIVE, f64::max);
    let scale = (PANEL.0 - NAMES - FIGURES) / most;
    let start = left + NAMES;
    for (at, program) in comparison.programs.iter().enumerate() {
        let y = top + TITLE + at as f64 * STEP;
        let middle = y + BAR / 2.0;
        let colour = if at == 0 { OURS } else { THEIRS };
        let spread = program.spread;
        text(svg, (left, middle + 4.0), "", &program.name);
        shape(
            svg,
            &format!(
                "<rect x=\"{start:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>",
                spread.median * scale
            ),
        );
        let (low, high) = (start + spread.minimum * scale, start + spread.maximum * scale);
        shape(
            svg,
            &format!(
                "<path d=\"M{low:.1} {middle:.1}H{high:.1}M{low:.1} {:.1}v8M{high:.1} {:.1}v8\" stroke=\"#000000\"/>",
                middle - 4.0,
                middle - 4.0
            ),
        );
        text(svg, (high + 6.0, middle + 4.0), "", &short(spread.median));
    }
}

fn text(svg: &mut String, (x, y): (f64, f64), style: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    shape(svg, &format!("<text x=\"{x:.1}\" y=\"{y:.1}\" {style}>{words}</text>"));
}

fn shape(svg: &mut String, shape: &str) {
    writeln!(svg, "{shape}").expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::comparison::Sampled;

    #[test]
    fn the_longest_bar_ends_where_the_figures_begin() {
        let programs = vec![Sampled::new("ours", vec![4.0, 4.0]), Sampled::new("a < b", vec![1.0, 3.0])];
        let svg = svg("all", &[Comparison::new("speed".into(), "Gbit/s", programs)]);
        assert_eq!(svg.matches("<rect").count(), 3, "the ground and two bars");
        assert!(svg.contains("width=\"174.0\"") && svg.contains("width=\"87.0\""), "{svg}");
        assert!(svg.contains("a &lt; b") && svg.ends_with("</svg>\n"));
    }
}
