//! Whether values of a type can be written, as far as the type says it.

use millstream_filter_api::Kind;
use vrl::value::kind::{Collection, Field as KindField};

use super::schema::{Form, Known, Of, ProtobufSchema, Scalar, Types};

/// Misfits that are told at most: a type of another message has them all over.
const MAX_TOLD: usize = 20;
/// Messages within messages that are looked at.
const MAX_DEPTH: usize = 16;

impl ProtobufSchema {
    /// Why no value of this type, or none with such a field, can be written: one line for each place, with its path. Where
    /// the type leaves it open nothing is said; the value itself will show.
    pub fn misfits(&self, kind: &Kind) -> Vec<String> {
        let mut fitting = Fitting { types: self.types(), path: String::new(), told: Vec::new() };
        fitting.fit(self.root(), kind, 0);
        fitting.told.truncate(MAX_TOLD);
        fitting.told
    }
}

struct Fitting<'a> {
    types: &'a Types,
    path: String,
    told: Vec<String>,
}

impl Fitting<'_> {
    /// Whether it is worth to look inside.
    fn takes(&mut self, wants: &Kind, kind: &Kind, depth: usize) -> bool {
        if depth > MAX_DEPTH || self.told.len() > MAX_TOLD || kind.is_any() || kind.is_never() {
            return false;
        }
        let mut given = kind.clone();
        given.remove_undefined();
        let fits = given.is_never() || given.intersects(wants);
        if !fits {
            let place = if self.path.is_empty() { "." } else { &self.path };
            self.told.push(format!("`{place}` is of type {given}, and it wants {wants}"));
        }
        fits
    }

    fn within(&mut self, segment: &str, look: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        self.path.push_str(segment);
        look(self);
        self.path.truncate(length);
    }

    fn fit(&mut self, of: Of, kind: &Kind, depth: usize) {
        if self.takes(&wanted(self.types, of), kind, depth)
            && let (Of::Message(at) | Of::Group(at), Some(object)) = (of, kind.as_object())
        {
            self.message(at, object, depth);
        }
    }

    fn message(&mut self, at: usize, object: &Collection<KindField>, depth: usize) {
        let types = self.types;
        let message = &types.messages[at];
        let unknown = object.unknown_kind();
        for field in &message.fields {
            let given = object.known().get(&KindField::from(field.name.as_str())).unwrap_or(&unknown);
            let mut alone = given.clone();
            alone.remove_undefined();
            self.within(&format!(".{}", field.name), |fitting| match (alone.is_never(), field.form) {
                (true, Form::Required) => {
                    let path = fitting.path.clone();
                    fitting.told.push(format!("`{path}` is missing, and is required"));
                }
                (true, _) => {}
                (false, Form::List { .. }) => {
                    let Some(array) =
                        fitting.inside(Kind::array(Collection::any()), given, depth).and_then(Kind::as_array)
                    else {
                        return;
                    };
                    let rest = array.unknown_kind();
                    fitting.within("[]", |fitting| {
                        for given in array.known().values().chain([&rest]) {
                            fitting.fit(field.of, given, depth + 1);
                        }
                    });
                }
                (false, Form::Map(_)) => {
                    let Some(entries) =
                        fitting.inside(Kind::object(Collection::any()), given, depth).and_then(Kind::as_object)
                    else {
                        return;
                    };
                    for (name, given) in entries.known() {
                        fitting.within(&format!(".{name}"), |fitting| fitting.fit(field.of, given, depth + 1));
                    }
                }
                // Null is as good as nothing.
                (false, Form::Optional) => {
                    alone.remove_null();
                    fitting.fit(field.of, &alone, depth + 1);
                }
                (false, Form::Implicit | Form::Required) => fitting.fit(field.of, given, depth + 1),
            });
        }
        let names: Vec<&str> = message.fields.iter().map(|field| field.name.as_str()).collect();
        for (name, given) in object.known() {
            let certain = !given.contains_undefined() && !given.is_never();
            if certain && !names.contains(&name.as_str()) {
                self.told.push(format!("`{}.{name}` is no field of `{}`", self.path, message.name));
            }
        }
    }

    fn inside<'k>(&mut self, wants: Kind, given: &'k Kind, depth: usize) -> Option<&'k Kind> {
        self.takes(&wants, given, depth).then_some(given)
    }
}

/// Every type of which some value can be written, without what is inside.
fn wanted(types: &Types, of: Of) -> Kind {
    match of {
        Of::Enum(at) if types.enums[at].null => Kind::null(),
        Of::Enum(_) => Kind::bytes().or_integer(),
        Of::Message(_) | Of::Group(_) | Of::Known(Known::Struct) => Kind::object(Collection::any()),
        Of::Known(Known::List) => Kind::array(Collection::any()),
        Of::Known(Known::Value) => Kind::any(),
        Of::Known(Known::Timestamp) => Kind::timestamp().or_bytes(),
        Of::Known(Known::Duration) => Kind::bytes(),
        Of::Scalar(scalar) | Of::Known(Known::Wrapper(scalar)) => match scalar {
            Scalar::Double | Scalar::Float => Kind::float().or_integer(),
            Scalar::Uint64 { .. } | Scalar::Fixed64 { .. } => Kind::integer().or_bytes(),
            Scalar::Bool => Kind::boolean(),
            Scalar::String => Kind::bytes().or_timestamp(),
            Scalar::Bytes => Kind::bytes(),
            _ => Kind::integer(),
        },
    }
}
