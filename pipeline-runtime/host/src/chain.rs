//! The filters of a stage, run one after the other on one record.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use millstream_filter_api::{Built, Call, CallContext, Called, Class, Compute, Failure, Outcome, Record};
use smallvec::{SmallVec, smallvec};

use crate::ids;
use crate::plan::FilterPlan;

/// What became of a record in the whole chain.
#[expect(clippy::large_enum_variant, reason = "the large one is the common one; a box would be an allocation a record")]
pub enum Ended {
    /// These go on: (index of the stage's output, record), in order.
    Forwarded(SmallVec<[(u16, Record); 1]>),
    /// It ended on purpose.
    Dropped(&'static str),
    /// The filter of this index could not process it.
    Failed(usize, Box<Failure>),
}

/// What became of a record in a chain that calls out.
pub struct Ran {
    /// Its end.
    pub ended: Ended,
    /// Whether one of its calls was made and answered, well or badly.
    pub answered: bool,
}

/// A chain that only computes. One per replica; runs on the replica's thread.
pub struct ComputeChain {
    links: Vec<(Box<dyn Compute>, FilterPlanRef)>,
}

type FilterPlanRef = Arc<dyn Fn() -> Built + Send + Sync>;

impl ComputeChain {
    /// Builds one instance of each filter. `None` when one of them calls out.
    pub fn build(filters: &[FilterPlan]) -> Option<Self> {
        let links = filters.iter().map(|f| Some((compute(&f.build)?, Arc::clone(&f.build)))).collect::<Option<_>>()?;
        Some(Self { links })
    }

    /// Runs the chain on a record.
    pub fn run(&mut self, record: Record) -> Ended {
        match self.run_straight(record) {
            Straight::Ended(ended) => ended,
            Straight::Fanned(at, records) => self.run_fanned(at, records),
        }
    }

    /// The way without fan-out: one record in place, no list of work.
    fn run_straight(&mut self, mut record: Record) -> Straight {
        let mut output = 0;
        for at in 0..self.links.len() {
            match self.apply(at, &mut record) {
                Outcome::Forward => {}
                Outcome::ForwardTo(index) => output = index,
                Outcome::Emit(emissions) => {
                    return Straight::Fanned(at + 1, emissions.into_iter().map(|e| (e.output, e.record)).collect());
                }
                Outcome::Drop(reason) => return Straight::Ended(Ended::Dropped(reason)),
                Outcome::Fail(failure) => return Straight::Ended(Ended::Failed(at, failure)),
            }
        }
        Straight::Ended(Ended::Forwarded(smallvec![(output, record)]))
    }

    /// One record became several: each goes through the rest of the chain. If one fails, the whole input fails: its
    /// outputs appear together or not at all.
    fn run_fanned(&mut self, start: usize, records: Vec<(u16, Record)>) -> Ended {
        let mut done = SmallVec::new();
        let mut dropped = None;
        let fanned_to_nothing = records.is_empty();
        let mut work: Vec<(usize, u16, Record)> = records.into_iter().rev().map(|(o, r)| (start, o, r)).collect();
        while let Some((at, output, mut record)) = work.pop() {
            if at == self.links.len() {
                done.push((output, record));
                continue;
            }
            match self.apply(at, &mut record) {
                Outcome::Forward => work.push((at + 1, output, record)),
                Outcome::ForwardTo(index) => work.push((at + 1, index, record)),
                Outcome::Emit(all) => work.extend(all.into_iter().rev().map(|e| (at + 1, e.output, e.record))),
                Outcome::Drop(reason) => dropped = Some(reason),
                Outcome::Fail(failure) => return Ended::Failed(at, failure),
            }
        }
        match dropped {
            Some(reason) if done.is_empty() && !fanned_to_nothing => Ended::Dropped(reason),
            _ => Ended::Forwarded(done),
        }
    }

    /// One filter on one record. A panic is the filter's failure; its instance may be broken and is built anew.
    fn apply(&mut self, at: usize, record: &mut Record) -> Outcome {
        let (filter, build) = &mut self.links[at];
        match catch_unwind(AssertUnwindSafe(|| filter.apply(record))) {
            Ok(outcome) => outcome,
            Err(panic) => {
                if let Some(fresh) = compute(build) {
                    *filter = fresh;
                }
                Outcome::Fail(Box::new(panicked(&*panic)))
            }
        }
    }
}

#[expect(clippy::large_enum_variant, reason = "the large one is the common one; a box would be an allocation a record")]
enum Straight {
    Ended(Ended),
    Fanned(usize, Vec<(u16, Record)>),
}

fn compute(build: &FilterPlanRef) -> Option<Box<dyn Compute>> {
    match build() {
        Built::Compute(filter) => Some(filter),
        Built::Call(_) => None,
    }
}

/// A chain in which at least one filter calls out. Shared by the calls in flight of one replica.
pub struct CallChain {
    links: Vec<Link>,
}

/// A record on its way through the chain.
struct Step {
    /// The next filter.
    at: usize,
    output: u16,
    /// Filters that call out, passed so far.
    calls: u32,
    /// Which element it is, of the fan-outs it came through; 0 where there was none.
    lineage: u128,
    record: Record,
}

impl Step {
    /// The id of the next call. The first call of a record that is still itself has the record's own; any other is
    /// another call to the outside, which must not be taken for a repeat of it.
    fn call_id(&self, cx: &CallContext) -> Arc<str> {
        if self.calls == 0 && self.lineage == 0 {
            return Arc::clone(&cx.call_id);
        }
        let (calls, lineage) = (self.calls.to_be_bytes(), self.lineage.to_be_bytes());
        let hash = ids::hash128(&[b"call-part", cx.call_id.as_bytes(), &calls, &lineage]);
        Arc::from(format!("{hash:032x}"))
    }
}

enum Link {
    /// Locked for one `apply` at a time, never across an await.
    Compute(Mutex<Box<dyn Compute>>, FilterPlanRef),
    Call(Arc<dyn Call>),
}

impl CallChain {
    /// Builds one instance of each filter.
    pub fn build(filters: &[FilterPlan]) -> Self {
        let links = filters
            .iter()
            .map(|f| match (f.build)() {
                Built::Compute(filter) => Link::Compute(Mutex::new(filter), Arc::clone(&f.build)),
                Built::Call(call) => Link::Call(call),
            })
            .collect();
        Self { links }
    }

    /// Runs the chain on a record.
    pub async fn run(&self, record: Record, cx: CallContext) -> Ran {
        let mut done = SmallVec::new();
        let (mut dropped, mut answered) = (None, false);
        let mut work = vec![Step { at: 0, output: 0, calls: 0, lineage: 0, record }];
        while let Some(mut step) = work.pop() {
            let Some(link) = self.links.get(step.at) else {
                done.push((step.output, step.record));
                continue;
            };
            let attempt = cx.of_part(step.call_id(&cx));
            let Called { record, outcome } = link.apply(step.record, &attempt).await;
            if matches!(link, Link::Call(_)) {
                step.calls += 1;
                answered |= attempt.answered(&outcome);
            }
            let Step { at, output, calls, lineage, .. } = step;
            let next = |output, lineage, record| Step { at: at + 1, output, calls, lineage, record };
            match outcome {
                Outcome::Forward => work.push(next(output, lineage, record)),
                Outcome::ForwardTo(index) => work.push(next(index, lineage, record)),
                Outcome::Emit(all) => {
                    let element =
                        |i: usize| ids::hash128(&[b"element", &lineage.to_be_bytes(), &(i as u64).to_be_bytes()]);
                    let all = all.into_iter().enumerate().rev();
                    work.extend(all.map(|(i, e)| next(e.output, element(i), e.record)));
                }
                Outcome::Drop(reason) => dropped = Some(reason),
                Outcome::Fail(failure) => return Ran { ended: Ended::Failed(at, failure), answered },
            }
        }
        let ended = match dropped {
            Some(reason) if done.is_empty() => Ended::Dropped(reason),
            _ => Ended::Forwarded(done),
        };
        Ran { ended, answered }
    }
}

impl Link {
    async fn apply(&self, mut record: Record, cx: &CallContext) -> Called {
        match self {
            Self::Compute(filter, build) => {
                let mut filter = filter.lock().unwrap_or_else(PoisonError::into_inner);
                let outcome = catch_unwind(AssertUnwindSafe(|| filter.apply(&mut record))).unwrap_or_else(|panic| {
                    if let Some(fresh) = compute(build) {
                        *filter = fresh;
                    }
                    Outcome::Fail(Box::new(panicked(&*panic)))
                });
                Called { record, outcome }
            }
            Self::Call(call) => {
                let call = Arc::clone(call);
                let cx = cx.clone();
                let future = async move { call.call(record, cx).await };
                match AssertUnwindSafe(future).catch_unwind().await {
                    Ok(called) => called,
                    Err(panic) => {
                        Called { record: Record::default(), outcome: Outcome::Fail(Box::new(panicked(&*panic))) }
                    }
                }
            }
        }
    }
}

/// The failure of a filter that panicked.
fn panicked(panic: &(dyn std::any::Any + Send)) -> Failure {
    let words = panic
        .downcast_ref::<&str>()
        .map(|s| (*s).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    Failure::new(Class::Bug, "filter_panicked", format!("the filter panicked: {words}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_filter_api::{Emission, Value};

    /// What a test filter does with a payload that is an integer.
    struct Table(fn(i64) -> Outcome);

    impl Compute for Table {
        fn apply(&mut self, record: &mut Record) -> Outcome {
            match record.payload.value() {
                Some(Value::Integer(n)) => (self.0)(*n),
                _ => Outcome::Forward,
            }
        }
    }

    fn chain(filters: &'static [fn(i64) -> Outcome]) -> ComputeChain {
        let plans: Vec<FilterPlan> = filters
            .iter()
            .map(|f| FilterPlan {
                name: "table".to_owned(),
                build: Arc::new(move || Built::Compute(Box::new(Table(*f)))),
            })
            .collect();
        ComputeChain::build(&plans).expect("all compute")
    }

    fn number(n: i64) -> Record {
        Record::from(Value::Integer(n))
    }

    fn two(n: i64) -> Outcome {
        Outcome::Emit(vec![Emission { output: 0, record: number(n) }, Emission { output: 0, record: number(n + 1) }])
    }

    fn odd(n: i64) -> Outcome {
        if n % 2 == 1 { Outcome::Forward } else { Outcome::Drop("even") }
    }

    fn panics_at_three(n: i64) -> Outcome {
        assert_ne!(n, 3, "three");
        Outcome::Forward
    }

    fn values(ended: Ended) -> Vec<Value> {
        match ended {
            Ended::Forwarded(all) => all.into_iter().filter_map(|(_, r)| r.payload.value().cloned()).collect(),
            Ended::Dropped(reason) => vec![Value::from(reason)],
            Ended::Failed(at, failure) => vec![Value::from(format!("{at} {}", failure.code))],
        }
    }

    #[test]
    fn elements_keep_their_order_and_some_may_be_dropped() {
        let mut chain = chain(&[two, two, odd]);
        assert_eq!(values(chain.run(number(1))), [1, 3].map(Value::Integer));
    }

    #[test]
    fn when_all_elements_are_dropped_so_is_the_record_but_not_when_there_were_none() {
        assert_eq!(values(chain(&[two, |_| Outcome::Drop("all")]).run(number(1))), [Value::from("all")]);
        assert!(values(chain(&[|_| Outcome::Emit(vec![]), odd]).run(number(1))).is_empty());
    }

    #[test]
    fn a_panic_is_a_failure_of_class_bug_and_the_chain_goes_on() {
        let mut chain = chain(&[odd, panics_at_three]);
        assert_eq!(values(chain.run(number(3))), [Value::from("1 filter_panicked")]);
        assert_eq!(values(chain.run(number(5))), [Value::Integer(5)]);
    }

    /// Notes the id of each call.
    struct Notes(Arc<Mutex<Vec<String>>>);

    impl Call for Notes {
        fn call(self: Arc<Self>, record: Record, cx: CallContext) -> millstream_filter_api::CallFuture {
            self.0.lock().unwrap().push(cx.call_id.to_string());
            Box::pin(async move { Called { record, outcome: Outcome::Forward } })
        }
    }

    type Computing = fn(i64) -> Outcome;

    /// `None` is a filter that calls.
    fn call_ids(filters: &[Option<Computing>]) -> Vec<String> {
        let notes = Arc::new(Mutex::new(Vec::new()));
        let plan = |filter: &Option<Computing>| {
            let (filter, notes) = (*filter, Arc::clone(&notes));
            let build = move || match filter {
                Some(f) => Built::Compute(Box::new(Table(f))),
                None => Built::Call(Arc::new(Notes(Arc::clone(&notes)))),
            };
            FilterPlan { name: "f".to_owned(), build: Arc::new(build) }
        };
        let chain = CallChain::build(&filters.iter().map(plan).collect::<Vec<_>>());
        let cx = || CallContext::new(Arc::from("the record's"), 1);
        futures::executor::block_on(chain.run(number(1), cx()));
        let first = std::mem::take(&mut *notes.lock().unwrap());
        futures::executor::block_on(chain.run(number(1), cx()));
        assert_eq!(first, *notes.lock().unwrap(), "equal on every attempt");
        first
    }

    /// Seen red with the record's own id given to every call: the second call of a stage, and each element, would be
    /// taken for a repeat.
    #[test]
    fn every_call_of_a_record_has_an_id_of_its_own() {
        let forward: fn(i64) -> Outcome = |_| Outcome::Forward;
        assert_eq!(call_ids(&[Some(forward), None]), ["the record's"]);
        let ids = call_ids(&[None, Some(two), None, Some(two), None]);
        assert_eq!((ids.len(), &*ids[0]), (7, "the record's"));
        assert_eq!(ids.iter().collect::<std::collections::HashSet<_>>().len(), 7, "{ids:?}");
    }

    /// A call that ends as its table says; `None`: it does without.
    struct Ends(fn() -> Option<Outcome>);

    impl Call for Ends {
        fn call(self: Arc<Self>, record: Record, cx: CallContext) -> millstream_filter_api::CallFuture {
            let outcome = (self.0)().unwrap_or_else(|| {
                cx.no_call();
                Outcome::Forward
            });
            Box::pin(async move { Called { record, outcome } })
        }
    }

    fn answers(before: Computing, end: fn() -> Option<Outcome>) -> bool {
        let compute: FilterPlanRef = Arc::new(move || Built::Compute(Box::new(Table(before))));
        let call: FilterPlanRef = Arc::new(move || Built::Call(Arc::new(Ends(end))));
        let plan = |build| FilterPlan { name: "f".to_owned(), build };
        let chain = CallChain::build(&[plan(compute), plan(call)]);
        let cx = CallContext::new(Arc::from("id"), 1);
        futures::executor::block_on(chain.run(number(1), cx)).answered
    }

    /// Seen red with every end taken for an answer: a record that never got as far as the call closed the breaker.
    #[test]
    fn only_a_call_that_was_answered_says_so() {
        fn fails(class: Class) -> Option<Outcome> {
            Some(Outcome::Fail(Box::new(Failure::new(class, "f", "f"))))
        }
        assert!(answers(|_| Outcome::Forward, || Some(Outcome::Forward)));
        assert!(answers(two, || Some(Outcome::Drop("answered"))));
        assert!(answers(|_| Outcome::Forward, || fails(Class::Permanent)), "it said no");
        assert!(!answers(|_| Outcome::Drop("where"), || Some(Outcome::Forward)));
        assert!(!answers(|_| Outcome::data("bad", "bad"), || Some(Outcome::Forward)));
        assert!(!answers(|_| Outcome::Forward, || fails(Class::Transient)));
        assert!(!answers(|_| Outcome::Forward, || fails(Class::Data)), "the record was bad before it was asked");
        assert!(!answers(|_| Outcome::Forward, || panic!("on purpose")));
        assert!(!answers(|_| Outcome::Forward, || None));
    }
}
