//! A schema, compiled into a list of types that refer to each other by index: names are resolved once, and types may
//! contain themselves.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value as Json};
use vrl::value::KeyString;

/// A compiled schema. Cloning shares it.
#[derive(Clone)]
pub struct AvroSchema(Arc<Compiled>);

struct Compiled {
    text: String,
    types: Vec<Type>,
    root: Id,
    names: Names,
}

/// What schemas are matched by when one reads what another has written; it changes nothing of how data are read.
#[derive(Default)]
pub(super) struct Names {
    /// Full names of records, enums and fixed, the own one first, then the aliases.
    pub types: HashMap<Id, Vec<String>>,
    /// Other names of a record's field, by the field's place.
    pub fields: HashMap<(Id, usize), Vec<String>>,
    /// The symbol that an enum reads for one it does not know.
    pub symbols: HashMap<Id, bytes::Bytes>,
}

/// Index of a type in its schema.
pub(super) type Id = usize;

/// What a datum may be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Type {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Array(Id),
    Map(Id),
    Union(Vec<Id>),
    Record(Vec<Field>),
    Enum(Vec<bytes::Bytes>),
    Fixed(usize),
    /// Digits behind the point, digits in all, and the bytes it takes where they are fixed.
    Decimal {
        scale: u32,
        precision: u32,
        size: Option<usize>,
    },
    /// As text, or as 16 bytes.
    Uuid {
        fixed: bool,
    },
    Date,
    /// Units in a second: a thousand (as `int`) or a million (as `long`).
    Time {
        per_second: i64,
    },
    /// Units in a second.
    Timestamp {
        per_second: i64,
    },
    LocalTimestamp {
        per_second: i64,
    },
    Duration,
}

/// A field of a record.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub name: KeyString,
    pub of: Id,
    /// What is written where a value has no such field: a datum.
    pub default: Option<bytes::Bytes>,
}

impl AvroSchema {
    /// Compiles the text of an `.avsc` file. The error says what is wrong with it: lower case, no full stop.
    pub fn parse(text: &str) -> Result<Self, String> {
        let json: Json = serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))?;
        apache_avro::Schema::parse(&json).map_err(|e| format!("no Avro schema: {e}"))?;
        Self::compile(text, &json, Compiler::default(), true)
    }

    /// Compiles what others have registered, with the schemas that it refers to, each behind those it refers to itself. A
    /// default that does not fit its field is as good as none: older programs have let it pass.
    ///
    /// # Errors
    /// What is wrong with it: lower case, no full stop.
    pub fn registered(text: &str, references: &[String]) -> Result<Self, String> {
        let json = |text: &str| serde_json::from_str::<Json>(text).map_err(|e| format!("not JSON: {e}"));
        let mut compiler = Compiler::default();
        for reference in references {
            compiler
                .compile(&json(reference)?, None)
                .map_err(|why| format!("a schema it refers to is wrong: {why}"))?;
        }
        // The text alone would not say all of it.
        Self::compile(text, &json(text)?, compiler, false)
    }

    fn compile(text: &str, json: &Json, mut compiler: Compiler, strict: bool) -> Result<Self, String> {
        let root = compiler.compile(json, None)?;
        let Compiler { types, defaults, names, .. } = compiler;
        let types = types.into_iter().collect::<Option<Vec<_>>>().ok_or("a type in it is never described")?;
        let mut compiled = Compiled { text: text.to_owned(), types, root, names };
        contains_itself(&compiled.types)?;
        for (id, at, value) in defaults {
            let Type::Record(fields) = &compiled.types[id] else { continue };
            let (name, of) = (fields[at].name.clone(), fields[at].of);
            let datum = match super::encode::default_datum(&compiled.types, of, &value) {
                Ok(datum) => datum,
                Err(why) if strict => {
                    return Err(format!("the default of the field `{name}` does not fit its type: {why}"));
                }
                Err(_) => continue,
            };
            if let Type::Record(fields) = &mut compiled.types[id] {
                fields[at].default = Some(datum);
            }
        }
        Ok(Self(Arc::new(compiled)))
    }

    /// Full name of the record, enum or fixed that it is; `None` for other types.
    pub fn name(&self) -> Option<&str> {
        self.0.names.types.get(&self.0.root)?.first().map(String::as_str)
    }

    /// The text it was compiled from.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    pub(super) fn types(&self) -> &[Type] {
        &self.0.types
    }

    pub(super) fn root(&self) -> Id {
        self.0.root
    }

    pub(super) fn names(&self) -> &Names {
        &self.0.names
    }
}

/// Equal schemas read and write the same bytes in the same way.
impl PartialEq for AvroSchema {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.root == other.0.root && self.0.types == other.0.types
    }
}

impl Eq for AvroSchema {}

impl fmt::Debug for AvroSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AvroSchema").field(&self.0.text).finish()
    }
}

/// A record that contains itself without a union, a list or a map between has no end.
fn contains_itself(types: &[Type]) -> Result<(), String> {
    // 0 not seen, 1 on the way, 2 fine.
    fn visit(types: &[Type], id: Id, seen: &mut [u8]) -> bool {
        match (seen[id], &types[id]) {
            (1, _) => return false,
            (0, Type::Record(fields)) => {
                seen[id] = 1;
                if !fields.iter().all(|field| visit(types, field.of, seen)) {
                    return false;
                }
            }
            _ => {}
        }
        seen[id] = 2;
        true
    }
    let mut seen = vec![0; types.len()];
    match (0..types.len()).all(|id| visit(types, id, &mut seen)) {
        true => Ok(()),
        false => Err("a record in it contains itself without end".to_owned()),
    }
}

/// Types in a schema at most; an enum or a record counts once.
const MAX_TYPES: usize = 10_000;
/// Types within types.
const MAX_DEPTH: usize = 100;

#[derive(Default)]
struct Compiler {
    types: Vec<Option<Type>>,
    known: HashMap<String, Id>,
    names: Names,
    /// (record, field, value)
    defaults: Vec<(Id, usize, Json)>,
    depth: usize,
}

impl Compiler {
    fn add(&mut self, of: Type) -> Result<Id, String> {
        if self.types.len() >= MAX_TYPES {
            return Err(format!("it has more than {MAX_TYPES} types"));
        }
        self.types.push(Some(of));
        Ok(self.types.len() - 1)
    }

    fn compile(&mut self, json: &Json, namespace: Option<&str>) -> Result<Id, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("its types are nested more than {MAX_DEPTH} deep"));
        }
        let id = match json {
            Json::String(name) => self.named(name, namespace),
            Json::Array(branches) => {
                let all =
                    branches.iter().map(|branch| self.compile(branch, namespace)).collect::<Result<Vec<_>, _>>()?;
                self.add(Type::Union(all))
            }
            Json::Object(map) => self.complex(map, namespace),
            other => Err(format!("{other} is no type")),
        };
        self.depth -= 1;
        id
    }

    fn named(&mut self, name: &str, namespace: Option<&str>) -> Result<Id, String> {
        if let Some(primitive) = primitive(name) {
            return self.add(primitive);
        }
        let full = full_name(name, namespace);
        let known = self.known.get(&full).or_else(|| self.known.get(name));
        known.copied().ok_or_else(|| format!("the type `{full}` is not known"))
    }

    fn complex(&mut self, map: &Map<String, Json>, namespace: Option<&str>) -> Result<Id, String> {
        let word = match map.get("type") {
            Some(Json::String(word)) => word.as_str(),
            // `{ "type": { … } }`, which says no more than what is inside.
            Some(inner) => return self.compile(inner, namespace),
            None => return Err("a type without `type`".to_owned()),
        };
        match word {
            "array" => {
                let items = self.compile(map.get("items").ok_or("an array without `items`")?, namespace)?;
                self.add(Type::Array(items))
            }
            "map" => {
                let values = self.compile(map.get("values").ok_or("a map without `values`")?, namespace)?;
                self.add(Type::Map(values))
            }
            "record" | "error" => self.record(map, namespace),
            "enum" => {
                let symbols = map.get("symbols").and_then(Json::as_array).ok_or("an enum without `symbols`")?;
                let symbols =
                    symbols.iter().filter_map(Json::as_str).map(|s| bytes::Bytes::copy_from_slice(s.as_bytes()));
                let of = Type::Enum(symbols.collect());
                let id = self.define(map, namespace, of)?;
                if let Some(default) = map.get("default").and_then(Json::as_str) {
                    self.names.symbols.insert(id, bytes::Bytes::copy_from_slice(default.as_bytes()));
                }
                Ok(id)
            }
            "fixed" => {
                let size = map.get("size").and_then(Json::as_u64).ok_or("a fixed without `size`")?;
                let size = usize::try_from(size).map_err(|_| "a fixed that is too large")?;
                self.define(map, namespace, logical(map, &Type::Fixed(size)).unwrap_or(Type::Fixed(size)))
            }
            other => match primitive(other) {
                Some(primitive) => {
                    let of = logical(map, &primitive).unwrap_or(primitive);
                    self.add(of)
                }
                None => self.named(other, namespace),
            },
        }
    }

    fn define(&mut self, map: &Map<String, Json>, namespace: Option<&str>, of: Type) -> Result<Id, String> {
        let id = self.add(of)?;
        self.name(map, own_name(map, namespace)?, id);
        Ok(id)
    }

    fn name(&mut self, map: &Map<String, Json>, name: String, id: Id) {
        let namespace = name.rsplit_once('.').map(|(namespace, _)| namespace);
        let aliases = strings(map.get("aliases")).map(|alias| full_name(alias, namespace));
        self.names.types.insert(id, std::iter::once(name.clone()).chain(aliases).collect());
        self.known.insert(name, id);
    }

    fn record(&mut self, map: &Map<String, Json>, namespace: Option<&str>) -> Result<Id, String> {
        let name = own_name(map, namespace)?;
        let namespace = name.rsplit_once('.').map(|(namespace, _)| namespace.to_owned());
        // Before its fields, which may be of the same type.
        self.types.push(None);
        let id = self.types.len() - 1;
        self.name(map, name, id);
        let said = map.get("fields").and_then(Json::as_array).ok_or("a record without `fields`")?;
        let mut fields = Vec::with_capacity(said.len());
        for field in said {
            let name = field.get("name").and_then(Json::as_str).ok_or("a field without `name`")?;
            let of = self.compile(field.get("type").ok_or("a field without `type`")?, namespace.as_deref())?;
            let aliases: Vec<String> = strings(field.get("aliases")).map(str::to_owned).collect();
            if !aliases.is_empty() {
                self.names.fields.insert((id, fields.len()), aliases);
            }
            if let Some(default) = field.get("default") {
                self.defaults.push((id, fields.len(), default.clone()));
            }
            fields.push(Field { name: name.into(), of, default: None });
        }
        self.types[id] = Some(Type::Record(fields));
        Ok(id)
    }
}

fn strings(list: Option<&Json>) -> impl Iterator<Item = &str> {
    list.and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str)
}

fn own_name(map: &Map<String, Json>, namespace: Option<&str>) -> Result<String, String> {
    let name = map.get("name").and_then(Json::as_str).ok_or("a type that needs a `name` has none")?;
    let namespace = map.get("namespace").and_then(Json::as_str).or(namespace);
    Ok(full_name(name, namespace))
}

fn full_name(name: &str, namespace: Option<&str>) -> String {
    match namespace.filter(|namespace| !name.contains('.') && !namespace.is_empty()) {
        Some(namespace) => format!("{namespace}.{name}"),
        None => name.to_owned(),
    }
}

fn primitive(name: &str) -> Option<Type> {
    Some(match name {
        "null" => Type::Null,
        "boolean" => Type::Boolean,
        "int" => Type::Int,
        "long" => Type::Long,
        "float" => Type::Float,
        "double" => Type::Double,
        "bytes" => Type::Bytes,
        "string" => Type::String,
        _ => return None,
    })
}

/// The logical type; one that does not fit its base is ignored, as the specification says.
fn logical(map: &Map<String, Json>, base: &Type) -> Option<Type> {
    Some(match (map.get("logicalType")?.as_str()?, base) {
        ("decimal", Type::Bytes | Type::Fixed(_)) => {
            let number = |key: &str| map.get(key).and_then(Json::as_u64).and_then(|n| u32::try_from(n).ok());
            let (precision, scale) = (number("precision")?, number("scale").unwrap_or(0));
            let size = if let Type::Fixed(size) = base { Some(*size) } else { None };
            (precision > 0 && scale <= precision && size != Some(0)).then_some(Type::Decimal {
                scale,
                precision,
                size,
            })?
        }
        ("uuid", Type::String) => Type::Uuid { fixed: false },
        ("uuid", Type::Fixed(16)) => Type::Uuid { fixed: true },
        ("duration", Type::Fixed(12)) => Type::Duration,
        ("date", Type::Int) => Type::Date,
        ("time-millis", Type::Int) => Type::Time { per_second: 1_000 },
        ("time-micros", Type::Long) => Type::Time { per_second: 1_000_000 },
        ("timestamp-millis", Type::Long) => Type::Timestamp { per_second: 1_000 },
        ("timestamp-micros", Type::Long) => Type::Timestamp { per_second: 1_000_000 },
        ("timestamp-nanos", Type::Long) => Type::Timestamp { per_second: 1_000_000_000 },
        ("local-timestamp-millis", Type::Long) => Type::LocalTimestamp { per_second: 1_000 },
        ("local-timestamp-micros", Type::Long) => Type::LocalTimestamp { per_second: 1_000_000 },
        ("local-timestamp-nanos", Type::Long) => Type::LocalTimestamp { per_second: 1_000_000_000 },
        _ => return None,
    })
}
