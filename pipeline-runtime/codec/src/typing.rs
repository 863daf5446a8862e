//! Rows of a CSV file as JSON payloads, typed by the source's types.

use std::collections::HashSet;

use csv::ByteRecord;
use millstream_filter_api::Kind;
use vrl::value::kind::Field;

use crate::error::DecodeError;
use crate::render::render_str;

/// Turns the rows under one header into JSON objects, columns in the order of the header.
///
/// A column typed integer, float or boolean gives a JSON number (with the digits as they stand) or boolean where the
/// text is one, white space around it allowed; a field of a nullable type that is empty gives null. Whatever does not
/// fit its type stays text, so that `validate` or the expression that needs it makes a dead letter of the record:
/// nothing is lost here. Columns without a type are text.
#[derive(Clone, Debug)]
pub struct CsvTyping {
    columns: Vec<Column>,
}

#[derive(Clone, Debug)]
struct Column {
    name: String,
    /// `{"name":` for the first column, `,"name":` for the others.
    prefix: Vec<u8>,
    kind: Option<Kind>,
}

impl CsvTyping {
    /// From the header row; a byte order mark before it is left out. Refuses names that are empty, repeated or not
    /// UTF-8.
    pub fn new(header: &ByteRecord, kind: &Kind) -> Result<Self, DecodeError> {
        let mut columns = Vec::with_capacity(header.len());
        let mut seen = HashSet::new();
        for (i, name) in header.iter().enumerate() {
            let name = if i == 0 { name.strip_prefix(b"\xef\xbb\xbf").unwrap_or(name) } else { name };
            let name = std::str::from_utf8(name)
                .map_err(|e| DecodeError::utf8(&format!("the name of column {}", i + 1), e.valid_up_to()))?;
            if name.is_empty() {
                return Err(DecodeError::csv(format!("column {} of the header has no name", i + 1)));
            }
            if !seen.insert(name) {
                return Err(DecodeError::csv(format!("the header names column `{name}` twice")));
            }
            let mut prefix = vec![if i == 0 { b'{' } else { b',' }];
            render_str(name, &mut prefix);
            prefix.push(b':');
            let kind = kind.as_object().and_then(|o| o.known().get(&Field::from(name))).cloned();
            columns.push(Column { name: name.to_owned(), prefix, kind });
        }
        if columns.is_empty() {
            return Err(DecodeError::csv("the header is empty"));
        }
        Ok(Self { columns })
    }

    /// The columns' names in order.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|c| c.name.as_str())
    }

    /// One row as the text of a JSON object.
    ///
    /// # Errors
    /// Another number of fields than the header has, or a field that is not UTF-8. The caller keeps such a row by
    /// sending its raw text on as the payload, with the reason.
    pub fn to_json(&self, row: &ByteRecord) -> Result<Vec<u8>, DecodeError> {
        if row.len() != self.columns.len() {
            return Err(DecodeError::csv(format!(
                "expected {} fields as in the header, found {}",
                self.columns.len(),
                row.len()
            )));
        }
        let mut out = Vec::with_capacity(row.as_slice().len() + self.columns.len() * 16);
        for (column, field) in self.columns.iter().zip(row) {
            let text = std::str::from_utf8(field)
                .map_err(|e| DecodeError::utf8(&format!("column `{}`", column.name), e.valid_up_to()))?;
            out.extend_from_slice(&column.prefix);
            match column.kind.as_ref().map_or(Typed::Text, |kind| typed(text, kind)) {
                Typed::Null => out.extend_from_slice(b"null"),
                Typed::Boolean(_) | Typed::Integer(_) | Typed::Float(_) => {
                    out.extend_from_slice(text.trim_ascii().as_bytes());
                }
                Typed::Text => render_str(text, &mut out),
            }
        }
        out.push(b'}');
        Ok(out)
    }
}

/// What the text of a field is, under its column's type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Typed {
    Null,
    Boolean(bool),
    Integer(i64),
    Float(f64),
    Text,
}

/// Numbers are those of JSON: no `+`, no leading zeros (`007` is a name, not a seven), no `inf`.
pub(crate) fn typed(text: &str, kind: &Kind) -> Typed {
    if text.is_empty() && (kind.contains_null() || kind.contains_undefined()) {
        return Typed::Null;
    }
    if kind.contains_bytes() {
        return Typed::Text;
    }
    let text = text.trim_ascii().as_bytes();
    if kind.contains_integer()
        && let Ok(i) = serde_json::from_slice(text)
    {
        return Typed::Integer(i);
    }
    if kind.contains_float()
        && let Ok(f) = serde_json::from_slice(text)
    {
        return Typed::Float(f);
    }
    match text {
        b"true" if kind.contains_boolean() => Typed::Boolean(true),
        b"false" if kind.contains_boolean() => Typed::Boolean(false),
        _ => Typed::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn json(csv_text: &str) -> Vec<Result<String, String>> {
        let kind = Kind::object(BTreeMap::from([
            (Field::from("n"), Kind::integer()),
            (Field::from("p"), Kind::float()),
            (Field::from("b"), Kind::boolean()),
            (Field::from("c"), Kind::bytes().or_null()),
            (Field::from("m"), Kind::integer().or_null()),
        ]));
        let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(csv_text.as_bytes());
        let typing = CsvTyping::new(reader.byte_headers().unwrap(), &kind).unwrap();
        let to_text = |row: &ByteRecord| typing.to_json(row).map(|j| String::from_utf8(j).unwrap());
        reader.byte_records().map(|row| to_text(&row.unwrap()).map_err(|e| e.code.to_owned())).collect()
    }

    #[test]
    fn fields_are_typed_where_they_fit_and_kept_as_text_where_not() {
        let rows = json(concat!(
            "\u{feff}n,p,b,c,m,free\n",
            "12,1.10,true,\"a \"\"b\"\"\nc\",3,x\n",
            " 7 ,5,false,,,\n",
            "x,1e400,yes,null,4.5,\n",
            ",,,z,,1\n",
            "007,+1,TRUE,7,99999999999999999999,\n",
            "1,2\n",
        ));
        let want = [
            Ok(r#"{"n":12,"p":1.10,"b":true,"c":"a \"b\"\nc","m":3,"free":"x"}"#.to_owned()),
            Ok(r#"{"n":7,"p":5,"b":false,"c":null,"m":null,"free":""}"#.to_owned()),
            Ok(r#"{"n":"x","p":"1e400","b":"yes","c":"null","m":"4.5","free":""}"#.to_owned()),
            Ok(r#"{"n":"","p":"","b":"","c":"z","m":null,"free":"1"}"#.to_owned()),
            Ok(r#"{"n":"007","p":"+1","b":"TRUE","c":"7","m":"99999999999999999999","free":""}"#.to_owned()),
            Err("invalid_csv".to_owned()),
        ];
        assert_eq!(rows, want);
    }

    #[test]
    fn a_header_that_cannot_name_members_is_refused() {
        for header in [&["a", "a"][..], &["a", ""], &[]] {
            let error = CsvTyping::new(&ByteRecord::from(header.to_vec()), &Kind::any()).unwrap_err();
            assert_eq!(error.code, "invalid_csv", "{header:?}");
        }
        let error = CsvTyping::new(&ByteRecord::from(vec![&[0xff][..]]), &Kind::any()).unwrap_err();
        assert_eq!(error.code, "invalid_utf8");
    }
}
