//! A set of row ids as a short text: a position has room for little.

/// Characters that a set may take: with all else that stands in a position it must stay below a kibibyte.
pub(crate) const ROOM: usize = 700;

/// `17+3,5` is 17, 18, 19, 20 and 25: each part is the distance to the id before, and how many follow without a gap.
///
/// `ids` rise. Only those are taken whose text fits into `room`; returns how many.
pub(crate) fn encode(ids: &[i64], room: usize) -> (String, usize) {
    let mut text = String::new();
    let (mut at, mut before) = (0, None::<i64>);
    while at < ids.len() {
        let first = ids[at];
        let run = ids[at..].windows(2).take_while(|pair| pair[0].checked_add(1) == Some(pair[1])).count();
        let gap = i128::from(first) - i128::from(before.unwrap_or(0));
        let comma = if before.is_some() { "," } else { "" };
        let part = if run == 0 { format!("{comma}{gap}") } else { format!("{comma}{gap}+{run}") };
        if text.len() + part.len() > room {
            break;
        }
        text.push_str(&part);
        at += run + 1;
        before = Some(ids[at - 1]);
    }
    (text, at)
}

/// Reads what [`encode`] wrote; `None` for anything else.
pub(crate) fn decode(text: &str) -> Option<Vec<i64>> {
    let mut ids: Vec<i64> = Vec::new();
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (gap, run) = part.split_once('+').unwrap_or((part, "0"));
        let (gap, run): (i128, u32) = (gap.parse().ok()?, run.parse().ok()?);
        if run > 100_000 || (gap < 1 && !ids.is_empty()) {
            return None;
        }
        let before = ids.last().copied().map_or(0, i128::from);
        for n in 0..=i128::from(run) {
            ids.push(i64::try_from(before.checked_add(gap)?.checked_add(n)?).ok()?);
        }
    }
    Some(ids)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_form_is_durable() {
        assert_eq!(encode(&[17, 18, 19, 20, 25], 100), ("17+3,5".to_owned(), 5), "change it with its version");
        assert_eq!(encode(&[i64::MIN, i64::MAX], 100).1, 2);
        assert_eq!(encode(&[], 100), (String::new(), 0));
        assert_eq!(decode(""), Some(Vec::new()));
        for bad in ["x", "1,", "1,-1", "1+", "1,0", "99999999999999999999", "1+99999999"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_fits_comes_back(ids in proptest::collection::btree_set(prop_oneof![any::<i64>(), -50i64..50], 0..60), room in 0usize..200) {
            let ids: Vec<i64> = BTreeSet::into_iter(ids).collect();
            let (text, taken) = encode(&ids, room);
            prop_assert!(text.len() <= room && taken <= ids.len());
            prop_assert_eq!(decode(&text), Some(ids[..taken].to_vec()));
            prop_assert_eq!(encode(&ids, 100_000).1, ids.len());
        }

        #[test]
        fn nonsense_is_no_panic(text in ".{0,40}") {
            decode(&text);
        }
    }
}
