//! The chart: for each system a bar of its client's CPU time, with the spread, and behind it a bar of the broker's.

use std::fmt::Write as _;

use crate::systems::{Work, delivery_word};
use crate::table::{Row, broker, cpu};

const LINE: f64 = 26.0;
const TOP: f64 = 64.0;
const LEFT: f64 = 400.0;
const WIDTH: f64 = 1000.0;
/// Room for figures right of the longest bar.
const RIGHT: f64 = 110.0;

/// An SVG that is readable on light and dark pages.
pub(crate) fn bars(rows: &[Row]) -> String {
    let rows: Vec<&Row> = rows.iter().filter(|r| !r.rounds.is_empty()).collect();
    let longest = |row: &&Row| row.spread(cpu).map_or(0.0, |s| s.max) + row.spread(broker).map_or(0.0, |s| s.median);
    let most = rows.iter().map(longest).fold(f64::MIN_POSITIVE, f64::max);
    let scale = (WIDTH - LEFT - RIGHT) / most;
    let height = TOP + LINE * rows.len() as f64 + 16.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <title>CPU time of client and broker for a million records</title>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"16\" y=\"26\" font-size=\"16\" font-weight=\"bold\">CPU seconds per million records, less is better</text>\n"
    );
    for (n, (colour, word)) in
        [(YARDSTICK, "C loop"), (OURS, "Millstream"), (THEIRS, "others"), (BROKER, "Kafka's broker meanwhile")]
            .into_iter()
            .enumerate()
    {
        let x = 16.0 + 120.0 * n as f64;
        // Writing into a `String` cannot fail.
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"38\" width=\"12\" height=\"12\" fill=\"{colour}\"/><text x=\"{}\" y=\"49\">{word}</text>",
            x + 18.0
        );
    }
    for (n, row) in rows.iter().enumerate() {
        let y = TOP + LINE * n as f64;
        let Some(own) = row.spread(cpu) else { continue };
        let theirs = row.spread(broker).map_or(0.0, |s| s.median);
        let system = &row.system;
        let label = format!("{}, {}, {}", system.name, system.input.title(), delivery_word(system.delivery));
        let colour = match system.work {
            Work::Copy { .. } => YARDSTICK,
            Work::Millstream(_) => OURS,
            Work::Streams(_) => THEIRS,
        };
        let at = |value: f64| LEFT + value * scale;
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" font-size=\"12\">{}</text>\
             <rect x=\"{LEFT}\" y=\"{y}\" width=\"{:.1}\" height=\"18\" fill=\"{colour}\"/>\
             <rect x=\"{:.1}\" y=\"{y}\" width=\"{:.1}\" height=\"18\" fill=\"{BROKER}\"/>\
             <path d=\"M{:.1} {m}H{:.1}\" stroke=\"#000000\" stroke-width=\"1.5\"/>\
             <text x=\"{:.1}\" y=\"{}\">{:.2} + {theirs:.2}</text>",
            LEFT - 8.0,
            y + 13.0,
            escaped(&label),
            own.median * scale,
            at(own.median),
            theirs * scale,
            at(own.min),
            at(own.max),
            at(own.median + theirs) + 6.0,
            y + 14.0,
            own.median,
            m = y + 9.0,
        );
    }
    svg + "</svg>\n"
}

const YARDSTICK: &str = "#7f7f7f";
const OURS: &str = "#1f77b4";
const THEIRS: &str = "#d98b2b";
const BROKER: &str = "#d9d9d9";

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::tests::rows;

    #[test]
    fn bars_fit_and_names_are_escaped() {
        let svg = bars(&rows());
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("ours &amp; theirs, 1 KiB, exactly once"), "{svg}");
        assert!(svg.contains(">4.00 + 2.00</text>"), "{svg}");
        // The longest bar with its spread, 5 and the broker's 2, ends where the room for figures begins.
        let scale = (WIDTH - LEFT - RIGHT) / 7.0;
        assert!(svg.contains(&format!("width=\"{:.1}\" height=\"18\" fill=\"{OURS}\"", 4.0 * scale)), "{svg}");
        assert_eq!(svg.matches("<rect").count(), 1 + 4 + 2 * 3);
    }

    #[test]
    fn nothing_measured_is_an_empty_chart() {
        assert_eq!(bars(&[]).matches("<path").count(), 0);
    }
}
