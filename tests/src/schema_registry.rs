//! A schema registry for tests: the calls of Confluent's API that Millstream makes, and the faults that a test wants of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::http_server::{HttpServer, Received, Reply};

/// The registry; it ends when it is dropped.
pub struct SchemaRegistry {
    server: HttpServer,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// By number.
    schemas: BTreeMap<u32, Entry>,
    /// Numbers by subject, in the order of versions.
    subjects: BTreeMap<String, Vec<u32>>,
    fault: Option<Reply>,
    /// Why nothing is compatible with what is there.
    incompatible: Option<String>,
    authorization: Option<String>,
    /// Numbers that are answered so, with 404.
    forgotten: BTreeMap<u32, String>,
}

#[derive(Clone)]
struct Entry {
    schema: String,
    kind: String,
    references: Value,
}

impl SchemaRegistry {
    /// An empty one.
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        Self { server: HttpServer::start(move |request| answer(&shared, request)), state }
    }

    /// Its address, with a path before the API's.
    pub fn url(&self) -> String {
        self.server.url("/api")
    }

    /// Adds a version to a subject under the next number, which it returns.
    pub fn register(&self, subject: &str, schema: &str) -> u32 {
        let next = lock(&self.state).next();
        self.register_as(next, subject, schema, "AVRO", json!([]))
    }

    /// The same under a number, of a type, with references (`[{ name, subject, version }]`).
    pub fn register_as(&self, id: u32, subject: &str, schema: &str, kind: &str, references: Value) -> u32 {
        let mut state = lock(&self.state);
        let entry = Entry { schema: schema.to_owned(), kind: kind.to_owned(), references };
        state.schemas.insert(id, entry);
        state.subjects.entry(subject.to_owned()).or_default().push(id);
        id
    }

    /// From now on every call is answered so; `None` ends it.
    pub fn fail(&self, how: Option<Reply>) {
        lock(&self.state).fault = how;
    }

    /// From now on a number is said not to be there.
    pub fn forget(&self, id: u32, answer: &str) {
        lock(&self.state).forgotten.insert(id, answer.to_owned());
    }

    /// From now on no schema is compatible, for this reason.
    pub fn refuse(&self, why: &str) {
        lock(&self.state).incompatible = Some(why.to_owned());
    }

    /// From now on only this user is answered.
    pub fn only_for(&self, user: &str, password: &str) {
        lock(&self.state).authorization = Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))));
    }

    /// From now on only who has this token is answered.
    pub fn only_with(&self, token: &str) {
        lock(&self.state).authorization = Some(format!("Bearer {token}"));
    }

    /// Subjects and their numbers.
    pub fn subjects(&self) -> BTreeMap<String, Vec<u32>> {
        lock(&self.state).subjects.clone()
    }

    /// Calls so far whose method and path begin so.
    pub fn calls(&self, beginning: &str) -> usize {
        let all = self.server.received();
        all.iter().filter(|r| format!("{} {}", r.method, r.path).starts_with(beginning)).count()
    }
}

impl State {
    fn next(&self) -> u32 {
        self.schemas.keys().next_back().map_or(1, |last| last + 1)
    }

    fn version(&self, subject: &str, version: &str) -> Option<(u32, usize)> {
        let all = self.subjects.get(subject)?;
        let at = if version == "latest" { all.len() } else { version.parse().ok()? };
        Some((*all.get(at.checked_sub(1)?)?, at))
    }

    fn find(&self, subject: &str, schema: &str) -> Option<u32> {
        let same = |id: &&u32| self.schemas.get(id).is_some_and(|entry| alike(&entry.schema, schema));
        self.subjects.get(subject)?.iter().find(same).copied()
    }
}

/// Whatever their white space is.
fn alike(a: &str, b: &str) -> bool {
    let json = |text: &str| serde_json::from_str::<Value>(text).ok();
    // Those of Protobuf are no JSON.
    a == b || json(a).is_some() && json(a) == json(b)
}

fn answer(state: &Mutex<State>, request: &Received) -> Reply {
    let mut state = lock(state);
    if let Some(fault) = &state.fault {
        return fault.clone();
    }
    if let Some(wanted) = &state.authorization
        && request.header("authorization") != Some(wanted)
    {
        return fault(401, 40101, "Unauthorized");
    }
    let path = request.path.split('?').next().unwrap_or("");
    let Some(path) = path.strip_prefix("/api/") else { return Reply::status(404) };
    let parts: Vec<&str> = path.split('/').collect();
    let body: Value = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
    let schema = body["schema"].as_str().unwrap_or("");
    match (request.method.as_str(), parts.as_slice()) {
        ("GET", ["schemas", "ids", id]) if id.parse().is_ok_and(|id: u32| state.forgotten.contains_key(&id)) => {
            let answer = id.parse().ok().and_then(|id: u32| state.forgotten.get(&id).cloned()).unwrap_or_default();
            Reply::Answer(404, Vec::new(), answer.into_bytes())
        }
        ("GET", ["schemas", "ids", id]) => match id.parse().ok().and_then(|id: u32| state.schemas.get(&id)) {
            Some(entry) => ok(shown(entry, json!({}))),
            None => fault(404, 40403, "Schema not found"),
        },
        ("GET", ["subjects", subject, "versions", version]) => match state.version(subject, version) {
            Some((id, at)) => ok(shown(&state.schemas[&id], json!({ "subject": subject, "version": at, "id": id }))),
            None => fault(404, 40402, "Version not found"),
        },
        ("POST", ["subjects", subject]) => match (state.find(subject, schema), state.subjects.contains_key(*subject)) {
            (Some(id), _) => ok(json!({ "subject": subject, "id": id, "version": 1, "schema": schema })),
            (None, true) => fault(404, 40403, "Schema not found"),
            (None, false) => fault(404, 40401, "Subject not found"),
        },
        ("POST", ["subjects", subject, "versions"]) => {
            if let Some(id) = state.find(subject, schema) {
                return ok(json!({ "id": id }));
            }
            if let Some(why) = state.incompatible.clone().filter(|_| state.subjects.contains_key(*subject)) {
                return fault(409, 409, &why);
            }
            // One schema has one number, whatever its subject.
            let known = state.schemas.iter().find(|(_, entry)| alike(&entry.schema, schema)).map(|(id, _)| *id);
            let id = known.unwrap_or_else(|| state.next());
            let kind = body["schemaType"].as_str().unwrap_or("AVRO").to_owned();
            let entry = Entry { schema: schema.to_owned(), kind, references: json!([]) };
            state.schemas.insert(id, entry);
            state.subjects.entry((*subject).to_owned()).or_default().push(id);
            ok(json!({ "id": id }))
        }
        ("POST", ["compatibility", "subjects", subject, "versions", "latest"]) => {
            match (state.subjects.contains_key(*subject), &state.incompatible) {
                (false, _) => fault(404, 40401, "Subject not found"),
                (true, None) => ok(json!({ "is_compatible": true })),
                (true, Some(why)) => ok(json!({ "is_compatible": false, "messages": [why] })),
            }
        }
        _ => Reply::status(404),
    }
}

fn shown(entry: &Entry, mut with: Value) -> Value {
    with["schema"] = entry.schema.clone().into();
    // As the first registries answered: Avro goes without saying.
    if entry.kind != "AVRO" {
        with["schemaType"] = entry.kind.clone().into();
    }
    if entry.references.as_array().is_some_and(|all| !all.is_empty()) {
        with["references"] = entry.references.clone();
    }
    with
}

fn ok(value: Value) -> Reply {
    Reply::json(&value.to_string())
}

fn fault(status: u16, code: u32, message: &str) -> Reply {
    let body = json!({ "error_code": code, "message": message }).to_string();
    Reply::Answer(status, Vec::new(), body.into_bytes())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
