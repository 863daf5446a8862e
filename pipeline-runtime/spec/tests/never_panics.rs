//! Whatever the bytes are, the answer is a list of issues at places that exist.

mod common;

use std::path::Path;

use millstream_spec::{SourceFile, check, graph, render, tree};
use proptest::prelude::*;

const GOOD: &str = "pipeline: p # c\nsource:\n  topic: t\n  fields: { id: string, n: integer, at: [string] }\n  id: [.id]\n  key: .id\ndefaults: { dedup: { window: 24h }, topics: { retention: 7d } }\nstages:\n  - name: a\n    filter: map\n    with: |\n\n      .m = .n\n       # ü\n  - name: b\n    filters:\n      - where: '.m > 1'\n      - route: { x: \".n > ${env:REPLICAS}\", y: true }\n    outputs: { y: { to: other, key: .n } }\n    retry: { backoff: 1s..2s }\n  - { name: c, from: b.x, filter: where, with: .n }\ntests:\n  - { name: t, input: [ { value: { n: 1 } } ], expect: { c: [], a.dlq: [] } }\n";

fn survive(bytes: &[u8]) {
    let file = SourceFile { path: "p.yaml".into(), bytes: bytes.to_vec() };
    let issues = match check(&file, &common::registry(), &common::files(), &common::env) {
        Ok((pipeline, warnings)) => {
            assert!(!graph::text(&pipeline).is_empty() && !graph::mermaid(&pipeline).is_empty());
            warnings
        }
        Err(issues) => {
            assert!(!issues.is_empty(), "refused without a reason");
            issues
        }
    };
    let lines = bytes.iter().filter(|b| matches!(b, b'\n' | b'\r')).count() as u32 + 1;
    for issue in &issues {
        assert!(
            (1..=lines).contains(&issue.span.line) && issue.span.col >= 1,
            "{issue:?} in {:?}",
            String::from_utf8_lossy(bytes)
        );
        assert!(!issue.message.is_empty() && !issue.message.ends_with('.'), "{issue:?}");
    }
    assert!(issues.windows(2).all(|w| w[0].span <= w[1].span), "sorted by place");
    let _ = render(Path::new("p.yaml"), bytes, &issues);
}

#[test]
fn the_good_one_is_good() {
    common::good(GOOD);
}

/// Bytes of every literal block's text are found in the file where `span_of` says.
fn spans_are_exact(node: &millstream_filter_api::Node, lines: &[&str]) {
    use millstream_filter_api::{NodeKind, ScalarStyle};
    match &node.kind {
        NodeKind::List(items) => items.iter().for_each(|n| spans_are_exact(n, lines)),
        NodeKind::Map(pairs) => pairs.iter().for_each(|(k, v)| {
            spans_are_exact(k, lines);
            spans_are_exact(v, lines);
        }),
        NodeKind::Text(text, style) if *style != ScalarStyle::Altered => {
            for (at, c) in text.char_indices().filter(|(_, c)| *c != '\n') {
                let span = node.span_of(at, at + c.len_utf8());
                let there = lines.get(span.line as usize - 1).and_then(|l| l.chars().nth(span.col as usize - 1));
                assert_eq!(there, Some(c), "byte {at} of {text:?} at {span:?}");
            }
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        survive(&bytes);
    }

    #[test]
    fn any_yaml_like(text in "[a-c:\\-|>&*!%#{}\\[\\]\"'?,.$ \n\r\tü]{0,120}") {
        survive(text.as_bytes());
    }

    #[test]
    fn a_good_one_with_bytes_changed(changes in prop::collection::vec((0..GOOD.len(), any::<u8>(), 0u8..4), 1..5)) {
        let mut bytes = GOOD.as_bytes().to_vec();
        for (at, byte, what) in changes {
            let at = at.min(bytes.len().saturating_sub(1));
            match what {
                0 => bytes[at] = byte,
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, b" \n:-|{}[]#&*!\"'"[usize::from(byte) % 15]),
                _ => bytes.truncate(at.max(1)),
            }
        }
        survive(&bytes);
    }

    #[test]
    fn a_good_one_with_lines_moved(a in 0usize..24, b in 0usize..24, indent in 0usize..6) {
        let mut lines: Vec<String> = GOOD.lines().map(str::to_owned).collect();
        let (a, b) = (a % lines.len(), b % lines.len());
        lines.swap(a, b);
        lines[b] = format!("{}{}", " ".repeat(indent), lines[b].trim_start());
        survive(lines.join("\n").as_bytes());
    }

    #[test]
    fn places_inside_text_are_exact(
        header in prop::sample::select(vec!["|", "|-", "|+", "|2", "|2-", "| # c"]),
        body in prop::collection::vec(" {0,3}[a-zü#]{0,5}[ \\t]{0,2}", 0..6),
        crlf in any::<bool>(),
    ) {
        let body: String = body.iter().map(|l| if l.is_empty() { "\n".to_owned() } else { format!("    {l}\n") }).collect();
        let yaml = format!("k:\n  a: {header}\n{body}  b: 'x y'\n  c: x y # z\n");
        let yaml = if crlf { yaml.replace('\n', "\r\n") } else { yaml };
        if let (Some(node), _) = tree::parse(yaml.as_bytes()) {
            let lines: Vec<&str> = yaml.lines().collect();
            spans_are_exact(&node, &lines);
        }
    }
}
