//! Runs the filter as a pipeline file names it, one attempt at a time, without any host.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use millstream_codec::{Codec, Coercion};
use millstream_filter_api::{Built, Call, CallContext, Failure, Files, Issue, Outcome, Record};
use millstream_spec::model::Pipeline;
use millstream_spec::{Registry, SourceFile, check};

/// A folder for the tests of this process; no file is read at a check.
struct Folder;

impl Files for Folder {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn place(&self, path: &Path) -> PathBuf {
        folder().join(path)
    }
}

/// Where relative paths of filters lead.
pub fn folder() -> &'static Path {
    static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());
    FOLDER.path()
}

/// What `${env:…}` finds.
fn environment(name: &str) -> Option<String> {
    match name {
        "TOKEN" => Some("s3cr3t-token".to_owned()),
        "TORN" => Some("s3cr3t\u{7}token".to_owned()),
        other => {
            let (host, port) = other.strip_prefix("URL_")?.rsplit_once('_')?;
            Some(format!("http://{}:{port}", host.replace('_', ".")))
        }
    }
}

/// A pipeline of one stage with this filter, from line 9 column 9 on.
pub fn pipeline(fields: &str, filter: &str) -> Result<(Pipeline, Vec<Issue>), Vec<Issue>> {
    let fields = if fields.is_empty() { "{ n: integer, sku: string? }" } else { fields };
    let text = format!(
        "apiVersion: millstream/v1\npipeline: p\nsource: {{ topic: t, format: json, fields: {fields} }}\nstages:\n  \
         - name: s\n    timeout: 20s\n    filters:\n      - {filter}\n"
    );
    let file = SourceFile { path: "p.yaml".into(), bytes: text.into_bytes() };
    check(&file, &Registry::new(millstream_filters_io::registry()), &Folder, &environment)
}

/// The filter, ready to be called.
pub struct Http {
    call: Arc<dyn Call>,
    coercion: Coercion,
}

impl Http {
    pub fn new(filter: &str) -> Self {
        Self::with("", filter)
    }

    pub fn with(fields: &str, filter: &str) -> Self {
        let (pipeline, _) = pipeline(fields, filter).unwrap_or_else(|e| panic!("{filter}: {e:#?}"));
        let Built::Call(call) = (pipeline.stages[0].filters[0].checked.build)() else { panic!("it calls out") };
        Self { call, coercion: Coercion::new(&pipeline.sources[0].types) }
    }

    pub fn decode(&self, json: &str) -> Record {
        let payload = Codec::Json.decode(Bytes::copy_from_slice(json.as_bytes()), &self.coercion).unwrap();
        Record { payload, ..Record::default() }
    }

    /// One attempt for a record with an id.
    pub async fn attempt(&self, record: Record, call_id: &str) -> (Record, Outcome) {
        self.attempt_in(record, CallContext::new(Arc::from(call_id), 1)).await
    }

    /// The same as its context says.
    pub async fn attempt_in(&self, record: Record, cx: CallContext) -> (Record, Outcome) {
        let called = Arc::clone(&self.call).call(record, cx).await;
        (called.record, called.outcome)
    }

    /// Whether an attempt says that the server has answered.
    pub async fn answers(&self, record: Record) -> bool {
        let cx = CallContext::new(Arc::from("id"), 1);
        cx.answered(&Arc::clone(&self.call).call(record, cx.clone()).await.outcome)
    }

    /// The payload that goes on.
    pub async fn value(&self, json: &str) -> String {
        let (record, outcome) = self.attempt(self.decode(json), "id").await;
        assert!(matches!(outcome, Outcome::Forward), "{outcome:?}");
        text(&record)
    }

    /// The failure of an attempt.
    pub async fn failure(&self, json: &str) -> Failure {
        match self.attempt(self.decode(json), "id").await.1 {
            Outcome::Fail(failure) => *failure,
            other => panic!("did not fail: {other:?}"),
        }
    }
}

/// A payload as JSON.
pub fn text(record: &Record) -> String {
    let bytes = Codec::Json.encode(&record.payload, &Codec::Json).unwrap();
    bytes.map_or_else(|| "none".to_owned(), |b| String::from_utf8(b.to_vec()).unwrap())
}
