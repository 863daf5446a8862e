//! The functions that expressions may call: VRL's own, less what does not belong in a pipeline, and replacements where
//! VRL's are silently wrong or cannot be seeded.

use std::sync::LazyLock;

use vrl::compiler::prelude::{
    ArgumentList, Compiled, Context, Example, Expression, Function, FunctionCompileContext, FunctionExpression,
    Parameter, Resolved, TypeDef, TypeState, kind,
};
use vrl::compiler::prelude::{ExpressionError, VrlValueConvert};
use vrl::value::{Kind, Value};

use crate::assign::AssignMetadata;
use crate::checked::OPERATORS;

/// `log` writes a line per record; `parse_groks` can read files.
const LEFT_OUT: [&str; 2] = ["log", "parse_groks"];

const REPLACED: [Replaced; 4] = [Replaced::Abs, Replaced::RandomInt, Replaced::RandomFloat, Replaced::RandomBool];

/// What people may call, and what `rewrite.rs` calls.
pub(crate) static FUNCTIONS: LazyLock<Vec<Box<dyn Function>>> = LazyLock::new(|| {
    let replaced = |name: &str| REPLACED.iter().any(|r| r.identifier() == name);
    let mut functions = vrl::stdlib::all();
    functions.retain(|f| !LEFT_OUT.contains(&f.identifier()) && !replaced(f.identifier()));
    functions.extend(REPLACED.iter().map(|r| Box::new(*r) as Box<dyn Function>));
    functions.extend(OPERATORS.iter().map(|o| Box::new(*o) as Box<dyn Function>));
    functions.push(Box::new(AssignMetadata));
    functions
});

/// `abs` of the lowest integer wraps in VRL. The random functions draw from a generator that a run can seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Replaced {
    Abs,
    RandomInt,
    RandomFloat,
    RandomBool,
}

impl Function for Replaced {
    fn identifier(&self) -> &'static str {
        match self {
            Self::Abs => "abs",
            Self::RandomInt => "random_int",
            Self::RandomFloat => "random_float",
            Self::RandomBool => "random_bool",
        }
    }

    fn usage(&self) -> &'static str {
        match self {
            Self::Abs => "The absolute value of a number.",
            Self::RandomInt => "A random integer from `min` up to, not including, `max`.",
            Self::RandomFloat => "A random float from `min` up to, not including, `max`.",
            Self::RandomBool => "True or false at random.",
        }
    }

    fn category(&self) -> &'static str {
        if *self == Self::Abs { "Number" } else { "Random" }
    }

    fn return_kind(&self) -> u16 {
        match self {
            Self::Abs => kind::INTEGER | kind::FLOAT,
            Self::RandomInt => kind::INTEGER,
            Self::RandomFloat => kind::FLOAT,
            Self::RandomBool => kind::BOOLEAN,
        }
    }

    fn parameters(&self) -> &'static [Parameter] {
        const ABS: &[Parameter] = &[Parameter::required("value", kind::FLOAT | kind::INTEGER, "The number.")];
        const INT: &[Parameter] = &[
            Parameter::required("min", kind::INTEGER, "The lowest value."),
            Parameter::required("max", kind::INTEGER, "One more than the highest."),
        ];
        const FLOAT: &[Parameter] = &[
            Parameter::required("min", kind::FLOAT, "The lowest value."),
            Parameter::required("max", kind::FLOAT, "The bound above."),
        ];
        match self {
            Self::Abs => ABS,
            Self::RandomInt => INT,
            Self::RandomFloat => FLOAT,
            Self::RandomBool => &[],
        }
    }

    fn examples(&self) -> &'static [Example] {
        &[]
    }

    fn compile(&self, _: &TypeState, _: &mut FunctionCompileContext, arguments: ArgumentList) -> Compiled {
        let names = self.parameters().iter().map(|p| p.keyword);
        let arguments = names.map(|name| arguments.required(name)).collect();
        Ok(Call { function: *self, arguments }.as_expr())
    }
}

#[derive(Clone, Debug)]
struct Call {
    function: Replaced,
    arguments: Vec<Box<dyn Expression>>,
}

impl FunctionExpression for Call {
    fn resolve(&self, ctx: &mut Context) -> Resolved {
        let mut argument = |i: usize| self.arguments[i].resolve(ctx);
        match self.function {
            Replaced::Abs => match argument(0)? {
                Value::Integer(i) => i
                    .checked_abs()
                    .map(Value::Integer)
                    .ok_or_else(|| "integer overflow: the lowest integer has no absolute value".into()),
                other => Ok(Value::from_f64_or_zero(other.try_float()?.abs())),
            },
            Replaced::RandomInt => {
                let (min, max) = (argument(0)?.try_integer()?, argument(1)?.try_integer()?);
                if min >= max { Err(empty_range()) } else { Ok(Value::Integer(fastrand::i64(min..max))) }
            }
            Replaced::RandomFloat => {
                let (min, max) = (argument(0)?.try_float()?, argument(1)?.try_float()?);
                if min >= max {
                    return Err(empty_range());
                }
                Ok(Value::from_f64_or_zero((min + fastrand::f64() * (max - min)).clamp(min, max)))
            }
            Replaced::RandomBool => Ok(Value::Boolean(fastrand::bool())),
        }
    }

    fn type_def(&self, state: &TypeState) -> TypeDef {
        match self.function {
            Replaced::Abs => match Kind::from(self.arguments[0].type_def(state)) {
                k if k.is_float() || k.is_integer() => k.into(),
                _ => Kind::integer().or_float().into(),
            },
            // As VRL's: infallible only where the bounds are known to be in order.
            Replaced::RandomInt | Replaced::RandomFloat => {
                let kind = if self.function == Replaced::RandomInt { TypeDef::integer() } else { TypeDef::float() };
                let bound = |i: usize| self.arguments[i].resolve_constant(state);
                let in_order = match (bound(0), bound(1)) {
                    (Some(Value::Integer(min)), Some(Value::Integer(max))) => min < max,
                    (Some(Value::Float(min)), Some(Value::Float(max))) => min < max,
                    _ => false,
                };
                kind.maybe_fallible(!in_order).impure()
            }
            Replaced::RandomBool => TypeDef::boolean().impure(),
        }
    }
}

fn empty_range() -> ExpressionError {
    "`max` must be greater than `min`".into()
}
