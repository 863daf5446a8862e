//! The calls of the API that are used, one attempt each.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Uri};
use millstream_codec::{Answer, AvroSchema, Known, ProtobufFiles, RegistryAddress, RegistryAuth, Subject};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use crate::http::call::chain;
use crate::http::client::Client;
use crate::http::resolver::Reach;
use crate::secrets::Secrets;

/// Of one call, connection and answer.
const TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(5);
/// Bytes of an answer at most.
const MAX_ANSWER: usize = 4 << 20;
/// Schemas that one refers to, and those refer to, at most.
const MAX_REFERENCES: usize = 100;
const JSON: &str = "application/vnd.schemaregistry.v1+json";

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The registry has no such thing.
    Absent(String),
    /// It is no use to ask again.
    Refused(String),
    /// It may be another time.
    Passing(String),
}

/// One registry's API.
pub(super) struct Api {
    base: Url,
    address: String,
    ca: Option<Bytes>,
    authorization: Option<HeaderValue>,
    secrets: Secrets,
    client: OnceLock<io::Result<Client>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Registered {
    schema: Option<String>,
    id: Option<i64>,
    schema_type: Option<String>,
    #[serde(default)]
    references: Vec<Reference>,
}

#[derive(Deserialize, Clone)]
struct Reference {
    /// What Protobuf imports it as.
    #[serde(default)]
    name: String,
    subject: String,
    version: i64,
}

#[derive(Deserialize)]
struct Compatible {
    is_compatible: bool,
    #[serde(default)]
    messages: Vec<String>,
}

#[derive(Deserialize)]
struct Fault {
    error_code: Option<i64>,
    message: Option<String>,
}

impl Api {
    pub(super) fn new(address: &RegistryAddress) -> Result<Self, String> {
        let base = Url::parse(&address.url).map_err(|e| format!("`{}` is no address: {e}", address.url))?;
        let mut secrets = Secrets::default();
        let authorization = match &address.auth {
            RegistryAuth::None => None,
            RegistryAuth::Basic { user, password } => {
                secrets.keep(password);
                let both = STANDARD.encode(format!("{user}:{password}"));
                secrets.keep(&both);
                Some(format!("Basic {both}"))
            }
            RegistryAuth::Bearer(token) => {
                secrets.keep(token);
                Some(format!("Bearer {token}"))
            }
        };
        let header = |text: String| HeaderValue::from_str(&text).map_err(|_| "a secret with a line break".to_owned());
        let authorization = authorization.map(header).transpose()?;
        let shown = base.as_str().trim_end_matches('/').to_owned();
        let api =
            Self { base, address: shown, ca: address.ca.clone(), authorization, secrets, client: OnceLock::new() };
        if let (Some(_), Err(e)) = (&api.ca, api.client()) {
            return Err(format!("the certificates of `ca`: {e}"));
        }
        Ok(api)
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The schema of a number, with those it refers to.
    pub(super) async fn schema(&self, id: u32) -> Result<Known, Trouble> {
        let found = self.call(Method::GET, &["schemas", "ids", &id.to_string()], None).await?;
        self.whole(self.read(&found)?).await
    }

    /// The latest version of a subject.
    pub(super) async fn latest(&self, subject: &str) -> Result<Answer, Trouble> {
        let found = self.call(Method::GET, &["subjects", subject, "versions", "latest"], None).await?;
        let found: Registered = self.read(&found)?;
        let number = number(found.id)?;
        match self.whole(found).await? {
            Known::Schema(schema) => Ok(Answer::Schema(number, schema)),
            Known::Protobuf(files) => Ok(Answer::Protobuf(number, files)),
            Known::Nothing | Known::Unusable(_) => Ok(Answer::Nothing),
        }
    }

    /// The number of a schema in its subject.
    pub(super) async fn lookup(&self, subject: &Subject) -> Result<u32, Trouble> {
        let found = self.call(Method::POST, &["subjects", &subject.name], Some(subject)).await?;
        number(self.read::<Registered>(&found)?.id)
    }

    /// Makes a schema the next version of its subject.
    pub(super) async fn register(&self, subject: &Subject) -> Result<u32, Trouble> {
        let path = ["subjects", &subject.name, "versions"];
        let found = self.call(Method::POST, &path, Some(subject)).await?;
        number(self.read::<Registered>(&found)?.id)
    }

    /// Whether a schema may be the next version of its subject.
    pub(super) async fn compatible(&self, subject: &Subject) -> Result<Result<(), String>, Trouble> {
        let path = ["compatibility", "subjects", &subject.name, "versions", "latest"];
        let found: Compatible = self.read(&self.call(Method::POST, &path, Some(subject)).await?)?;
        Ok(if found.is_compatible { Ok(()) } else { Err(found.messages.join("; ")) })
    }

    /// Compiles a schema with all that it refers to.
    async fn whole(&self, found: Registered) -> Result<Known, Trouble> {
        let protobuf = found.schema_type.as_deref() == Some("PROTOBUF");
        let text = text_of(&found, protobuf)?;
        let mut texts = Vec::new();
        let mut seen = HashSet::new();
        // Those that one refers to come before it; `None` puts the one in whose turn it was.
        let mut open: Vec<(Reference, Option<String>)> =
            found.references.iter().rev().map(|reference| (reference.clone(), None)).collect();
        while let Some((reference, read)) = open.pop() {
            if let Some(text) = read {
                texts.push((reference.name, text));
                continue;
            }
            if !seen.insert((reference.subject.clone(), reference.version)) {
                continue;
            }
            if seen.len() > MAX_REFERENCES {
                return Err(Trouble::Refused(format!("it refers to more than {MAX_REFERENCES} schemas")));
            }
            let path = ["subjects", &reference.subject, "versions", &reference.version.to_string()];
            let found = self.call(Method::GET, &path, None).await.map_err(|trouble| match trouble {
                Trouble::Absent(why) => Trouble::Refused(format!(
                    "it refers to version {} of `{}`: {why}",
                    reference.version, reference.subject
                )),
                other => other,
            })?;
            let found: Registered = self.read(&found)?;
            let text = text_of(&found, protobuf)?;
            open.push((reference, Some(text)));
            open.extend(found.references.iter().rev().map(|reference| (reference.clone(), None)));
        }
        let refused = |why| Trouble::Refused(format!("it cannot be read: {why}"));
        if protobuf {
            let texts: HashMap<String, String> = texts.into_iter().collect();
            let files = ProtobufFiles::compile("schema.proto", &text, &mut |name| texts.get(name).cloned().map(Ok));
            return files.map(Known::Protobuf).map_err(refused);
        }
        let texts: Vec<String> = texts.into_iter().map(|(_, text)| text).collect();
        AvroSchema::registered(&text, &texts).map(Known::Schema).map_err(refused)
    }

    fn client(&self) -> Result<&Client, String> {
        let made = self.client.get_or_init(|| match &self.ca {
            Some(pem) => Client::trusting(pem, CONNECT, Reach::Anything),
            None => Client::new(self.base.scheme() == "https", CONNECT, Reach::Anything),
        });
        made.as_ref().map_err(ToString::to_string)
    }

    /// One call; the body of an answer of success.
    async fn call(&self, method: Method, path: &[&str], subject: Option<&Subject>) -> Result<Bytes, Trouble> {
        let passing = |what: String| Trouble::Passing(self.secrets.mask(what));
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let uri: Uri = url.as_str().parse().map_err(|e| passing(format!("`{url}`: {e}")))?;
        let body = subject.map_or_else(Bytes::new, |subject| {
            let mut body = json!({ "schema": subject.schema });
            // Avro goes without saying.
            if subject.protobuf {
                body["schemaType"] = "PROTOBUF".into();
            }
            body.to_string().into()
        });
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/vnd.schemaregistry.v1+json, application/json"));
        if subject.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        }
        headers.extend(self.authorization.clone().map(|value| (AUTHORIZATION, value)));
        let exchange = async {
            let client = self.client().map_err(passing)?;
            let response = client.send(request).await.map_err(|e| passing(chain(&e)))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            Ok((status, body.map_err(|e| passing(chain(&*e)))?.to_bytes()))
        };
        let answered = tokio::time::timeout(TIMEOUT, exchange).await;
        let (status, body) = answered.map_err(|_| passing(format!("no answer within {} s", TIMEOUT.as_secs())))??;
        if status.is_success() {
            return Ok(body);
        }
        let fault = serde_json::from_slice::<Fault>(&body).unwrap_or(Fault { error_code: None, message: None });
        let said = match fault.message {
            Some(message) => message.chars().take(500).collect::<String>(),
            None => String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned(),
        };
        let said = self.secrets.mask(format!("{}: {said}", fault.error_code.unwrap_or(status.as_u16().into())));
        Err(match (status.as_u16(), fault.error_code) {
            // No subject, no version, no schema. Another 404 is that of a server which is no registry, or not yet.
            (404, Some(40401..=40403)) => Trouble::Absent(said),
            (409 | 422, _) => Trouble::Refused(format!("the registry at {} refuses the schema: {said}", self.address)),
            _ => Trouble::Passing(said),
        })
    }

    fn read<T: for<'d> Deserialize<'d>>(&self, body: &Bytes) -> Result<T, Trouble> {
        serde_json::from_slice(body).map_err(|e| Trouble::Passing(format!("an answer that is not understood: {e}")))
    }
}

fn number(id: Option<i64>) -> Result<u32, Trouble> {
    let id = id.and_then(|id| u32::try_from(id).ok());
    id.ok_or_else(|| Trouble::Passing("an answer without a number".to_owned()))
}

fn text_of(found: &Registered, protobuf: bool) -> Result<String, Trouble> {
    let wanted = if protobuf { "PROTOBUF" } else { "AVRO" };
    match (&found.schema, found.schema_type.as_deref().unwrap_or("AVRO")) {
        (Some(schema), kind) if kind == wanted => Ok(schema.clone()),
        (_, kind) if kind != wanted => Err(Trouble::Refused(format!("it is of type {kind}, not {wanted}"))),
        _ => Err(Trouble::Passing("an answer without a schema".to_owned())),
    }
}
