//! Pictures of pipelines.

mod common;

use common::good;
use millstream_spec::graph;

const YAML: &str = "pipeline: p\nsource: { topic: t, key: .id }\nstages:\n  - { name: a, filter: route, with: { x: 'true', y: true } }\n  - { name: b, from: a.x, filters: [{ where: 'true' }, { map: 'x' }], replicas: 2 }\n  - { name: c, from: [b, a.y], filter: where, with: 'true', to: out }\n";

#[test]
fn a_tree_for_the_terminal() {
    let expected = "p: exactly once
source: topic t (json)
└─ ingest: sets the key -> p.in
   └─ a: route
      ├─ x -> p.a.x
      │  └─ b: where, map x2 -> p.b
      │     └─ c: where -> out
      └─ y -> p.a.y
         └─ c (see there)
dead letters: p.<stage>.dlq
";
    assert_eq!(graph::text(&good(YAML).0), expected);
}

#[test]
fn mermaid_for_pages() {
    let drawn = graph::mermaid(&good(YAML).0);
    assert!(drawn.starts_with("flowchart LR\n"));
    for line in [
        "t0[(\"t\")]",
        "t0 --> s0",
        "s0 --> t1",
        "s1 -->|x| t2",
        "s1 -->|y| t3",
        "s2[\"b<br/>where, map\"]",
        "t3 --> s3",
    ] {
        assert!(drawn.lines().any(|l| l.trim() == line), "{line} in\n{drawn}");
    }
    let odd = "pipeline: p\nsource: { file: 'a \"b\" <c>.csv' }\nstages: [{ name: a, filter: where, with: 'true' }]\n";
    let drawn = graph::mermaid(&good(odd).0);
    assert!(drawn.contains("file a #quot;b#quot; #lt;c>.csv (csv)"), "{drawn}");
}
