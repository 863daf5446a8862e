//! A bucket of an object store, by opendal.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use millstream_spec::model::{Access, Bucket as Spec, Service};
use opendal::layers::{RetryEvent, RetryLayer};
use opendal::options::{ListOptions, ReadOptions};
use opendal::{Error, ErrorKind, HttpTransporter, Lister, OperationContext, Operator, services};
use tokio::runtime::Handle;

use crate::decide::State;
use crate::store::{Found, ReadError, Store, StoreError};
use crate::transport::Http;

/// Objects of a page.
const PAGE: usize = 1_000;

/// A bucket.
pub struct Bucket {
    runtime: Handle,
    operator: Operator,
    base: String,
    /// In words, for messages.
    called: String,
    listing: Option<Lister>,
}

impl Bucket {
    /// Of what the pipeline says. Nothing is asked yet.
    ///
    /// # Errors
    /// What was said does not fit together, in words.
    pub fn new(spec: &Spec, runtime: Handle) -> Result<Self, String> {
        let http = Http::new().map_err(|e| format!("no root certificates: {e}"))?;
        let operator = operator(spec).map_err(|e| e.to_string())?;
        let context = OperationContext::new().with_http_transport(HttpTransporter::new(http));
        let retry = RetryLayer::new().with_max_times(3).with_min_delay(Duration::from_millis(100)).with_jitter();
        // What fails in the end is said; tries between are not worth a line.
        let retry = retry.with_notify(|_: RetryEvent<'_>| {});
        let scheme = match spec.service {
            Service::S3 => "s3",
            Service::Azblob => "azblob",
            Service::Gcs => "gs",
        };
        let base = match spec.prefix.as_str() {
            "" => format!("{scheme}://{}/", spec.name),
            prefix => format!("{scheme}://{}/{prefix}/", spec.name),
        };
        let called = match &spec.endpoint {
            Some(endpoint) => format!("`{base}` at {endpoint}"),
            None => format!("`{base}`"),
        };
        Ok(Self { runtime, operator: operator.with_context(context).layer(retry), base, called, listing: None })
    }

    fn error(&self, error: &Error) -> StoreError {
        of_bucket(&self.called, error)
    }
}

fn operator(spec: &Spec) -> opendal::Result<Operator> {
    let root = format!("/{}", spec.prefix);
    match spec.service {
        Service::S3 => {
            let mut s3 = services::S3::default().root(&root).bucket(&spec.name);
            if let Some(endpoint) = &spec.endpoint {
                s3 = s3.endpoint(endpoint);
            }
            let asked = ["AWS_REGION", "AWS_DEFAULT_REGION"].iter().find_map(|name| std::env::var(name).ok());
            s3 = s3.region(spec.region.as_deref().or(asked.as_deref()).unwrap_or("us-east-1"));
            s3 = match &spec.access {
                Access::Anonymous => s3.skip_signature().disable_config_load(),
                Access::Keys(key, secret, token) => {
                    let s3 = s3.access_key_id(key).secret_access_key(secret.reveal()).disable_config_load();
                    match token {
                        Some(token) => s3.session_token(token.reveal()),
                        None => s3,
                    }
                }
                _ => s3,
            };
            Operator::new(s3)
        }
        Service::Azblob => {
            let account = spec.account.as_deref().unwrap_or("");
            let endpoint = spec.endpoint.clone().unwrap_or_else(|| format!("https://{account}.blob.core.windows.net"));
            let mut azure = services::Azblob::default().root(&root).container(&spec.name).endpoint(&endpoint);
            if !account.is_empty() {
                azure = azure.account_name(account);
            }
            azure = match &spec.access {
                Access::Anonymous => azure.skip_signature(),
                Access::AccountKey(key) => azure.account_key(key.reveal()),
                Access::Sas(sas) => azure.sas_token(sas.reveal().trim_start_matches('?')),
                _ => azure,
            };
            Operator::new(azure)
        }
        Service::Gcs => {
            let mut gcs = services::Gcs::default().root(&root).bucket(&spec.name);
            if let Some(endpoint) = &spec.endpoint {
                gcs = gcs.endpoint(endpoint);
            }
            gcs = match &spec.access {
                Access::Anonymous => gcs.skip_signature().disable_vm_metadata().disable_config_load(),
                Access::Credential(json) => {
                    use base64::Engine as _;
                    let text = json.reveal().trim();
                    match text.starts_with('{') {
                        true => gcs.credential(&base64::engine::general_purpose::STANDARD.encode(text)),
                        false => gcs.credential(text),
                    }
                }
                _ => gcs,
            };
            Operator::new(gcs)
        }
    }
}

fn of_bucket(called: &str, error: &Error) -> StoreError {
    let why = error.message();
    match error.kind() {
        ErrorKind::PermissionDenied => {
            let message =
                format!("{called} refuses the credentials: {why}; mend `auth`, or the rights to list and read");
            StoreError::new("objects_denied", message)
        }
        ErrorKind::NotFound => {
            StoreError::new("objects_missing", format!("{called} does not exist; it is looked for again until it does"))
        }
        _ => {
            // What follows the first line is for those who work on the library.
            let text = error.to_string();
            let first: String = text.lines().next().unwrap_or_default().chars().take(400).collect();
            StoreError::new("objects_unreachable", format!("{called} cannot be listed: {first}"))
        }
    }
}

impl Store for Bucket {
    fn base(&self) -> &str {
        &self.base
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        let options = ListOptions { recursive: true, limit: Some(PAGE), ..ListOptions::default() };
        let lister = self.runtime.block_on(self.operator.lister_options("", options)).map_err(|e| self.error(&e))?;
        self.listing = Some(lister);
        Ok(())
    }

    fn page(&mut self) -> Result<Vec<Found>, StoreError> {
        let Some(lister) = self.listing.as_mut() else { return Ok(Vec::new()) };
        let page: Result<Vec<Found>, Error> = self.runtime.block_on(async {
            let mut page = Vec::new();
            while page.len() < PAGE {
                let Some(entry) = lister.next().await.transpose()? else { break };
                let meta = entry.metadata();
                // What ends with a slash stands for a folder and holds nothing.
                if !meta.is_file() || entry.path().ends_with('/') {
                    continue;
                }
                let modified = meta.last_modified().and_then(|at| i64::try_from(at.into_inner().as_nanosecond()).ok());
                let etag = meta.etag().unwrap_or("").to_owned();
                let state = State { size: meta.content_length(), modified, etag };
                page.push(Found { name: entry.path().as_bytes().to_vec(), state });
            }
            Ok(page)
        });
        page.map_err(|error| {
            self.listing = None;
            of_bucket(&self.called, &error)
        })
    }

    fn incomplete(&self) -> bool {
        false
    }

    fn there(&mut self, _: &[u8]) -> bool {
        // A listing has what was there all the time.
        false
    }

    fn read(&mut self, name: &[u8], state: &State) -> Result<Bytes, ReadError> {
        let Ok(path) = std::str::from_utf8(name) else { return Err(ReadError::Changed) };
        let if_match = Some(state.etag.clone()).filter(|etag| !etag.is_empty());
        let options = ReadOptions { if_match, ..ReadOptions::default() };
        match self.runtime.block_on(self.operator.read_options(path, options)) {
            Ok(bytes) if bytes.len() as u64 == state.size => Ok(bytes.to_bytes()),
            Ok(_) => Err(ReadError::Changed),
            Err(error) => Err(match error.kind() {
                ErrorKind::NotFound | ErrorKind::ConditionNotMatch => ReadError::Changed,
                ErrorKind::PermissionDenied => {
                    ReadError::Object(format!("{}{path} may not be read: {}", self.base, error.message()))
                }
                _ => ReadError::Store(self.error(&error)),
            }),
        }
    }
}
