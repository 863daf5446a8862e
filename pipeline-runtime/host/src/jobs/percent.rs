//! How far a job has come.

use millstream_filter_api::Value;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Hundredths of a percent, 0 to 10,000. A number from 0 to 100 in JSON, whole where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent(u16);

impl Percent {
    /// Of a number, brought between 0 and 100; nothing of what is none.
    pub(crate) fn of(percent: f64) -> Option<Self> {
        (!percent.is_nan()).then(|| Self((percent.clamp(0.0, 100.0) * 100.0).round() as u16))
    }

    /// Of what an expression gave; nothing of what is no number.
    pub(crate) fn of_value(value: &Value) -> Option<Self> {
        match value {
            Value::Integer(n) => Self::of(*n as f64),
            Value::Float(n) => Self::of(n.into_inner()),
            _ => None,
        }
    }

    /// As a number that fits where a flag has to be beside it.
    pub(crate) fn hundredths(self) -> u16 {
        self.0
    }

    /// What [`hundredths`](Self::hundredths) gave.
    pub(crate) fn of_hundredths(hundredths: u16) -> Self {
        Self(hundredths.min(10_000))
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 % 100 {
            0 => serializer.serialize_u16(self.0 / 100),
            _ => serializer.serialize_f64(f64::from(self.0) / 100.0),
        }
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::of(f64::deserialize(deserializer)?).unwrap_or(Self(0)))
    }
}

impl std::fmt::Display for Percent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", f64::from(self.0) / 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_brought_between_0_and_100_and_nothing_else_is_a_percentage() {
        let shown = |value: Value| Percent::of_value(&value).map(|p| p.to_string());
        let json = |percent: f64| serde_json::to_string(&Percent::of(percent)).unwrap();
        for (value, want) in [
            (Value::Integer(40), Some("40")),
            (Value::Integer(i64::MAX), Some("100")),
            (Value::Integer(-1), Some("0")),
            (Value::from_f64_or_zero(33.333), Some("33.33")),
            (Value::from("50"), None),
            (Value::Null, None),
            (Value::Boolean(true), None),
        ] {
            assert_eq!(shown(value.clone()).as_deref(), want, "{value}");
        }
        assert_eq!([40.0, 12.5, 99.999, f64::NAN].map(json), ["40", "12.5", "100", "null"]);
        for text in ["0", "40", "12.5", "100"] {
            let read: Percent = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), text);
            assert_eq!(Percent::of_hundredths(read.hundredths()), read);
        }
    }
}
