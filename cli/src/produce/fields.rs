//! Fields of a JSON text as they stand in it, so that `1.10` is the key `1.10` and a number of 30 digits keeps them.

use std::borrow::Cow;
use std::fmt;

use millstream_filter_api::OwnedValuePath;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use vrl::path::OwnedSegment;

/// The fields that make a key or an id.
#[derive(Clone, Debug, PartialEq)]
pub struct Fields {
    paths: Vec<OwnedValuePath>,
}

impl Fields {
    /// Fields in order; at least one.
    pub fn new(paths: Vec<OwnedValuePath>) -> Option<Self> {
        (!paths.is_empty()).then_some(Self { paths })
    }

    /// As a pipeline's `key:` makes it: one field is its text; several are a JSON array. All null or missing is none.
    pub fn key(&self, json: &str) -> Result<Option<String>, serde_json::Error> {
        if let [path] = &self.paths[..] {
            return Ok(pick(json, path)?.map(text));
        }
        let parts = self.paths.iter().map(|p| pick(json, p)).collect::<Result<Vec<_>, _>>()?;
        if parts.iter().all(Option::is_none) {
            return Ok(None);
        }
        let parts: Vec<&str> = parts.iter().map(|p| p.map_or("null", RawValue::get)).collect();
        Ok(Some(format!("[{}]", parts.join(","))))
    }

    /// As a pipeline's `id:` makes it: texts joined by `/`, with `/` and `\` in them escaped. Any null or missing is
    /// none: half a name is no name.
    pub fn id(&self, json: &str) -> Result<Option<String>, serde_json::Error> {
        if let [path] = &self.paths[..] {
            return Ok(pick(json, path)?.map(text).filter(|id| !id.is_empty()));
        }
        let mut id = String::new();
        for (i, path) in self.paths.iter().enumerate() {
            let Some(part) = pick(json, path)? else { return Ok(None) };
            if i > 0 {
                id.push('/');
            }
            for c in text(part).chars() {
                if matches!(c, '/' | '\\') {
                    id.push('\\');
                }
                id.push(c);
            }
        }
        Ok(Some(id))
    }
}

/// `.a.b[0]`, for clap.
pub fn path(text: &str) -> Result<OwnedValuePath, String> {
    millstream_spec::path::field(text).ok_or_else(|| "write a field as .customer_id or .customer.id".to_owned())
}

/// What stands at a path; null and missing are none. The whole text is checked to be JSON.
fn pick<'a>(json: &'a str, path: &OwnedValuePath) -> Result<Option<&'a RawValue>, serde_json::Error> {
    let mut input = serde_json::Deserializer::from_str(json);
    let found = At { rest: &path.segments }.deserialize(&mut input)?;
    input.end()?;
    Ok(found.filter(|value| value.get() != "null"))
}

/// The text of a value: of a string its content, else its JSON.
fn text(value: &RawValue) -> String {
    match serde_json::from_str::<Cow<'_, str>>(value.get()) {
        Ok(content) => content.into_owned(),
        Err(_) => value.get().to_owned(),
    }
}

/// Reads what stands at `rest` below the present value, and passes over all else.
struct At<'p> {
    rest: &'p [OwnedSegment],
}

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<Self::Value, D::Error> {
        if self.rest.is_empty() {
            return serde::Deserialize::deserialize(input).map(Some);
        }
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match self.rest {
                // Of repeated keys the last counts, as for expressions.
                [OwnedSegment::Field(name), rest @ ..] if name.as_str() == key => {
                    found = map.next_value_seed(At { rest })?
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        for at in 0.. {
            let more = match self.rest {
                [OwnedSegment::Index(index), rest @ ..] if *index == at => {
                    let item = items.next_element_seed(At { rest })?;
                    let more = item.is_some();
                    found = item.flatten();
                    more
                }
                _ => items.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                break;
            }
        }
        Ok(found)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(paths: &[&str]) -> Fields {
        let paths = paths.iter().map(|p| path(p).unwrap()).collect();
        Fields::new(paths).unwrap()
    }

    #[test]
    fn one_field_is_its_own_text() {
        let json = r#"{"a":1.10,"b":{"c":["x","y\n\"z\""]},"big":123456789012345678901234567890,"n":null,"a2":{}}"#;
        let all = [
            (".a", Some("1.10")),
            (".b.c[1]", Some("y\n\"z\"")),
            (".b.c[2]", None),
            (".big", Some("123456789012345678901234567890")),
            (".n", None),
            (".missing", None),
            (".a.b", None),
            (".a2", Some("{}")),
            (".a[0]", None),
        ];
        for (path, expected) in all {
            assert_eq!(fields(&[path]).key(json).unwrap().as_deref(), expected, "{path}");
        }
        assert_eq!(fields(&[".a"]).key("5").unwrap(), None);
        assert_eq!(fields(&[".a"]).key(r#"{"a":1,"a":2}"#).unwrap().as_deref(), Some("2"));
    }

    #[test]
    fn several_fields_are_an_array_for_a_key_and_a_path_for_an_id() {
        let json = r#"{"a":"x/y","b":2,"n":null}"#;
        assert_eq!(fields(&[".a", ".b"]).key(json).unwrap().as_deref(), Some(r#"["x/y",2]"#));
        assert_eq!(fields(&[".a", ".n"]).key(json).unwrap().as_deref(), Some(r#"["x/y",null]"#));
        assert_eq!(fields(&[".n", ".m"]).key(json).unwrap(), None);
        assert_eq!(fields(&[".a", ".b"]).id(json).unwrap().as_deref(), Some(r"x\/y/2"));
        assert_eq!(fields(&[".a", ".n"]).id(json).unwrap(), None);
    }

    #[test]
    fn what_is_not_json_is_an_error() {
        for bad in ["", "{", "{\"a\":1} x", "{\"a\":1,}", "{\"b\":nul,\"a\":1}", "{a:1}"] {
            assert!(fields(&[".a"]).key(bad).is_err(), "{bad}");
        }
    }
}
