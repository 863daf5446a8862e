//! Passes over JSON text and holds it to the grammar, without building anything: what nobody looks at must be JSON all the
//! same. It may refuse what the parser takes (the parser is asked then), and never takes what the parser refuses.
//!
//! The text is UTF-8 already.

use crate::scan::skip_space;

/// Deepest nesting of containers that the parser allows.
const MAX_DEPTH: u32 = 127;

/// The position after the value that starts at `pos`, inside of `depth` containers.
pub(crate) fn pass_value(text: &[u8], pos: usize, depth: u32) -> Option<usize> {
    match text.get(pos)? {
        b'"' => Some(pass_string(text, pos)?.end),
        b'{' | b'[' => pass_nested(text, pos, depth),
        b'-' | b'0'..=b'9' => pass_number(text, pos),
        b't' => pass_word(text, pos, b"true"),
        b'f' => pass_word(text, pos, b"false"),
        b'n' => pass_word(text, pos, b"null"),
        _ => None,
    }
}

/// A string that was passed.
#[derive(Clone, Copy)]
pub(crate) struct Passed {
    /// The position after the closing quote.
    pub(crate) end: usize,
    /// Whether it has escapes.
    pub(crate) escaped: bool,
}

/// Passes the string whose opening quote is at `pos`.
pub(crate) fn pass_string(text: &[u8], pos: usize) -> Option<Passed> {
    let (mut at, mut escaped) = (pos + 1, false);
    loop {
        at = plain(text, at);
        match text.get(at)? {
            b'"' => return Some(Passed { end: at + 1, escaped }),
            b'\\' => {
                escaped = true;
                at = pass_escape(text, at)?;
            }
            // A control character.
            _ => return None,
        }
    }
}

/// The first position from `at` on that is a quote, a backslash or a control character.
fn plain(text: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // Eight bytes at once: a byte below `n` borrows into its high bit, a byte equal to one looked for is zero after the
    // exclusive or ("Bit Twiddling Hacks", Anderson; the lowest hit is exact).
    let below = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word;
    while let Some(chunk) = text.get(at..at + 8) {
        let word = u64::from_le_bytes(chunk.try_into().unwrap_or_default());
        let quote = word ^ (ONES * u64::from(b'"'));
        let slash = word ^ (ONES * u64::from(b'\\'));
        let hits = (below(word, 0x20) | below(quote, 1) | below(slash, 1)) & HIGH;
        if hits != 0 {
            return at + (hits.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..0x20)).unwrap_or(rest.len())
}

/// A half of a pair of surrogates is left to the parser.
fn pass_escape(text: &[u8], at: usize) -> Option<usize> {
    match text.get(at + 1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(at + 2),
        b'u' => {
            let digits = text.get(at + 2..at + 6)?;
            let surrogate = matches!(digits, [b'd' | b'D', b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F', ..]);
            (digits.iter().all(u8::is_ascii_hexdigit) && !surrogate).then_some(at + 6)
        }
        _ => None,
    }
}

fn pass_number(text: &[u8], pos: usize) -> Option<usize> {
    let digits = |from: usize| {
        let rest = text.get(from..).unwrap_or_default();
        from + rest.iter().position(|b| !b.is_ascii_digit()).unwrap_or(rest.len())
    };
    let first = pos + usize::from(text.get(pos) == Some(&b'-'));
    let mut at = match text.get(first)? {
        b'0' => first + 1,
        b'1'..=b'9' => digits(first + 1),
        _ => return None,
    };
    if text.get(at) == Some(&b'.') {
        let end = digits(at + 1);
        if end == at + 1 {
            return None;
        }
        at = end;
    }
    if let Some(b'e' | b'E') = text.get(at) {
        let from = at + 1 + usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        let end = digits(from);
        if end == from {
            return None;
        }
        at = end;
    }
    Some(at)
}

fn pass_word(text: &[u8], pos: usize, word: &[u8]) -> Option<usize> {
    let end = pos + word.len();
    (text.get(pos..end)? == word).then_some(end)
}

/// Objects and arrays without recursion: one bit for each container that is open tells which it is.
fn pass_nested(text: &[u8], pos: usize, depth: u32) -> Option<usize> {
    let (mut objects, mut open, mut at) = (0u128, 0u32, pos);
    loop {
        // A value begins at `at`.
        at = match text.get(at)? {
            start @ (b'{' | b'[') => {
                open += 1;
                if depth + open > MAX_DEPTH {
                    return None;
                }
                let is_object = *start == b'{';
                objects = objects << 1 | u128::from(is_object);
                let next = skip_space(text, at + 1);
                match (is_object, text.get(next)?) {
                    (true, b'}') | (false, b']') => {
                        objects >>= 1;
                        open -= 1;
                        next + 1
                    }
                    (true, _) => {
                        at = pass_key(text, next)?;
                        continue;
                    }
                    (false, _) => {
                        at = next;
                        continue;
                    }
                }
            }
            _ => pass_value(text, at, MAX_DEPTH)?,
        };
        // A value has ended at `at`: so may those around it.
        loop {
            if open == 0 {
                return Some(at);
            }
            let next = skip_space(text, at);
            match (objects & 1 == 1, text.get(next)?) {
                (true, b'}') | (false, b']') => {
                    objects >>= 1;
                    open -= 1;
                    at = next + 1;
                }
                (true, b',') => {
                    at = pass_key(text, skip_space(text, next + 1))?;
                    break;
                }
                (false, b',') => {
                    at = skip_space(text, next + 1);
                    break;
                }
                _ => return None,
            }
        }
    }
}

/// From a key to where its value begins.
fn pass_key(text: &[u8], pos: usize) -> Option<usize> {
    if text.get(pos) != Some(&b'"') {
        return None;
    }
    colon(text, pass_string(text, pos)?.end)
}

/// From the end of a key to where its value begins.
pub(crate) fn colon(text: &[u8], pos: usize) -> Option<usize> {
    let at = skip_space(text, pos);
    (text.get(at) == Some(&b':')).then(|| skip_space(text, at + 1))
}
