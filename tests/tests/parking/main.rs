//! Keys that fail are set aside and come back in order, on both logs: through crashes, rebalances and scaling, while other
//! keys go on; and a service that is gone for all of them makes no flood of dead letters.

mod added;
mod common;
mod control;
mod crash;
mod keys;
mod outage;
