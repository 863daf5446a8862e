//! Assignments to `%key` and `%headers.NAME` as a function.
//!
//! VRL checks the parents of an assigned metadata path against the type of the payload: with typed payloads
//! `%headers.a = "x"` would not compile. `rewrite.rs` turns it into a call of the function here, with the value in its
//! closure, because a function's arguments may not fail.

use vrl::compiler::function::Closure;
use vrl::compiler::function::closure::{Definition, Input, Output};
use vrl::compiler::prelude::{
    ArgumentList, Compiled, Context, Example, Expression, Function, FunctionCompileContext, Parameter, Resolved,
    TypeInfo, TypeState, kind,
};
use vrl::diagnostic::DiagnosticMessage;
use vrl::path::{OwnedSegment, OwnedTargetPath, OwnedValuePath, PathPrefix};
use vrl::value::Kind;

/// `assign_metadata("headers", "a") -> || { "x" }`; gives the value, as an assignment does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AssignMetadata;

pub(crate) const NAME: &str = "assign_metadata";

/// Whether a path is one that may be assigned this way.
pub(crate) fn assignable(path: &OwnedTargetPath) -> bool {
    path.prefix == PathPrefix::Metadata
        && match path.path.segments.as_slice() {
            [OwnedSegment::Field(name)] => name.as_str() == "key",
            [OwnedSegment::Field(name), OwnedSegment::Field(_)] => name.as_str() == "headers",
            _ => false,
        }
}

/// A closure definition without variables, for a function whose first parameter is of this kind.
pub(crate) fn body_of(parameter_keyword: &'static str, kind: Kind) -> Definition {
    let example = Example {
        title: "",
        source: "",
        input: None,
        result: Ok(""),
        file: "",
        line: 0,
        deterministic: true,
        skip: true,
    };
    let output = Output::Kind(Kind::any().or_undefined());
    let input = Input { parameter_keyword, kind, variables: Vec::new(), output, example };
    Definition { inputs: vec![input], is_iterator: false, supports_break: true }
}

impl Function for AssignMetadata {
    fn identifier(&self) -> &'static str {
        NAME
    }

    fn usage(&self) -> &'static str {
        "Assigns metadata. Written by the compiler, never by people."
    }

    fn category(&self) -> &'static str {
        "Path"
    }

    fn return_kind(&self) -> u16 {
        kind::ANY
    }

    fn parameters(&self) -> &'static [Parameter] {
        const PARAMETERS: &[Parameter] = &[
            Parameter::required("name", kind::BYTES, "`key` or `headers`."),
            Parameter::optional("header", kind::BYTES, "The header's name."),
        ];
        PARAMETERS
    }

    fn examples(&self) -> &'static [Example] {
        &[]
    }

    fn pure(&self) -> bool {
        false
    }

    fn closure(&self) -> Option<Definition> {
        Some(body_of("name", Kind::bytes()))
    }

    fn compile(&self, state: &TypeState, _: &mut FunctionCompileContext, arguments: ArgumentList) -> Compiled {
        let boxed = |e| Box::new(e) as Box<dyn DiagnosticMessage>;
        let mut path = OwnedValuePath::root();
        for keyword in ["name", "header"] {
            if let Some(value) = arguments.optional_literal(keyword, state).map_err(boxed)? {
                path.push_field(&value.to_string_lossy());
            }
        }
        let value = arguments.required_closure().map_err(boxed)?;
        Ok(Box::new(Assign { path: OwnedTargetPath::metadata(path), value }))
    }
}

#[derive(Clone, Debug)]
struct Assign {
    path: OwnedTargetPath,
    value: Closure,
}

impl Expression for Assign {
    fn resolve(&self, ctx: &mut Context) -> Resolved {
        let value = self.value.block.resolve(ctx)?;
        ctx.target_mut().target_insert(&self.path, value.clone())?;
        Ok(value)
    }

    fn type_info(&self, state: &TypeState) -> TypeInfo {
        let TypeInfo { mut state, result } = self.value.block.type_info(state);
        let mut metadata = state.external.metadata_kind().clone();
        metadata.insert(&self.path.path, result.kind().clone());
        state.external.update_metadata(metadata);
        TypeInfo::new(state, result.impure())
    }
}
