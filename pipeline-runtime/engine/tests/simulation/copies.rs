//! Copies in `.retry`, as an engine is told of them, and what the log refuses.

use millstream_engine::{Copy, CopyKind, Place};

use crate::breaks::Break;
use crate::world::{Head, Kind, Out, Rec, World};

/// The header of a copy, if it is one.
pub fn copy_of<'a>(
    record: &'a Rec,
    key: &'a Option<[u8; 1]>,
    id: &'a [u8],
    size: usize,
    world: &World,
) -> Option<Copy<'a>> {
    let Head { input, offset, attempts, due, kind, forced } = record.head?;
    let broken = world.promise.broken;
    let sent_back = kind == CopyKind::SentBack;
    Some(Copy {
        origin_input: input,
        origin_offset: offset,
        key: key.as_ref().map(|k| &k[..]).filter(|_| !sent_back || broken != Break::SentBackAnyhow),
        id,
        timestamp: world.told_time(record.timestamp),
        size,
        attempts: if broken == Break::FreeAny && matches!(kind, CopyKind::Hold | CopyKind::Free) {
            0
        } else {
            attempts
        },
        delay_ms: u64::try_from(due - world.now().wall_ms).unwrap_or(0),
        kind: if sent_back && broken == Break::SentBackAsParked { CopyKind::Parked } else { kind },
        forced: forced && broken != Break::ForgetForced,
    })
}

/// Whether the log refuses what a record became.
pub fn is_refused((place, out): &(Place, Out), world: &World) -> bool {
    matches!((world.record(*place).kind, out), (Kind::Refused, Out::Forward) | (Kind::Bulky, Out::Park { .. }))
}
