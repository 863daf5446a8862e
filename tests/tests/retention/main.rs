//! What Millstream deletes, and what it must not, on a real Kafka and on the embedded log: records of its own topics
//! that are old and read ([`owned`]), the dedup changelog ([`state`]), dead letters ([`letters`]).

mod bench;
mod letters;
mod owned;
mod state;

/// Runs each function as a test on both logs.
macro_rules! on_both_logs {
    ($($name:ident),* $(,)?) => {
        mod on_the_embedded_log {
            use crate::bench::Bench;
            $(#[test] fn $name() { super::$name(&Bench::embedded()); })*
        }
        mod on_kafka {
            use crate::bench::Bench;
            $(#[test] fn $name() { if let Some(bench) = Bench::kafka() { super::$name(&bench); } })*
        }
    };
}
pub(crate) use on_both_logs;
