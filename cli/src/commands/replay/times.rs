//! `--from` and `--to` of a replay: `start`, `end`, a time, `-2h`, or offsets of partitions.

use std::collections::BTreeMap;

use millstream_host::replay::Bound;

use crate::consume::from::From;

/// Several PARTITION:OFFSET of different partitions, or one of the others. `option` is for people, `now` in ms since 1970.
pub fn bound(option: &str, given: &[String], now: i64) -> Result<Bound, String> {
    let mut offsets = BTreeMap::new();
    for text in given {
        let other = match From::parse(text, now).map_err(|e| format!("`{option}`: {e}"))? {
            From::Start => Bound::Start,
            From::End => Bound::End,
            From::At(ms) => Bound::At(ms),
            From::Offset { partition, offset } => {
                if offsets.insert(partition, offset).is_some() {
                    return Err(format!("`{option}` names partition {partition} twice"));
                }
                continue;
            }
        };
        if given.len() > 1 {
            return Err(format!("`{option}` is one place, or PARTITION:OFFSET of several partitions"));
        }
        return Ok(other);
    }
    Ok(Bound::Offsets(offsets))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(given: &[&str]) -> Result<Bound, String> {
        bound("--to", &given.iter().map(ToString::to_string).collect::<Vec<_>>(), 7_200_001)
    }

    #[test]
    fn places() {
        assert_eq!(of(&["start"]), Ok(Bound::Start));
        assert_eq!(of(&["end"]), Ok(Bound::End));
        assert_eq!(of(&["-2h"]), Ok(Bound::At(1)));
        assert_eq!(of(&["1970-01-01T00:00:02Z"]), Ok(Bound::At(2000)));
        assert_eq!(of(&["3:17", "0:2"]), Ok(Bound::Offsets([(0, 2), (3, 17)].into())));
    }

    #[test]
    fn what_is_no_place_names_the_option() {
        for (given, why) in [
            (&["yesterday"][..], "`--to`: `yesterday` is no time"),
            (&["-2x"][..], "`--to`: `2x` is no duration"),
            (&["0:1", "0:2"][..], "`--to` names partition 0 twice"),
            (&["0:1", "end"][..], "`--to` is one place"),
            (&["start", "end"][..], "`--to` is one place"),
        ] {
            assert!(of(given).is_err_and(|e| e.starts_with(why)), "{given:?}: {:?}", of(given));
        }
    }
}
