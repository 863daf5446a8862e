//! Runs filters as a pipeline file names them: checked by the language, fed with JSON lines, without any host.

use std::io;
use std::path::Path;

use bytes::Bytes;
use millstream_codec::{Codec, Coercion};
use millstream_filter_api::{Built, Class, Compute, Files, Issue, Outcome, Outputs, Reads, Record};
use millstream_spec::model::{Pipeline, Stage};
use millstream_spec::{Registry, SourceFile, check};

/// The files that tests and examples may name.
pub struct TestFiles;

impl Files for TestFiles {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let text: &[u8] = match path.to_str().unwrap_or("") {
            "data/prices.csv" => b"sku,price\nA,2.5\nB,3\nC,\n",
            "data/skus.jsonl" => {
                b"{\"sku\":\"A\",\"group\":\"toys\",\"weight\":0.5}\n\n{\"sku\":\"B\",\"group\":\"books\",\"weight\":2}\n"
            }
            "data/twice.csv" => b"sku,price\nA,1\nB,2\nA,3\n",
            "data/bare.csv" => b"sku\nA\n",
            "data/mixed.csv" => b"id,n,f,b,t,e\n7,1,1.5,true,x,\n8,2,2,false,2,\n",
            "data/torn.csv" => b"a,b\n1\n",
            "data/torn.jsonl" => b"{\"sku\":\"A\",\"x\":1}\n{\"sku\":",
            "data/prices.xml" => b"<a/>",
            "schemas/quantity.json" => {
                br#"{"type":"object","required":["quantity"],"properties":{"quantity":{"type":"integer","minimum":1},
                    "deep":{"type":"object","properties":{"list":{"type":"array","items":{"type":"string"}}}}}}"#
            }
            "schemas/nonsense.json" => b"{\"type\": 7}",
            "schemas/torn.json" => b"{",
            "schemas/remote.json" => br#"{"$ref": "https://schemas.invalid/x.json"}"#,
            _ => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(text.to_vec())
    }
}

/// A pipeline of one stage `s` whose filters are these lines of a `filters:` list.
pub fn pipeline(fields: &str, filters: &str) -> Result<(Pipeline, Vec<Issue>), Vec<Issue>> {
    let fields = if fields.is_empty() { String::new() } else { format!("  fields: {fields}\n") };
    let mut text = format!("apiVersion: millstream/v1\npipeline: p\nsource:\n  topic: t\n  format: json\n{fields}");
    text.push_str("stages:\n  - name: s\n    filters:\n");
    for filter in filters.split("\n---\n") {
        for (i, line) in filter.lines().enumerate() {
            text.push_str(if i == 0 { "      - " } else { "        " });
            text.push_str(line);
            text.push('\n');
        }
    }
    let file = SourceFile { path: "p.yaml".into(), bytes: text.into_bytes() };
    check(&file, &Registry::new(millstream_filters_std::registry()), &TestFiles, &|_| None)
}

/// The filters of a stage, ready to run.
pub struct Chain {
    filters: Vec<Box<dyn Compute>>,
    outputs: Vec<String>,
    coercion: Coercion,
    reads: Reads,
}

impl Chain {
    pub fn new(fields: &str, filters: &str) -> Self {
        let (pipeline, _) = pipeline(fields, filters).unwrap_or_else(|e| panic!("{filters} with {fields}: {e:#?}"));
        Self::of(&pipeline.stages[0], &Coercion::new(&pipeline.sources[0].types))
    }

    fn of(stage: &Stage, coercion: &Coercion) -> Self {
        let filters = stage.filters.iter().map(|f| match (f.checked.build)() {
            Built::Compute(filter) => filter,
            Built::Call(_) => panic!("{} calls out", f.name),
        });
        let outputs = match stage.filters.last().map(|f| &f.checked.outputs) {
            Some(Outputs::Named(names)) => names.clone(),
            _ => Vec::new(),
        };
        let reads = stage.filters.iter().map(|f| f.checked.reads.clone()).fold(Reads::nothing(), Reads::and);
        Self { filters: filters.collect(), outputs, coercion: coercion.clone(), reads }
    }

    /// As a stage decodes it: only what its filters say they look at.
    pub fn decode(&self, line: &str) -> Record {
        let raw = Bytes::copy_from_slice(line.as_bytes());
        let payload = Codec::Json.decode_part(raw, &self.coercion, &self.reads).unwrap();
        Record { payload, ..Record::default() }
    }

    /// The fates of one record, as lines of an example's output.
    pub fn run(&mut self, record: Record) -> Vec<String> {
        let mut records = vec![(0u16, record)];
        for filter in &mut self.filters {
            let mut next = Vec::new();
            for (_, mut record) in records {
                match filter.apply(&mut record) {
                    Outcome::Forward => next.push((0, record)),
                    Outcome::ForwardTo(output) => next.push((output, record)),
                    Outcome::Emit(all) => next.extend(all.into_iter().map(|e| (e.output, e.record))),
                    Outcome::Drop(reason) => return vec![format!("{{\"dropped\": \"{reason}\"}}")],
                    Outcome::Fail(failure) => {
                        assert_eq!(failure.class, Class::Data, "{failure:?}");
                        return vec![format!("{{\"failed\": \"{}\"}}", failure.code)];
                    }
                }
            }
            records = next;
        }
        records.into_iter().map(|(output, record)| self.line(output, &record)).collect()
    }

    fn line(&self, output: u16, record: &Record) -> String {
        let bytes = Codec::Json.encode(&record.payload, &Codec::Json).unwrap();
        let value = bytes.as_ref().map_or("null", |b| std::str::from_utf8(b).unwrap());
        match self.outputs.get(usize::from(output)) {
            Some(name) => format!("{{\"output\": \"{name}\", \"value\": {value}}}"),
            None => format!("{{\"value\": {value}}}"),
        }
    }

    /// The same for a JSON line.
    pub fn line_by_line(&mut self, input: &str) -> Vec<String> {
        input.lines().flat_map(|line| self.run(self.decode(line))).collect()
    }
}
