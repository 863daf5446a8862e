//! The fenced blocks of a page, and whether output is what a page says.

/// A fenced block.
#[derive(Clone, Debug)]
pub struct Block {
    /// The word after the fence.
    pub kind: String,
    /// What stands in it.
    pub text: String,
    /// Line of its first line.
    pub line: usize,
}

/// All of a page.
pub fn blocks(page: &str) -> Vec<Block> {
    let mut all = Vec::new();
    let mut open: Option<Block> = None;
    for (i, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => all.extend(open.take()),
            (Some(kind), None) => open = Some(Block { kind: kind.to_owned(), text: String::new(), line: i + 2 }),
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block that does not end: {open:?}");
    all
}

/// The commands of a console block, each with what it prints.
pub fn commands(block: &Block) -> Vec<(String, Vec<String>)> {
    let mut all: Vec<(String, Vec<String>)> = Vec::new();
    for line in block.text.lines() {
        match (line.strip_prefix("$ "), all.last_mut()) {
            (Some(command), _) => all.push((command.to_owned(), Vec::new())),
            // A command that goes on in the next line.
            (None, Some((command, said))) if command.ends_with('\\') && said.is_empty() => {
                command.pop();
                command.push_str(line.trim_start());
            }
            (None, Some((_, said))) => said.push(line.to_owned()),
            (None, None) => panic!("line {}: output without a command", block.line),
        }
    }
    all
}

/// Whether `found` is what `wanted` says.
pub fn fits(wanted: &[String], found: &[&str]) -> bool {
    match wanted.split_first() {
        None => found.iter().all(|l| l.trim().is_empty()),
        Some((dots, rest)) if dots.trim() == "..." => (0..=found.len()).any(|skip| fits(rest, &found[skip..])),
        Some((line, rest)) => {
            found.split_first().is_some_and(|(first, more)| line_fits(line, first) && fits(rest, more))
        }
    }
}

fn line_fits(wanted: &str, found: &str) -> bool {
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (wanted, found) = (squeeze(wanted), squeeze(found));
    let mut parts = wanted.split("...");
    let Some(mut rest) = found.strip_prefix(parts.next().unwrap_or("")) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[test]
fn dots_stand_for_anything_and_nothing_else_does() {
    let fits = |wanted: &str, found: &str| {
        let wanted: Vec<String> = wanted.lines().map(str::to_owned).collect();
        fits(&wanted, &found.lines().collect::<Vec<_>>())
    };
    assert!(fits("a\n...\nb", "a\nx\ny\nb") && fits("...", "") && fits("a ... c", "a  b c"));
    assert!(!fits("a\nb", "a\nx\nb") && !fits("a", "a\nb") && !fits("a ... c", "a b") && !fits("a", ""));
}
