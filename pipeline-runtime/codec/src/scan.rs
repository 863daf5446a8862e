//! Walks JSON text without building anything. It trusts that the text was accepted by the parser before: on text that
//! is not JSON it answers `None` or a wrong extent, but never reads past the end and never panics.

/// The first position at or after `pos` that is no white space.
pub(crate) fn skip_space(text: &[u8], mut pos: usize) -> usize {
    while matches!(text.get(pos), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        pos += 1;
    }
    pos
}

/// The position after the value that starts at `pos`.
pub(crate) fn skip_value(text: &[u8], pos: usize) -> Option<usize> {
    match text.get(pos)? {
        b'"' => skip_string(text, pos),
        b'{' | b'[' => skip_nested(text, pos),
        _ => {
            let rest = text.get(pos..)?;
            let len = rest.iter().position(|b| matches!(b, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r'));
            let end = pos + len.unwrap_or(rest.len());
            (end > pos).then_some(end)
        }
    }
}

/// The position after the string whose opening quote is at `pos`.
pub(crate) fn skip_string(text: &[u8], pos: usize) -> Option<usize> {
    let mut at = pos + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

fn skip_nested(text: &[u8], pos: usize) -> Option<usize> {
    let mut depth = 0usize;
    let mut at = pos;
    loop {
        match text.get(at)? {
            b'"' => {
                at = skip_string(text, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// One member of an object, as positions: `"key" : value`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member {
    pub(crate) key: (usize, usize),
    pub(crate) value: (usize, usize),
}

/// The members of the object that starts at `pos`, and the position after it.
pub(crate) fn members(text: &[u8], pos: usize) -> Option<(Vec<Member>, usize)> {
    let mut found = Vec::with_capacity(16);
    let mut at = skip_space(text, pos + 1);
    if text.get(at) == Some(&b'}') {
        return Some((found, at + 1));
    }
    loop {
        if text.get(at) != Some(&b'"') {
            return None;
        }
        let key = (at, skip_string(text, at)?);
        at = skip_space(text, key.1);
        if text.get(at) != Some(&b':') {
            return None;
        }
        at = skip_space(text, at + 1);
        let value = (at, skip_value(text, at)?);
        found.push(Member { key, value });
        at = skip_space(text, value.1);
        match text.get(at)? {
            b',' => at = skip_space(text, at + 1),
            b'}' => return Some((found, at + 1)),
            _ => return None,
        }
    }
}

/// The elements of the array that starts at `pos`, and the position after it.
pub(crate) fn elements(text: &[u8], pos: usize) -> Option<(Vec<(usize, usize)>, usize)> {
    let mut found = Vec::new();
    let mut at = skip_space(text, pos + 1);
    if text.get(at) == Some(&b']') {
        return Some((found, at + 1));
    }
    loop {
        let end = skip_value(text, at)?;
        found.push((at, end));
        at = skip_space(text, end);
        match text.get(at)? {
            b',' => at = skip_space(text, at + 1),
            b']' => return Some((found, at + 1)),
            _ => return None,
        }
    }
}
