//! What `fields` could say of payloads, guessed from samples. Pure: samples in, words out.
//!
//! A guess says what all samples have in common: what one of them lacks, or has as null, may be missing; what is whole in one
//! and not in another is a number; what is text in one and something else in another is anything, and text in a row.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// An object with more names than this is taken for a map from keys to values: those are no fields.
const MOST_FIELDS: usize = 200;

/// The values seen at one place.
#[derive(Debug, Default)]
struct Seen {
    values: u64,
    nulls: u64,
    strings: u64,
    integers: u64,
    numbers: u64,
    booleans: u64,
    objects: Samples,
    arrays: u64,
    items: Option<Box<Seen>>,
    /// They were cells of rows: each is text, whatever it looks like.
    cells: bool,
}

/// The objects seen at one place, by field.
#[derive(Debug, Default)]
pub struct Samples {
    count: u64,
    fields: BTreeMap<String, Seen>,
}

impl Samples {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// One more.
    pub fn add(&mut self, object: &Map<String, Value>) {
        self.count += 1;
        for (name, value) in object {
            // Names beyond are not kept: they are as many as there are records.
            if self.fields.len() <= MOST_FIELDS || self.fields.contains_key(name) {
                self.fields.entry(name.clone()).or_default().add(value);
            }
        }
    }

    /// A row of text, each cell of a column: what it could be read as. An empty cell is a missing value.
    pub fn add_row<'a>(&mut self, cells: impl Iterator<Item = (&'a str, &'a str)>) {
        self.count += 1;
        for (name, cell) in cells {
            let seen = self.fields.entry(name.to_owned()).or_default();
            seen.cells = true;
            seen.add(&of_cell(cell));
        }
    }

    /// The fields by name, as `fields` takes them.
    pub fn fields(&self) -> Map<String, Value> {
        self.fields.iter().map(|(name, seen)| (name.clone(), seen.short(self.count))).collect()
    }

    fn is_map(&self) -> bool {
        self.fields.len() > MOST_FIELDS
    }
}

impl Seen {
    fn add(&mut self, value: &Value) {
        self.values += 1;
        match value {
            Value::Null => self.nulls += 1,
            Value::Bool(_) => self.booleans += 1,
            Value::Number(number) if number.is_i64() => self.integers += 1,
            Value::Number(_) => self.numbers += 1,
            Value::String(_) => self.strings += 1,
            Value::Array(items) => {
                self.arrays += 1;
                let seen = self.items.get_or_insert_default();
                items.iter().for_each(|item| seen.add(item));
            }
            Value::Object(object) => self.objects.add(object),
        }
    }

    /// In the short form, where `of` values could have been.
    fn short(&self, of: u64) -> Value {
        let optional = self.nulls > 0 || self.values < of;
        let number = if self.numbers > 0 { "number" } else { "integer" };
        let kinds = [
            (self.strings, "string"),
            (self.integers + self.numbers, number),
            (self.booleans, "boolean"),
            (self.arrays, "array"),
            (self.objects.count, "object"),
        ];
        let mut seen = kinds.iter().filter(|(times, _)| *times > 0).map(|(_, word)| *word);
        let word = match (seen.next(), seen.next()) {
            (Some(word), None) => word,
            (Some(_), Some(_)) if self.cells => "string",
            _ => "any",
        };
        match word {
            // What may be missing has no inner types in the short form.
            "object" if !optional && !self.objects.fields.is_empty() && !self.objects.is_map() => {
                Value::Object(self.objects.fields())
            }
            "array" if !optional => match self.items.as_ref().filter(|items| items.values > 0) {
                Some(items) => Value::Array(vec![items.short(items.values)]),
                None => Value::from(word),
            },
            _ if optional => Value::from(format!("{word}?")),
            _ => Value::from(word),
        }
    }
}

fn of_cell(cell: &str) -> Value {
    if cell.is_empty() {
        return Value::Null;
    }
    // `007` and `+1` are names of things more often than numbers.
    let digits = cell.strip_prefix('-').unwrap_or(cell);
    let padded = digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.");
    if !padded && digits.starts_with(|c: char| c.is_ascii_digit()) {
        if let Ok(whole) = cell.parse::<i64>() {
            return Value::from(whole);
        }
        if let Ok(number) = cell.parse::<f64>()
            && number.is_finite()
        {
            return Value::from(number);
        }
    }
    match cell {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => Value::from(cell),
    }
}

/// As lines of a pipeline file.
pub fn yaml(fields: &Map<String, Value>) -> String {
    let line = |(name, value): (&String, &Value)| format!("  {}: {}\n", word(name), flow(value));
    format!("fields:\n{}", fields.iter().map(line).collect::<String>())
}

fn flow(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| format!("{}: {}", word(name), flow(value));
            format!("{{ {} }}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A name that YAML could take for something else is quoted.
fn word(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        && !["true", "false", "null"].contains(&name.to_ascii_lowercase().as_str());
    if plain { name.to_owned() } else { Value::from(name).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn guessed(samples: &[Value]) -> String {
        let mut seen = Samples::default();
        samples.iter().filter_map(Value::as_object).for_each(|object| seen.add(object));
        yaml(&seen.fields())
    }

    #[test]
    fn what_all_have_in_common() {
        let samples = [
            json!({"id": "a", "n": 1, "x": 1, "flag": true, "odd": 1, "big": 18446744073709551615u64}),
            json!({"id": "b", "n": 2, "x": 1.5, "flag": null, "odd": "1", "late": [1], "big": 1}),
        ];
        let fields = "fields:\n  big: number\n  flag: boolean?\n  id: string\n  late: array?\n  n: integer\n  odd: any\n  x: number\n";
        assert_eq!(guessed(&samples), fields);
    }

    #[test]
    fn what_is_inside() {
        let samples = [
            json!({"of": {"name": "a", "no": {}}, "lines": [{"sku": "x"}, {"sku": "y", "count": 2}], "none": [], "may": {"a": 1}}),
            json!({"of": {"name": "b", "no": {}}, "lines": [], "none": [], "a b": null, "true": 1}),
        ];
        let fields = "fields:\n  \"a b\": any?\n  lines: [{ count: integer?, sku: string }]\n  may: object?\n  none: array\n  \
                      of: { name: string, no: object }\n  \"true\": integer?\n";
        assert_eq!(guessed(&samples), fields);
    }

    #[test]
    fn many_names_are_a_map() {
        let many: Map<String, Value> = (0..MOST_FIELDS + 1).map(|n| (format!("k{n}"), Value::from(n))).collect();
        assert_eq!(guessed(&[json!({"by": many})]), "fields:\n  by: object\n");
    }

    #[test]
    fn cells_are_what_they_could_be_read_as() {
        for (cell, value) in [
            ("", json!(null)),
            ("17", json!(17)),
            ("-1.5", json!(-1.5)),
            ("0.5", json!(0.5)),
            ("0", json!(0)),
            ("007", json!("007")),
            ("+1", json!("+1")),
            ("1e999", json!("1e999")),
            ("inf", json!("inf")),
            ("true", json!(true)),
            ("True", json!("True")),
        ] {
            assert_eq!(of_cell(cell), value, "{cell}");
        }
        let mut rows = Samples::default();
        rows.add_row([("a", "1"), ("b", "")].into_iter());
        rows.add_row([("a", "x"), ("b", "2")].into_iter());
        assert_eq!(yaml(&rows.fields()), "fields:\n  a: string\n  b: integer?\n");
    }
}
