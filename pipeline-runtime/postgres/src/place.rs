//! How far a table with a cursor was taken, as text in a position.

use serde_json::{Value, json};

/// A look at a table, and how far it was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// Which table it is; empty before the first look.
    pub identity: String,
    /// The look takes the rows of transactions from here …
    pub from: u64,
    /// … up to here: all before it have ended.
    pub to: u64,
    /// No row of those has a lower cursor; `None` is not known.
    pub floor: Option<String>,
    /// The same for the look after this.
    pub next_floor: Option<String>,
    /// The last row that was taken of it.
    pub after: Option<After>,
}

/// A row in the order of the look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct After {
    pub cursor: String,
    pub key: String,
}

/// The first word; rises when the form changes.
const VERSION: &str = "c1 ";

impl Place {
    /// `c1 [IDENTITY, FROM, TO, FLOOR, NEXT FLOOR, CURSOR, KEY]`
    pub(crate) fn encode(&self) -> String {
        let after = self.after.as_ref();
        let (cursor, key) = (after.map(|a| &a.cursor), after.map(|a| &a.key));
        format!("{VERSION}{}", json!([self.identity, self.from, self.to, self.floor, self.next_floor, cursor, key]))
    }

    /// Reads what [`Place::encode`] wrote. The position of an outbox says nothing of a table with a cursor.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        if text.starts_with("o1 ") {
            return Some(Self::default());
        }
        let parts: Vec<Value> = serde_json::from_str(text.strip_prefix(VERSION)?).ok()?;
        let [identity, from, to, floor, next_floor, cursor, key] = parts.as_slice() else { return None };
        let words = |value: &Value| match value {
            Value::Null => Some(None),
            value => value.as_str().map(|text| Some(text.to_owned())),
        };
        Some(Self {
            identity: identity.as_str()?.to_owned(),
            from: from.as_u64()?,
            to: to.as_u64()?,
            floor: words(floor)?,
            next_floor: words(next_floor)?,
            after: words(cursor)?.zip(words(key)?).map(|(cursor, key)| After { cursor, key }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_durable() {
        let place = Place {
            identity: "7/8/9".into(),
            from: 700,
            to: 712,
            floor: Some("2026-01-01T00:00:00+00:00".into()),
            next_floor: None,
            after: Some(After { cursor: "2026".into(), key: "a \"b\"".into() }),
        };
        let text = r#"c1 ["7/8/9",700,712,"2026-01-01T00:00:00+00:00",null,"2026","a \"b\""]"#;
        assert_eq!(place.encode(), text, "change it with its version");
        assert_eq!(Place::decode(text), Some(place));
        assert_eq!(Place::decode(&Place::default().encode()), Some(Place::default()));
        assert_eq!(Place::decode("o1 7/8/9 1"), Some(Place::default()));
        for bad in ["", "c1 ", "c1 []", "c2 [\"a\",1,2,null,null,null,null]", "c1 [\"a\",-1,2,null,null,null,null]"] {
            assert_eq!(Place::decode(bad), None, "{bad}");
        }
    }
}
