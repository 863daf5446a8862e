//! Filters with expressions, as a pipeline's file has them, and the whole way of a record through such a stage.

use std::hint::black_box;
use std::io;
use std::path::Path;
use std::time::Duration;

use millstream_codec::Codec;
use millstream_filter_api::{
    Built, CheckContext, Compute, Files, Node, NodeKind, Outcome, Reads, Record, ScalarStyle, Span, kind_of_json_schema,
};

use crate::codecs::{coercion, payloads};
use crate::input::{JSON_SCHEMA, records};
use crate::{Step, each};

/// One record in ten is dropped.
pub fn where_(count: usize) -> Step {
    on_decoded(filter("where", &text(CONDITION)), count)
}

/// One field is added.
pub fn map(count: usize) -> Step {
    on_decoded(filter("map", &text(STATEMENT)), count)
}

/// Four outputs by the same field.
pub fn route(count: usize) -> Step {
    let outputs =
        [("de", ".country == \"DE\""), ("fr", ".country == \"FR\""), ("gb", ".country == \"GB\""), ("rest", "true")];
    let pairs = outputs.map(|(name, condition)| (text(name), text(condition))).to_vec();
    on_decoded(filter("route", &Node { kind: NodeKind::Map(pairs), span: Span::default() }), count)
}

/// Decoded as far as the filters look, filtered, mapped and spliced.
pub fn json_where_map(count: usize) -> Step {
    let [(condition, of_condition), (statement, of_statement)] =
        [("where", CONDITION), ("map", STATEMENT)].map(|(name, with)| checked(name, &text(with)));
    let (mut chain, reads) = ([condition, statement], of_condition.and(of_statement));
    let coercion = coercion();
    each(records(count, 1_000), move |record| {
        let raw = record.payload.original().expect("it has bytes").clone();
        let payload = Codec::Json.decode_part(raw, &coercion, &reads).expect("JSON");
        let mut record = Record { payload, ..record.clone() };
        if chain.iter_mut().all(|filter| goes_on(&filter.apply(&mut record))) {
            black_box(Codec::Json.encode(&record.payload, &Codec::Json).expect("JSON takes all"));
        }
    })
}

const CONDITION: &str = ".quantity > 0";
const STATEMENT: &str = ".total = .quantity * .unit_price";

fn on_decoded(mut filter: Box<dyn Compute>, count: usize) -> Step {
    let decoded = |(record, payload)| Record { payload, ..record };
    let records = records(count, 1_000).into_iter().zip(payloads(count)).map(decoded).collect();
    each(records, move |record| {
        black_box(goes_on(&filter.apply(record)));
    })
}

fn goes_on(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Forward | Outcome::ForwardTo(_) => true,
        Outcome::Drop(_) => false,
        Outcome::Emit(_) | Outcome::Fail(_) => panic!("{outcome:?}"),
    }
}

fn text(text: &str) -> Node {
    Node { kind: NodeKind::Text(text.to_owned(), ScalarStyle::Plain), span: Span::default() }
}

/// The filter of that name, built for one replica.
fn filter(name: &str, with: &Node) -> Box<dyn Compute> {
    checked(name, with).0
}

/// The same, and what it looks at.
fn checked(name: &str, with: &Node) -> (Box<dyn Compute>, Reads) {
    let input = kind_of_json_schema(JSON_SCHEMA).expect("a schema");
    // An hour: under valgrind all takes fifty times as long, and nothing may be cut off.
    let timeout = Duration::from_secs(3_600);
    let cx = CheckContext { input: &input, source_schema: None, files: &NoFiles, timeout };
    let spec = millstream_filters_std::registry().into_iter().find(|s| s.name() == name).expect("it is registered");
    let checked = spec.check(with, &cx).unwrap_or_else(|issues| panic!("{name}: {issues:?}"));
    match (checked.build)() {
        Built::Compute(filter) => (filter, checked.reads),
        Built::Call(_) => panic!("{name} computes"),
    }
}

struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }
}
