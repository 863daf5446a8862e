//! What tells others of jobs: signed webhooks, to addresses that the jobs name and a list allows.
//!
//! It is no filter that a pipeline names. `jobs: { callback }` makes a stage with it, whose records have the address in a
//! header. `targets.rs` decides which addresses may be called, `sign.rs` signs, `call.rs` is one attempt.

mod call;
mod sign;
mod targets;

use std::sync::Arc;
use std::time::Duration;

use millstream_filter_api::{Built, Checked, Issue, Kind, Node, Outputs, Reads, units};

use call::{Plan, Webhook};
use sign::Keys;
use targets::Pattern;

/// Says of an address why it may not be called.
pub type Judge = Arc<dyn Fn(&str) -> Result<(), &'static str> + Send + Sync>;

/// For a whole call; receivers are expected to take the body and work on it later.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Checks what stands under `callback`: the filter that calls, and who says which addresses may be named.
///
/// # Errors
/// Everything that is wrong with `allow` and `secret`, at its place.
pub fn callbacks(with: &Node) -> Result<(Checked, Judge), Vec<Issue>> {
    let mut issues = Vec::new();
    let mut patterns = Vec::new();
    for node in with.get("allow").and_then(Node::as_list).unwrap_or(&[]) {
        match node.as_text().map(Pattern::read) {
            Some(Ok(pattern)) => patterns.push(pattern),
            Some(Err(why)) => {
                let issue = Issue::error(node.span, "bad_callback_target", format!("this pattern {why}"));
                issues.push(issue.help("such as `https://*.example.com/` or `http://127.0.0.1:8080/hooks/`"));
            }
            None => {}
        }
    }
    let secret = with.get("secret");
    let keys = secret.and_then(Node::as_text).map_or(Err("there is no secret"), Keys::read).map_err(|why| {
        let span = secret.map_or(with.span, |secret| secret.span);
        issues
            .push(Issue::error(span, "bad_secret", why).help("such as `${env:HOOK_SECRET}` with `whsec_` and base64"));
    });
    let timeout = with.get("timeout").and_then(Node::as_text).and_then(units::duration).unwrap_or(TIMEOUT);
    let (Ok(keys), true) = (keys, issues.is_empty()) else { return Err(issues) };
    let patterns: Arc<[Pattern]> = patterns.into();
    let judged = Arc::clone(&patterns);
    let plan = Arc::new(Plan::new(patterns, keys, timeout));
    let checked = Checked {
        outputs: Outputs::Single,
        types: vec![Kind::any()],
        effects: true,
        reads: Reads::Everything,
        warnings: Vec::new(),
        build: Arc::new(move || Built::Call(Arc::new(Webhook::new(Arc::clone(&plan))))),
        long: None,
    };
    Ok((checked, Arc::new(move |url| targets::allowed(&judged, url).map(drop))))
}
