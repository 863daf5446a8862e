//! Scalars: YAML 1.2's core types, and where the text of a scalar stands in the file.

use millstream_filter_api::{NodeKind, ScalarStyle, Span};

use crate::lines::Lines;

/// What a plain scalar means by YAML 1.2's core schema. Numbers beyond `f64` and whole numbers beyond `i64` that are
/// not decimal stay text.
pub(crate) fn plain(text: &str, style: ScalarStyle) -> NodeKind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return NodeKind::Null,
        "true" | "True" | "TRUE" => return NodeKind::Bool(true),
        "false" | "False" | "FALSE" => return NodeKind::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return NodeKind::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return NodeKind::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return NodeKind::Float(f64::NEG_INFINITY),
        _ => {}
    }
    number(text).unwrap_or_else(|| NodeKind::Text(text.to_owned(), style))
}

fn number(text: &str) -> Option<NodeKind> {
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix) {
            let all = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
            return all.then(|| i64::from_str_radix(digits, radix).ok().map(NodeKind::Integer))?;
        }
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit()) {
        return match text.parse() {
            Ok(whole) => Some(NodeKind::Integer(whole)),
            Err(_) => text.parse().ok().map(NodeKind::Float),
        };
    }
    // `[-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?`; Rust's own parser takes more (`inf`).
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((m, e)) => (m, Some(e.strip_prefix(['+', '-']).unwrap_or(e))),
        None => (unsigned, None),
    };
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let good = digits(whole)
        && digits(fraction)
        && (!whole.is_empty() || !fraction.is_empty())
        && exponent.is_none_or(|e| !e.is_empty() && digits(e));
    let value: f64 = text.parse().ok().filter(|_| good)?;
    value.is_finite().then_some(NodeKind::Float(value))
}

/// The style of a quoted scalar: exact places only where the file has the very same characters.
pub(crate) fn quoted(text: &str, source: Option<&str>, style: ScalarStyle) -> ScalarStyle {
    let inner = source.and_then(|s| s.get(1..s.len().saturating_sub(1)));
    if inner == Some(text) { style } else { ScalarStyle::Altered }
}

/// The style of a literal block whose header stands on line `header`: its indent, if each of its lines stands in the
/// file as it is.
pub(crate) fn literal(text: &str, lines: &Lines<'_>, header: usize) -> ScalarStyle {
    let mut indent = None;
    for (n, line) in text.split('\n').enumerate() {
        if line.is_empty() {
            continue;
        }
        let written = lines.line(header + 1 + n);
        let Some(before) = written.strip_suffix(line) else { return ScalarStyle::Altered };
        if !before.bytes().all(|b| b == b' ') || indent.is_some_and(|i| i != before.len()) {
            return ScalarStyle::Altered;
        }
        indent = Some(before.len());
    }
    ScalarStyle::Literal { indent: indent.unwrap_or(0) as u32 }
}

/// Byte of the `|` or `>` that opens a block scalar, looked for from the end of what stands before it.
pub(crate) fn block_header(source: &str, from: usize) -> Option<usize> {
    let bytes = source.as_bytes();
    let mut at = from;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'|' | b'>' => return Some(at),
            // A comment between the key and the block may contain either.
            b'#' if at == 0 || bytes[at - 1].is_ascii_whitespace() => {
                at += bytes[at..].iter().position(|b| *b == b'\n').unwrap_or(bytes.len() - at);
            }
            _ => at += 1,
        }
    }
    None
}

/// Whether a plain scalar that ends at byte `end` is followed by a comment that took the rest of an expression with
/// it: what is left has an open quote or bracket, or ends in an operator.
pub(crate) fn cut_by_comment(text: &str, source: &str, end: usize) -> bool {
    // No look at the rest of the line: all values of a file may stand on one.
    let rest = source.get(end..).unwrap_or("");
    rest.trim_start_matches([' ', '\t']).starts_with('#') && is_unfinished(text)
}

fn is_unfinished(text: &str) -> bool {
    const OPERATORS: [&str; 12] = ["&&", "||", "??", "==", "!=", "<=", ">=", "<", ">", "=", "+", "*"];
    let mut open = 0_i32;
    let mut chars = text.char_indices().peekable();
    let mut before: [char; 2] = [' ', ' '];
    while let Some((_, c)) = chars.next() {
        // VRL quotes with `"…"`, and with `s'…'`, `r'…'`, `t'…'`; an apostrophe in a word opens nothing.
        let raw = c == '\'' && "srt".contains(before[1]) && !before[0].is_alphanumeric() && before[0] != '_';
        if c == '"' || raw {
            loop {
                match chars.next() {
                    None => return true,
                    Some((_, '\\')) => drop(chars.next()),
                    Some((_, q)) if q == c => break,
                    Some(_) => {}
                }
            }
        }
        open += i32::from("([{".contains(c)) - i32::from(")]}".contains(c));
        before = [before[1], c];
    }
    open > 0 || OPERATORS.iter().any(|o| text.len() > o.len() && text.ends_with(o))
}

/// A place that covers text on one line; for text over several lines, its first.
pub(crate) fn extent(start: Span, source: &str) -> Span {
    let first = source.split(['\n', '\r']).next().unwrap_or("");
    Span { len: first.trim_end().chars().count() as u32, ..start }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_have_the_core_types() {
        let kind = |text: &str| plain(text, ScalarStyle::Plain);
        for text in ["", "~", "null", "NULL"] {
            assert_eq!(kind(text), NodeKind::Null, "{text}");
        }
        for (text, value) in [("0", 0), ("-12", -12), ("+7", 7), ("007", 7), ("0x1F", 31), ("0o17", 15)] {
            assert_eq!(kind(text), NodeKind::Integer(value), "{text}");
        }
        for (text, value) in
            [("1.5", 1.5), (".5", 0.5), ("1.", 1.0), ("-1e3", -1000.0), ("9223372036854775808", 2f64.powi(63))]
        {
            assert_eq!(kind(text), NodeKind::Float(value), "{text}");
        }
        for text in [
            "yes",
            "no",
            "on",
            "inf",
            "nan",
            "1_000",
            "0b1",
            "0x",
            "0xg",
            "1e",
            "e5",
            ".",
            "-",
            "30s",
            "1e999",
            "0x10000000000000000",
        ] {
            assert_eq!(kind(text), NodeKind::Text(text.into(), ScalarStyle::Plain), "{text}");
        }
    }

    #[test]
    fn only_unfinished_expressions_count_as_cut() {
        for text in [".a == \"x", "match(.a, r'x", "f(.a", ".a ==", ".a &&", "[1,", ".a = \"\\\""] {
            assert!(is_unfinished(text), "{text}");
        }
        for text in [".a == \"x\"", ".quantity < 0", "it's fine", "don't", "orders", ".a ?? \"(\"", ">", "r'(' == .a"] {
            assert!(!is_unfinished(text), "{text}");
        }
    }
}
