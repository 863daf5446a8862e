//! Arithmetic that fails where VRL's would be silently wrong.
//!
//! VRL's own operators wrap integers at 64 bits, compare integers as floats, and trust declared types: `.quantity * 3`
//! repeats a string three times where the record brings text. `rewrite.rs` turns `a * b` into a call of the function
//! here with both sides in its closure. A closure, because the arguments of a function may not fail, and the sides of an
//! operator may. Types and constants are those of the original operator, so nothing else in the program changes.

use std::sync::Arc;

use vrl::compiler::expression::{Expr, Op};
use vrl::compiler::function::closure::Definition;
use vrl::compiler::prelude::{
    ArgumentList, Compiled, Context, Example, Expression, ExpressionError, Function, FunctionCompileContext, Parameter,
    Resolved, TypeInfo, TypeState, VrlValueArithmetic, kind,
};
use vrl::diagnostic::{DiagnosticMessage, Span};
use vrl::parser::ast::{Node, Opcode};
use vrl::value::{Kind, Value};

use crate::assign::body_of;

/// Longest string that `"ab" * n` may make.
const MAX_REPEATED: i64 = 16 * 1024 * 1024;

/// The operators that are replaced.
pub(crate) const OPERATORS: [Checked; 5] = [
    Checked { opcode: Opcode::Add, name: "checked_add" },
    Checked { opcode: Opcode::Sub, name: "checked_sub" },
    Checked { opcode: Opcode::Mul, name: "checked_mul" },
    Checked { opcode: Opcode::Eq, name: "checked_eq" },
    Checked { opcode: Opcode::Ne, name: "checked_ne" },
];

/// One operator as a function: `checked_add(null) -> || { a; b }`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checked {
    pub(crate) opcode: Opcode,
    pub(crate) name: &'static str,
}

impl Function for Checked {
    fn identifier(&self) -> &'static str {
        self.name
    }

    fn usage(&self) -> &'static str {
        "An operator with checks. Written by the compiler, never by people."
    }

    fn category(&self) -> &'static str {
        "Number"
    }

    fn return_kind(&self) -> u16 {
        kind::ANY
    }

    fn parameters(&self) -> &'static [Parameter] {
        // A closure belongs to a parameter.
        const PARAMETERS: &[Parameter] = &[Parameter::required("unit", kind::NULL, "Nothing.")];
        PARAMETERS
    }

    fn examples(&self) -> &'static [Example] {
        &[]
    }

    fn closure(&self) -> Option<Definition> {
        Some(body_of("unit", Kind::null()))
    }

    fn compile(&self, state: &TypeState, _: &mut FunctionCompileContext, arguments: ArgumentList) -> Compiled {
        let sides = arguments.required_closure().map_err(boxed)?.block.into_inner();
        let [lhs, rhs] =
            <[Expr; 2]>::try_from(sides).map_err(|_| boxed(ExpressionError::from("two sides expected")))?;
        let node = |expr: &Expr| Node::new(Span::default(), expr.clone());
        let op = Op::new(node(&lhs), Node::new(Span::default(), self.opcode), node(&rhs), state).map_err(boxed)?;
        let result = op.type_info(state).result;
        let kind = result.kind();
        let (text, float) = (kind.contains_bytes(), kind.contains_float());
        Ok(Box::new(Shared(Arc::new(CheckedOp { opcode: self.opcode, lhs, rhs, text, float, op }))))
    }
}

fn boxed(error: impl DiagnosticMessage + 'static) -> Box<dyn DiagnosticMessage> {
    Box::new(error)
}

/// VRL clones expressions as it compiles the ones around them. Behind a reference count, because the sides are held
/// twice here: copies would double with every level.
#[derive(Clone, Debug)]
struct Shared(Arc<CheckedOp>);

#[derive(Debug)]
struct CheckedOp {
    opcode: Opcode,
    lhs: Expr,
    rhs: Expr,
    /// Whether the types allow text as the result.
    text: bool,
    /// Whether they allow a float.
    float: bool,
    /// The original, for types and constants.
    op: Op,
}

impl Expression for Shared {
    fn resolve(&self, ctx: &mut Context) -> Resolved {
        self.0.resolve(ctx)
    }

    fn resolve_constant(&self, state: &TypeState) -> Option<Value> {
        self.0.op.resolve_constant(state)
    }

    fn type_info(&self, state: &TypeState) -> TypeInfo {
        self.0.op.type_info(state)
    }
}

impl CheckedOp {
    fn resolve(&self, ctx: &mut Context) -> Resolved {
        let lhs = self.lhs.resolve(ctx)?;
        let rhs = self.rhs.resolve(ctx)?;
        match (self.opcode, lhs, rhs) {
            (Opcode::Eq, lhs, rhs) => Ok(equal(&lhs, &rhs).into()),
            (Opcode::Ne, lhs, rhs) => Ok((!equal(&lhs, &rhs)).into()),
            (opcode, Value::Integer(lhs), Value::Integer(rhs)) => {
                let result = match opcode {
                    Opcode::Add => lhs.checked_add(rhs),
                    Opcode::Sub => lhs.checked_sub(rhs),
                    _ => lhs.checked_mul(rhs),
                };
                result
                    .map(Value::Integer)
                    .ok_or_else(|| format!("integer overflow: {lhs} {opcode} {rhs} does not fit 64 bits").into())
            }
            (opcode, lhs, rhs) => self.mixed(opcode, lhs, rhs),
        }
    }

    #[cold]
    fn unfit(&self, found: &Value) -> ExpressionError {
        let expected = if self.float { "a number" } else { "an integer" };
        let found = if found.is_float() { "a float, or an integer beyond 64 bits" } else { found.kind_str() };
        format!("expected {expected} by the types declared, found {found}").into()
    }

    fn mixed(&self, opcode: Opcode, lhs: Value, rhs: Value) -> Resolved {
        if !self.text
            && let Some(text) = [&lhs, &rhs].into_iter().find(|v| v.is_bytes())
        {
            return Err(self.unfit(text));
        }
        if let (Some(text), Some(n)) = (lhs.as_bytes().or(rhs.as_bytes()), lhs.as_integer().or(rhs.as_integer()))
            && opcode == Opcode::Mul
            && i64::try_from(text.len()).unwrap_or(i64::MAX).saturating_mul(n) > MAX_REPEATED
        {
            return Err(format!("a string repeated {n} times is longer than 16 MiB").into());
        }
        let result = match opcode {
            Opcode::Add => lhs.try_add(rhs),
            Opcode::Sub => lhs.try_sub(rhs),
            _ => lhs.try_mul(rhs),
        }?;
        match &result {
            Value::Float(_) if !self.float => Err(self.unfit(&result)),
            Value::Float(f) if !f.is_finite() => Err("the result is too large for a number".into()),
            _ => Ok(result),
        }
    }
}

/// Integers are compared as integers: as floats, neighbours beyond 2^53 would be equal.
fn equal(lhs: &Value, rhs: &Value) -> bool {
    match (lhs, rhs) {
        (Value::Integer(lhs), Value::Integer(rhs)) => lhs == rhs,
        _ => lhs.eq_lossy(rhs),
    }
}
