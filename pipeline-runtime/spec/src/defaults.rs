//! What a stage may set and `defaults` may set for all stages. A stage's own word wins, key by key.

use std::time::Duration;

use millstream_filter_api::{Issue, Node, NodeKind};

use crate::model::{Dedup, Order, ParkAfter, Retry, TopicSettings};
use crate::read;
use crate::units;

/// Partitions of a topic that Millstream makes.
pub const PARTITIONS: i32 = 12;

/// Options of a stage.
#[derive(Clone)]
pub(crate) struct Options {
    pub replicas: u32,
    /// One replica works in the whole cluster.
    pub singleton: bool,
    pub concurrency: u32,
    pub order: Order,
    pub timeout: Duration,
    pub retry: Retry,
    /// After a dead letter its key waits.
    pub hold_key: bool,
    /// A dead letter ends its job, and what the job has passed is compensated.
    pub ends_job: bool,
    /// Dedup is on unless switched off: repeats come from producers, and nobody notices them until it is too late. The
    /// window is a day; five million ids are about 60 a second and partition over it.
    pub dedup: Option<Dedup>,
    pub dead_letter_retention: Option<Duration>,
}

const DEDUP: Dedup = Dedup { window: Duration::from_secs(24 * 3600), max_ids: 5_000_000 };

const RETRY: Retry = Retry {
    attempts: 6,
    backoff_min: Duration::from_millis(200),
    backoff_max: Duration::from_secs(30),
    park_after: Some(PARK_AFTER),
    until: None,
};
/// Few enough that a key that is down is soon out of the way, many enough that a hiccup costs no copy.
const PARK_AFTER: ParkAfter = ParkAfter { attempts: 3, time: Duration::from_secs(5) };

impl Default for Options {
    fn default() -> Self {
        Self {
            replicas: 1,
            singleton: false,
            concurrency: 64,
            order: Order::Key,
            timeout: Duration::from_secs(30),
            retry: RETRY,
            hold_key: false,
            ends_job: false,
            dedup: Some(DEDUP),
            dead_letter_retention: None,
        }
    }
}

impl Options {
    /// These options with what `node` (a stage, or `defaults`) says.
    pub(crate) fn with(&self, node: &Node, issues: &mut Vec<Issue>) -> Self {
        let mut all = self.clone();
        set(&mut all.replicas, read::whole(node, "replicas"));
        if node.get("singleton").is_some_and(|n| n.kind == NodeKind::Bool(true)) {
            issues.extend(node.get("replicas").filter(|_| all.replicas > 1).map(one_replica));
            (all.singleton, all.replicas) = (true, 1);
        }
        set(&mut all.concurrency, read::whole(node, "concurrency"));
        set(&mut all.timeout, read::duration(node, "timeout"));
        set(&mut all.order, read::text(node, "order").and_then(order));
        if let Some(retry) = node.get("retry") {
            set(&mut all.retry.attempts, read::whole(retry, "attempts"));
            if let Some(backoff) = retry.get("backoff") {
                self::backoff(backoff, &mut all.retry, issues);
            }
            set(&mut all.retry.until, read::duration(retry, "until").map(Some));
            if let Some(park) = retry.get("park_after") {
                all.retry.park_after = Some(self::park_after(park, all.retry.park_after));
                if all.order == Order::Partition {
                    issues.push(nothing_to_park(park));
                }
            }
        }
        if let Some(word) = node.get("on_failure") {
            all.hold_key = word.as_text() == Some("hold_key");
            all.ends_job = word.as_text() == Some("compensate");
            if all.hold_key && all.order != Order::Key {
                issues.push(no_key_to_hold(word, all.order));
            }
        }
        if let Some(dedup) = node.get("dedup") {
            all.dedup = self::dedup(dedup, all.dedup);
        }
        if let Some(letters) = node.get("dead_letter") {
            set(&mut all.dead_letter_retention, retention(letters));
        }
        all
    }

    /// What transient failures get, given the order that is kept: a stage that keeps the order of its partitions parks
    /// nothing, whatever `defaults` say for the others.
    pub(crate) fn settled_retry(&self) -> Retry {
        let park_after = self.retry.park_after.filter(|_| self.order != Order::Partition);
        Retry { park_after, ..self.retry.clone() }
    }

    /// Whether a dead letter holds its key, given the order that is kept.
    pub(crate) fn settled_hold(&self) -> bool {
        self.hold_key && self.order == Order::Key
    }
}

fn one_replica(node: &Node) -> Issue {
    let message = "of a `singleton` one replica works in the whole cluster, and here more are asked for";
    let issue = Issue::error(node.span, "conflicting_keys", message);
    issue.help("leave `replicas` out: every process that runs the stage stands by for it")
}

fn no_key_to_hold(node: &Node, order: Order) -> Issue {
    let message = match order {
        Order::Partition => {
            "`hold_key` holds one key while others go on, and with `order: partition` nothing may go on before the record \
             that failed"
        }
        _ => {
            "`hold_key` keeps later records of a key behind the one that failed, and with `order: none` they are in no order"
        }
    };
    let issue = Issue::error(node.span, "conflicting_keys", message.to_owned());
    issue.help("write `on_failure: continue`, or keep the order of keys: `order: key`")
}

fn park_after(node: &Node, base: Option<ParkAfter>) -> ParkAfter {
    let base = base.unwrap_or(PARK_AFTER);
    ParkAfter {
        attempts: read::whole(node, "attempts").unwrap_or(base.attempts),
        time: read::duration(node, "time").unwrap_or(base.time),
    }
}

fn nothing_to_park(node: &Node) -> Issue {
    let message = "`park_after` sets one key aside while others go on, and with `order: partition` nothing may go on \
                   before the record that fails";
    let issue = Issue::error(node.span, "conflicting_keys", message.to_owned());
    issue.help("leave it out, or keep the order of keys: `order: key`")
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn order(word: &str) -> Option<Order> {
    match word {
        "key" => Some(Order::Key),
        "partition" => Some(Order::Partition),
        "none" => Some(Order::None),
        _ => None,
    }
}

fn backoff(node: &Node, retry: &mut Retry, issues: &mut Vec<Issue>) {
    let Some(text) = node.as_text() else { return };
    if let Some((min, max)) = units::duration_range(text) {
        (retry.backoff_min, retry.backoff_max) = (min, max);
    } else if let Some((min, max)) = text.split_once("..")
        && units::duration(min).is_some()
        && units::duration(max).is_some()
    {
        let issue = Issue::error(node.span, "bad_duration", format!("the range `{text}` ends before it begins"));
        issues.push(issue.help(format!("did you mean `{max}..{min}`?")));
    }
}

fn dedup(node: &Node, base: Option<Dedup>) -> Option<Dedup> {
    let on = base.unwrap_or(DEDUP);
    match (&node.kind, node.as_text()) {
        (NodeKind::Bool(false), _) | (_, Some("off")) => None,
        (NodeKind::Map(_), _) => Some(Dedup {
            window: read::duration(node, "window").unwrap_or(on.window),
            max_ids: read::whole(node, "max_ids").unwrap_or(on.max_ids),
        }),
        _ => Some(on),
    }
}

/// `retention:` of a map: `Some(None)` is `forever`, `None` says nothing.
pub(crate) fn retention(node: &Node) -> Option<Option<Duration>> {
    match read::text(node, "retention")? {
        "forever" => Some(None),
        text => units::duration(text).map(Some),
    }
}

/// Topic settings with what `node` (`defaults.topics`, or `to:`) says.
pub(crate) fn topics(base: &TopicSettings, node: Option<&Node>) -> TopicSettings {
    let mut all = base.clone();
    let Some(node) = node else { return all };
    if let Some(partitions) = read::whole(node, "partitions") {
        (all.partitions, all.partitions_said) = (partitions, true);
    }
    set(&mut all.retention, retention(node));
    set(&mut all.replication, read::whole(node, "replication").map(Some));
    set(&mut all.max_record_bytes, read::text(node, "max_record").and_then(units::size).map(Some));
    all
}

/// What a topic is made with when nothing is said.
pub(crate) const TOPIC_SETTINGS: TopicSettings = TopicSettings {
    partitions: PARTITIONS,
    partitions_said: false,
    retention: None,
    replication: None,
    max_record_bytes: None,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree;

    fn options(yaml: &str) -> (Options, Vec<Issue>) {
        let (node, issues) = tree::parse(yaml.as_bytes());
        assert_eq!(issues, []);
        let mut issues = Vec::new();
        let all = Options::default().with(&node.unwrap(), &mut issues);
        (all, issues)
    }

    #[test]
    fn a_stage_wins_key_by_key() {
        let (base, _) = options("replicas: 2\nretry: { attempts: 3 }\ndedup: { window: 1h }");
        let (node, _) =
            tree::parse(b"retry: { backoff: 1s..2s }\ndedup: { max_ids: 7 }\ndead_letter: { retention: 30d }");
        let all = base.with(&node.unwrap(), &mut Vec::new());
        assert_eq!((all.replicas, all.concurrency, all.retry.attempts), (2, 64, 3));
        assert_eq!(all.retry.backoff_max, Duration::from_secs(2));
        assert_eq!(all.dedup, Some(Dedup { window: Duration::from_secs(3600), max_ids: 7 }));
        assert_eq!(all.dead_letter_retention, Some(Duration::from_secs(30 * 86_400)));
    }

    #[test]
    fn dedup_can_be_switched() {
        for off in ["off", "false", "'off'"] {
            assert_eq!(options(&format!("dedup: {off}")).0.dedup, None, "{off}");
        }
        for on in ["on", "true", "{}"] {
            assert_eq!(options(&format!("dedup: {on}")).0.dedup, Some(DEDUP), "{on}");
        }
    }

    #[test]
    fn when_a_key_is_parked_is_said_key_by_key() {
        let park = |o: &Options| o.settled_retry().park_after.map(|p| (p.attempts, p.time.as_millis()));
        let (base, issues) = options("retry: { park_after: { attempts: 2 }, until: 2h }");
        assert_eq!(
            (park(&base), base.retry.until, issues),
            (Some((2, 5_000)), Some(Duration::from_secs(7_200)), vec![])
        );
        let (node, _) = tree::parse(b"retry: { park_after: { time: 100ms } }");
        assert_eq!(park(&base.with(&node.unwrap(), &mut Vec::new())), Some((2, 100)));
        // What holds for all stages is no error for one that cannot have it.
        let (node, _) = tree::parse(b"order: partition");
        let mut issues = Vec::new();
        let one = base.with(&node.unwrap(), &mut issues);
        assert_eq!((park(&one), one.retry.until.is_some(), issues), (None, true, vec![]));
        let (_, issues) = options("order: partition\nretry: { park_after: { attempts: 2 } }");
        assert_eq!((issues.len(), issues[0].code), (1, "conflicting_keys"));
    }

    #[test]
    fn a_key_is_held_where_keys_are_in_order() {
        let held = |yaml| {
            let (all, issues) = options(yaml);
            (all.settled_hold(), issues.iter().map(|i| i.code).collect::<Vec<_>>())
        };
        assert_eq!(held("on_failure: hold_key"), (true, vec![]));
        assert_eq!(held("on_failure: continue"), (false, vec![]));
        assert_eq!(held("on_failure: hold_key\norder: none"), (false, vec!["conflicting_keys"]));
        assert_eq!(held("on_failure: hold_key\norder: partition"), (false, vec!["conflicting_keys"]));
        // What holds for all stages is no error for one that cannot have it.
        let (base, _) = options("on_failure: hold_key");
        let (node, _) = tree::parse(b"order: none");
        let mut issues = Vec::new();
        assert!(!base.with(&node.unwrap(), &mut issues).settled_hold() && issues.is_empty());
        let (node, _) = tree::parse(b"on_failure: continue");
        assert!(!base.with(&node.unwrap(), &mut issues).settled_hold());
    }

    #[test]
    fn a_range_goes_upwards() {
        let (_, issues) = options("retry: { backoff: 30s..200ms }");
        assert_eq!(issues[0].help.as_deref(), Some("did you mean `200ms..30s`?"));
    }
}
