//! The header that tells replayed records from live ones, and what it means to dedup.

use bytes::Bytes;
use millstream_filter_api::Headers;

use crate::ids::hash128;

/// Carries the id of the replay that a record came through; of several, the last one first, with `/` between.
pub const REPLAY_HEADER: &str = "millstream.replay";

/// What a record says of replays; nothing for a live one.
pub fn mark_of(headers: &Headers) -> Option<Bytes> {
    let value = headers.get(REPLAY_HEADER)??;
    // The value lies inside the packed headers: share them instead of copying.
    Some(headers.packed().slice_ref(value))
}

/// The headers of a record that the replay `id` reads. A record that an earlier replay brought keeps what it said: it
/// and the live record of the same id are two records of the range, and must not become one.
pub fn with_mark(headers: &Headers, id: &str) -> Headers {
    match mark_of(headers).filter(|before| !before.is_empty()) {
        None => headers.with(REPLAY_HEADER, Some(id.as_bytes())),
        Some(before) => {
            let mark = [id.as_bytes(), b"/", &before].concat();
            headers.with(REPLAY_HEADER, Some(&mark))
        }
    }
}

/// What dedup knows a record by: its id, and the replay it came through. Hashed, so that no id of a live record can be
/// taken for it.
pub fn dedup_id(id: &Bytes, mark: Option<&Bytes>) -> Bytes {
    match mark {
        None => id.clone(),
        Some(mark) => Bytes::copy_from_slice(&hash128(&[b"replay", id, mark]).to_be_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The marks in `.state` are made of it: it must be equal in every later version.
    #[test]
    fn golden() {
        let (id, mark) = (Bytes::from_static(b"536365/1"), Bytes::from_static(b"6913aa00-1f2e"));
        assert_eq!(dedup_id(&id, None), id);
        let hex: String = dedup_id(&id, Some(&mark)).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "6127de78b8a43520b244da4f9c01cfb4");
        assert_eq!(REPLAY_HEADER, "millstream.replay");
    }

    /// Negative control: without the mark in the key, what a replay brings is dropped by every stage behind it.
    #[test]
    fn a_replayed_record_is_no_repeat_of_the_live_one_and_one_of_itself() {
        let id = Bytes::from_static(b"a");
        let of = |mark: &'static str| dedup_id(&id, Some(&Bytes::from_static(mark.as_bytes())));
        assert_ne!(of("1"), dedup_id(&id, None));
        assert_ne!(of("1"), of("2"));
        assert_eq!(of("1"), of("1"));
        let joined = dedup_id(&Bytes::from_static(b"a1"), Some(&Bytes::new()));
        assert_ne!(joined, of("1"), "the parts do not run into each other");
    }

    #[test]
    fn a_replay_of_replayed_records_keeps_them_apart() {
        let live = Headers::new().with("a", Some(b"1"));
        let once = with_mark(&live, "r1");
        assert_eq!(mark_of(&live), None);
        assert_eq!(mark_of(&once).as_deref(), Some(&b"r1"[..]));
        let twice = with_mark(&once, "r2");
        assert_eq!(mark_of(&twice).as_deref(), Some(&b"r2/r1"[..]));
        let names: Vec<&str> = twice.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", REPLAY_HEADER], "one mark, and what was there is there");
    }
}
