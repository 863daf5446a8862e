//! Records that were read once are read again.

mod in_place;
