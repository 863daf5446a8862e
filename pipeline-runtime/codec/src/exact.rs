//! Numbers as they stand in a payload, where a value cannot hold them.

use millstream_filter_api::{OwnedValuePath, Payload, Value};
use vrl::path::OwnedSegment;

use crate::scan::{elements, members, skip_space, skip_value};
use crate::splice::key_of;

/// Digits that every float keeps apart.
const SAFE_DIGITS: usize = 15;

/// The text of the number at `path` of a JSON payload, if a float may stand for several such numbers: it has more than
/// 15 digits, or is beyond a float. `None` also where the payload was changed there. Names made of such numbers (ids,
/// keys) must come from the text: by the value two different records would have one name.
pub fn exact_number<'p>(payload: &'p Payload, path: &OwnedValuePath) -> Option<&'p str> {
    let Value::Float(value) = payload.value()?.get(path)? else { return None };
    let raw = payload.original()?;
    let mut at = skip_space(raw, 0);
    for segment in &path.segments {
        at = match segment {
            OwnedSegment::Field(name) if raw.get(at) == Some(&b'{') => {
                let (members, _) = members(raw, at)?;
                // Of a repeated key the last one counts, as in decoding.
                members.iter().rev().find(|m| key_of(raw, m).is_some_and(|k| k == name.as_str()))?.value.0
            }
            OwnedSegment::Index(index) if raw.get(at) == Some(&b'[') => {
                let (elements, _) = elements(raw, at)?;
                elements.get(usize::try_from(*index).ok()?)?.0
            }
            _ => return None,
        };
    }
    let text = std::str::from_utf8(raw.get(at..skip_value(raw, at)?)?).ok()?;
    let same = text.parse::<f64>().is_ok_and(|t| t.to_bits() == value.into_inner().to_bits());
    (same && (value.is_infinite() || digits(text) > SAFE_DIGITS)).then_some(text)
}

/// How many digits of a number count: zeros before the first other one do not.
fn digits(number: &str) -> usize {
    let mantissa = number.split(['e', 'E']).next().unwrap_or(number);
    mantissa.bytes().filter(u8::is_ascii_digit).skip_while(|b| *b == b'0').count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Codec, Coercion};
    use vrl::path::parse_value_path;

    #[test]
    fn only_what_a_float_does_not_tell_apart_is_taken_from_the_text() {
        let raw = r#"{"big":123456789012345678901234567890, "n":[0, {"f": 0.1000000000000000000001}], "huge":-1e400,
            "big":9007199254740993.5, "plain": 1.10, "zeros": 0.000000000000000000001, "i": 9007199254740993, "s": "1e400"}"#;
        let mut payload = Codec::Json.decode(raw.into(), &Coercion::none()).unwrap();
        let exact =
            |payload: &Payload, path: &str| exact_number(payload, &parse_value_path(path).unwrap()).map(str::to_owned);
        for (path, want) in [
            ("big", Some("9007199254740993.5")),
            ("n[1].f", Some("0.1000000000000000000001")),
            ("huge", Some("-1e400")),
            ("n[0]", None),
            ("plain", None),
            ("zeros", None),
            ("i", None),
            ("s", None),
            ("none", None),
            ("n", None),
            ("big.x", None),
        ] {
            assert_eq!(exact(&payload, path).as_deref(), want, "{path}");
        }
        let touched = std::sync::Arc::from([parse_value_path("huge").unwrap()]);
        payload.value_mut(&touched).unwrap().insert(&parse_value_path("huge").unwrap(), Value::from_f64_or_zero(1.5));
        assert_eq!(exact(&payload, "huge"), None);
        let row = Codec::Csv { columns: vec!["a".into()], separator: b',' };
        assert_eq!(exact(&row.decode("1".into(), &Coercion::none()).unwrap(), "a"), None);
    }
}
