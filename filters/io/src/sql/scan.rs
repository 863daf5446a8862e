//! What can be known of a statement's text without a database: its first word, its placeholders, that it is one.

/// What was found in a statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scanned {
    /// Lower case; empty where there is none.
    pub first: String,
    /// Numbers of `$1`, `$2`, … in order, each once.
    pub places: Vec<usize>,
    /// Whether a bare `?` stands for something: SQLite's other placeholder, and operators of PostgreSQL.
    pub question: bool,
    /// Whether something comes behind a `;`.
    pub several: bool,
}

/// Words that begin what is no work of one record.
pub(super) const TRANSACTIONS: [&str; 9] =
    ["abort", "begin", "commit", "copy", "end", "release", "rollback", "savepoint", "start"];

impl Scanned {
    /// Looks through a statement, past texts, quoted names and comments.
    pub(super) fn of(text: &str) -> Self {
        let mut found = Self::default();
        let mut ended = false;
        let bytes = text.as_bytes();
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            let next = skipped(text, at);
            if next > at && (byte == b'-' || byte == b'/') || byte.is_ascii_whitespace() {
                at = next.max(at + 1);
                continue;
            }
            found.several |= ended && byte != b';';
            if next > at {
                at = next;
                continue;
            }
            let word = word(&text[at..]);
            match byte {
                b';' => ended = true,
                b'?' => found.question = true,
                b'$' => {
                    let digits = text[at + 1..].bytes().take_while(u8::is_ascii_digit).count();
                    if let Ok(number) = text[at + 1..at + 1 + digits].parse() {
                        found.places.push(number);
                        at += digits;
                    }
                }
                _ if word > 0 => {
                    if found.first.is_empty() {
                        found.first = text[at..at + word].to_ascii_lowercase();
                    }
                    at += word;
                    continue;
                }
                _ => {}
            }
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
        found.places.sort_unstable();
        found.places.dedup();
        found
    }

    /// Whether it only looks, by its first word.
    pub(super) fn reads(&self) -> bool {
        ["explain", "select", "show", "table", "values"].contains(&self.first.as_str())
    }
}

/// Bytes of the word that a text begins with: `$` may stand in a name, but not begin one.
fn word(text: &str) -> usize {
    let begins = text.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_');
    let goes_on = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    if begins { text.find(|c| !goes_on(c)).unwrap_or(text.len()) } else { 0 }
}

/// Behind the comment, text or quoted name that begins at a place; the same place where none does.
fn skipped(text: &str, at: usize) -> usize {
    let rest = &text[at..];
    let until = |from: usize, end: &str| rest[from..].find(end).map_or(text.len(), |n| at + from + n + end.len());
    match rest.as_bytes() {
        [b'-', b'-', ..] => until(2, "\n"),
        [b'/', b'*', ..] => comment(text, at),
        // Two quotes side by side are one text after another here, which ends at the same place.
        [b'\'', ..] => until(1, "'"),
        [b'e' | b'E', b'\'', ..] if !continues(text, at) => escaped(text, at),
        [b'"', ..] => until(1, "\""),
        [b'`', ..] => until(1, "`"),
        [b'$', ..] if !continues(text, at) => {
            let tag = rest[1..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(0);
            let begins_with_digit = rest[1..].starts_with(|c: char| c.is_ascii_digit());
            if rest[1 + tag..].starts_with('$') && !begins_with_digit { until(tag + 2, &rest[..tag + 2]) } else { at }
        }
        _ => at,
    }
}

/// Whether a place is in the middle of a word.
fn continues(text: &str, at: usize) -> bool {
    text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// `E'it\'s'`
fn escaped(text: &str, at: usize) -> usize {
    let mut bytes = text.bytes().enumerate().skip(at + 2);
    while let Some((n, byte)) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'\'' => return n + 1,
            _ => {}
        }
    }
    text.len()
}

/// Comments of PostgreSQL may hold comments.
fn comment(text: &str, at: usize) -> usize {
    let (mut depth, mut n) = (0, at);
    let bytes = text.as_bytes();
    while n + 1 < bytes.len() {
        match &bytes[n..n + 2] {
            b"/*" => (depth, n) = (depth + 1, n + 2),
            b"*/" => (depth, n) = (depth - 1, n + 2),
            _ => n += 1,
        }
        if depth == 0 {
            return n;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_found_where_they_are_some() {
        for (text, places) in [
            ("select $1, $2 + $1", vec![1, 2]),
            ("select '$3', \"$4\", `$5`, $1", vec![1]),
            ("select 'it''s $2' || $1", vec![1]),
            ("select E'it\\'s $2' || $1", vec![1]),
            ("select $$ $2 $$, $tag$ $3 $ $$ $tag$, $1", vec![1]),
            ("select a$2, $1 -- and $3\n , $4 /* $5 /* $6 */ $7 */ , $8", vec![1, 4, 8]),
            ("select '$2", vec![]),
            ("/* $1", vec![]),
            ("select $", vec![]),
            ("insert into \u{e4}rger values ($1, 'stra\u{df}e $2')", vec![1]),
            ("update t set type'x' = $1", vec![1]),
        ] {
            assert_eq!(Scanned::of(text).places, places, "{text}");
        }
    }

    #[test]
    fn a_statement_is_one_and_begins_with_a_word() {
        for (text, first, several) in [
            ("select 1;", "select", false),
            ("  -- look\n SELECT 1 ; ; ", "select", false),
            ("select ';'; -- done", "select", false),
            ("select 1; drop table t", "select", true),
            ("select 1; 'x'", "select", true),
            ("(select 1)", "select", false),
            ("", "", false),
            ("with a as (select 1) insert into t select * from a", "with", false),
        ] {
            let found = Scanned::of(text);
            assert_eq!((found.first.as_str(), found.several), (first, several), "{text}");
        }
        assert!(Scanned::of("select ?").question && !Scanned::of("select '?'").question);
        assert!(Scanned::of("(values (1))").reads() && !Scanned::of("with a as (select 1) select 1").reads());
    }

    #[test]
    fn any_text_is_looked_through() {
        let mut random = 7u64;
        for _ in 0..20_000 {
            let pieces = ["$", "1", "'", "\"", "--", "/*", "*/", "\n", "E'", "\\", "a", "\u{df}", ";", "$$", " ", "?"];
            let text: String = (0..12)
                .map(|_| {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    pieces[(random >> 33) as usize % pieces.len()]
                })
                .collect();
            Scanned::of(&text);
        }
    }
}
