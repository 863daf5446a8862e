//! What codes mean: the tables of `docs/codes.md`, which is the one place where it is written.

use std::sync::LazyLock;

const PAGE: &str = include_str!("../../docs/codes.md");

/// One code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// Its name.
    pub name: String,
    /// Class of a dead letter, or who acts; empty for a check.
    pub class: String,
    /// What happened, and what to do.
    pub text: String,
}

static CODES: LazyLock<Vec<Code>> = LazyLock::new(|| PAGE.lines().filter_map(row).collect());

/// All codes, in the order of the page.
pub fn all() -> &'static [Code] {
    &CODES
}

/// A code by its name.
pub fn find(name: &str) -> Option<&'static Code> {
    all().iter().find(|code| code.name == name)
}

/// `| name | class | text |` or `| name | text |`, the name in backticks.
fn row(line: &str) -> Option<Code> {
    let (name, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
    let rest = rest.strip_suffix(" |")?;
    let (class, text) = rest.split_once(" | ").unwrap_or(("", rest));
    Some(Code { name: name.to_owned(), class: class.to_owned(), text: without_links(text) })
}

/// `[words](place)` -> `words`.
fn without_links(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        out.push_str(before);
        let link = after.split_once("](").and_then(|(words, more)| Some((words, more.split_once(')')?.1)));
        match link {
            Some((words, more)) if !words.contains('[') => {
                out.push_str(words);
                rest = more;
            }
            _ => {
                out.push('[');
                rest = after;
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_read() {
        assert!(all().len() > 100, "{}", all().len());
        let code = find("invalid_json").unwrap();
        assert_eq!(code.class, "data");
        assert!(code.text.starts_with("The payload is not JSON."), "{code:?}");
        assert_eq!(find("cycle").map(|c| c.class.as_str()), Some(""));
        assert!(all().iter().all(|c| !c.text.is_empty() && !c.text.contains("](")), "{:?}", all());
    }

    #[test]
    fn links_are_words() {
        assert_eq!(without_links("See [a.md](a.md#b). [x] and [y](z)"), "See a.md. [x] and y");
    }
}
