//! The suite every adapter must pass: one function per property, run on whatever [`Bench`] gives.
//!
//! An adapter's test file implements [`Bench`], calls [`conformance_tests!`](crate::conformance_tests) with a function
//! that makes one, and gets one test per property. Every wait is for a condition, with [`Bench::patience`] as its
//! deadline; nothing here assumes how fast a log is.
//!
//! It must never know: an adapter.
//!
//! Start reading at [`Bench`], then at `all`; `kit` and `player` hold what the properties share.

mod fencing;
mod groups;
mod kit;
mod pausing;
mod player;
mod polling;
mod reading;
mod records;
mod refusals;
mod restart;
mod retention;
mod topics;
mod transactions;

use std::sync::Arc;
use std::time::Duration;

use crate::Log;

/// What the suite asks of an adapter's test.
pub trait Bench {
    /// The log under test; the same one at each call until [`Bench::reopen`].
    fn log(&self) -> Arc<dyn Log>;

    /// A name for a topic or group that no other test, and no other run on the same log, uses.
    fn unique(&self, base: &str) -> String;

    /// Closes the log and opens the same one again, as after a restart of the process; for a cluster, a new client.
    /// The suite holds nothing of the old one when it calls this.
    fn reopen(&self);

    /// How long to wait for anything before calling it broken.
    fn patience(&self) -> Duration {
        Duration::from_secs(90)
    }

    /// A session time-out under which no healthy member is taken for dead.
    fn session_timeout(&self) -> Duration {
        Duration::from_secs(10)
    }

    /// The shortest session time-out that is safe here, for members that are meant to be taken for dead. A member with
    /// it that stops polling must lose its partitions well within [`Bench::patience`].
    fn short_session_timeout(&self) -> Duration {
        Duration::from_secs(6)
    }
}

/// A named property.
pub type Property = (&'static str, fn(&dyn Bench));

/// Lists the properties, and generates the macro that makes a test of each, so that the two cannot differ.
macro_rules! properties {
    ($dollar:tt $($module:ident :: $name:ident,)*) => {
        /// Every property of the suite by name.
        pub fn all() -> &'static [Property] {
            &[$((stringify!($name), $module::$name),)*]
        }

        /// Makes one test of each property: `conformance_tests!(make_bench);` where `make_bench` is a function or
        /// closure expression that returns a [`Bench`](crate::conformance::Bench). With `conformance_tests!(if make_bench);`
        /// it returns an `Option`, and `None`, where the log cannot be had and that was said, checks nothing.
        #[macro_export]
        macro_rules! conformance_tests {
            (if $dollar make:expr) => {
                $(
                    #[test]
                    fn $name() {
                        if let Some(bench) = ($dollar make)() {
                            $dollar crate::conformance::run(stringify!($name), &bench);
                        }
                    }
                )*
            };
            ($dollar make:expr) => {
                $(
                    #[test]
                    fn $name() {
                        $dollar crate::conformance::run(stringify!($name), &($dollar make)());
                    }
                )*
            };
        }
    };
}

properties! { $
    topics::describe_creates_nothing,
    topics::creating_twice_changes_nothing,
    topics::topics_are_listed_and_deleted,
    topics::partitions_are_added,
    topics::ends_of_an_empty_and_a_filled_partition,
    topics::the_first_record_at_or_after_a_time,
    records::null_and_empty_keys_and_values_differ,
    records::headers_keep_order_repeats_nulls_and_bytes,
    records::time_stamps_are_kept,
    records::a_large_record_passes,
    records::order_within_a_partition_is_kept,
    refusals::a_record_over_the_limit_is_refused_by_its_tag,
    refusals::a_refused_transaction_is_aborted_and_the_member_goes_on,
    refusals::a_compacted_topic_refuses_a_record_without_key,
    reading::a_reader_reads_what_it_is_given_and_no_more,
    reading::batches_lead_to_the_end,
    reading::a_reader_starts_at_the_first_record_still_there,
    polling::a_waker_ends_a_poll,
    polling::a_waker_ends_a_members_poll,
    polling::new_records_end_a_poll,
    polling::a_poll_keeps_its_budget,
    polling::a_poll_without_budget_serves_events,
    groups::one_member_gets_every_partition,
    groups::three_members_share_the_partitions,
    groups::a_member_too_many_stands_by,
    groups::partitions_are_handed_over_with_position_and_metadata,
    groups::who_leaves_hands_everything_over,
    groups::a_deleted_group_has_no_positions,
    groups::side_topics_follow_their_lead,
    groups::a_partition_comes_when_its_side_topics_have_it,
    groups::two_groups_read_the_same_topic,
    groups::start_reads_from_the_positions_given,
    groups::starting_twice_rewinds,
    groups::where_a_member_starts_is_remembered,
    pausing::what_is_paused_waits_and_the_rest_goes_on,
    pausing::a_start_moves_what_is_paused,
    pausing::a_rebalance_does_not_wake_what_is_paused,
    pausing::a_new_owner_reads,
    pausing::what_comes_back_is_not_paused,
    transactions::outputs_and_positions_appear_together,
    transactions::an_abort_leaves_nothing,
    transactions::a_position_can_reach_the_end_past_transactions,
    transactions::an_open_transaction_is_invisible,
    transactions::an_uncommitted_reader_passes_aborted_records,
    transactions::positions_commit_without_outputs,
    transactions::outputs_commit_without_positions,
    transactions::metadata_comes_back_as_it_was,
    transactions::at_least_once_writes_and_commits,
    fencing::a_member_taken_for_dead_cannot_commit,
    fencing::a_forgotten_members_transaction_is_ended,
    fencing::a_dropped_members_partitions_go_to_others,
    fencing::a_partition_given_away_cannot_be_committed,
    retention::old_time_stamps_do_not_age_a_kept_topic,
    retention::a_topic_with_retention_stamps_when_it_is_written,
    retention::deleting_before_an_offset,
    retention::a_compacted_topic_keeps_the_last_of_each_key,
    restart::records_and_positions_survive,
}

/// Runs one property by name. Panics if it does not hold.
pub fn run(name: &str, bench: &dyn Bench) {
    let (_, property) = all().iter().find(|(n, _)| *n == name).expect("the macro and the list are one");
    property(bench);
}
