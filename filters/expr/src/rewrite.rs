//! One walk over a parsed program: replaces operators by their checked functions and assignments of metadata by theirs,
//! and notes what the program reads, writes and deletes, with the places of these in the text.

use millstream_filter_api::Reads;
use vrl::diagnostic::Span;
use vrl::parser::ast::{
    Array, Assignment, AssignmentOp, AssignmentTarget, Block, Container, Expr, FunctionArgument, FunctionCall,
    FunctionClosure, Group, Ident, Literal, Node, Not, Object, Op, Opcode, Predicate, Program, Query, QueryTarget,
    RootExpr, Unary,
};
use vrl::path::{OwnedSegment, OwnedTargetPath, PathPrefix};

use crate::assign::{self, assignable};
use crate::checked::OPERATORS;

/// What a program does to the record.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// Paths read, but for those given to `exists` and `del`, which may be missing.
    pub(crate) reads: Vec<(OwnedTargetPath, Span)>,
    /// Paths given to `exists`.
    pub(crate) tests: Vec<OwnedTargetPath>,
    /// Paths assigned.
    pub(crate) writes: Vec<(OwnedTargetPath, Span)>,
    /// Paths given to `del`.
    pub(crate) deletes: Vec<(OwnedTargetPath, Span)>,
    /// Whether an operator was replaced.
    pub(crate) rewritten: bool,
    /// Whether it is nested deeper than compiler and runtime, which recurse, should be given.
    pub(crate) too_deep: bool,
}

const MAX_DEPTH: u32 = 100;

/// Calls within arguments of calls: VRL looks at the types of arguments twice on every level.
const MAX_CALLS: u32 = 12;

impl Facts {
    /// What is read or changed of the payload. What is written counts too: it is looked at whether there is room for it.
    pub(crate) fn read_members(&self) -> Reads {
        let placed = self.reads.iter().chain(&self.writes).chain(&self.deletes).map(|(path, _)| path);
        Reads::of_paths(
            placed.chain(&self.tests).filter(|path| path.prefix == PathPrefix::Event).map(|path| &path.path),
        )
    }
}

/// Walks the program. Without `operators` they stay, so that errors are told as VRL tells them.
pub(crate) fn rewrite(program: Program, operators: bool) -> (Program, Facts) {
    let mut walk = Walk { facts: Facts::default(), operators, depth: 0, calls: 0 };
    let roots = program.into_iter().map(|root| {
        root.map(|root| match root {
            RootExpr::Expr(expr) => RootExpr::Expr(walk.expr(expr)),
            error @ RootExpr::Error(_) => error,
        })
    });
    (Program(roots.collect()), walk.facts)
}

struct Walk {
    facts: Facts,
    operators: bool,
    depth: u32,
    calls: u32,
}

impl Walk {
    fn expr(&mut self, node: Node<Expr>) -> Node<Expr> {
        if self.depth > MAX_DEPTH {
            self.facts.too_deep = true;
            return node;
        }
        self.depth += 1;
        let node = self.inner(node);
        self.depth -= 1;
        node
    }

    fn inner(&mut self, node: Node<Expr>) -> Node<Expr> {
        let (span, expr) = node.take();
        let expr = match expr {
            Expr::Container(node) => Expr::Container(node.map(|c| self.container(c))),
            Expr::IfStatement(node) => Expr::IfStatement(node.map(|mut s| {
                s.predicate = s.predicate.map(|p| match p {
                    Predicate::One(expr) => Predicate::One(Box::new(self.expr(*expr))),
                    Predicate::Many(exprs) => Predicate::Many(self.exprs(exprs)),
                });
                s.if_node = self.block(s.if_node);
                s.else_node = s.else_node.map(|b| self.block(b));
                s
            })),
            Expr::Op(node) => self.op(node),
            Expr::Assignment(node) => {
                let (span, assignment) = node.take();
                self.assignment(assignment, span)
            }
            Expr::Query(node) => {
                let span = node.span();
                Expr::Query(node.map(|query| self.query(query, span)))
            }
            Expr::FunctionCall(node) => Expr::FunctionCall(node.map(|call| self.call(call))),
            Expr::Unary(node) => Expr::Unary(node.map(|Unary::Not(not)| {
                Unary::Not(not.map(|not| {
                    let (operator, expr) = not.take();
                    Not::new(operator.span(), self.expr(*expr))
                }))
            })),
            Expr::Abort(node) => Expr::Abort(node.map(|mut abort| {
                abort.message = abort.message.map(|m| Box::new(self.expr(*m)));
                abort
            })),
            Expr::Return(node) => Expr::Return(node.map(|mut r| {
                r.expr = Box::new(self.expr(*r.expr));
                r
            })),
            leaf @ (Expr::Literal(_) | Expr::Variable(_) | Expr::Break(_)) => leaf,
        };
        Node::new(span, expr)
    }

    fn exprs(&mut self, exprs: Vec<Node<Expr>>) -> Vec<Node<Expr>> {
        exprs.into_iter().map(|e| self.expr(e)).collect()
    }

    fn block(&mut self, block: Node<Block>) -> Node<Block> {
        block.map(|b| Block(self.exprs(b.into_inner())))
    }

    fn container(&mut self, container: Container) -> Container {
        match container {
            Container::Group(node) => {
                Container::Group(Box::new(node.map(|group| Group(self.expr(group.into_inner())))))
            }
            Container::Block(node) => Container::Block(self.block(node)),
            Container::Array(node) => {
                Container::Array(node.map(|a| a.into_iter().map(|e| self.expr(e)).collect::<Array>()))
            }
            Container::Object(node) => {
                Container::Object(node.map(|o| o.into_iter().map(|(k, e)| (k, self.expr(e))).collect::<Object>()))
            }
        }
    }

    fn op(&mut self, node: Node<Op>) -> Expr {
        let (span, Op(lhs, opcode, rhs)) = node.take();
        let (lhs, rhs) = (self.expr(*lhs), self.expr(*rhs));
        let checked = OPERATORS.iter().find(|c| c.opcode == *opcode.inner());
        match checked.filter(|_| self.operators && wants_check(*opcode.inner(), lhs.inner(), rhs.inner())) {
            Some(checked) => {
                self.facts.rewritten = true;
                call(checked.name, vec![Literal::Null], vec![lhs, rhs], span)
            }
            None => Expr::Op(Node::new(span, Op(Box::new(lhs), opcode, Box::new(rhs)))),
        }
    }

    fn assignment(&mut self, assignment: Assignment, span: Span) -> Expr {
        let assignment = match assignment {
            Assignment::Single { target, op, expr } => {
                let expr = self.expr(*expr);
                self.write(&target);
                if let (Some(path), AssignmentOp::Assign) = (external(target.inner()).filter(assignable), &op) {
                    let names = path.path.segments.iter().map(|s| match s {
                        OwnedSegment::Field(name) => Literal::RawString(name.to_string()),
                        OwnedSegment::Index(i) => Literal::RawString(i.to_string()),
                    });
                    return call(assign::NAME, names.collect(), vec![expr], span);
                }
                Assignment::Single { target, op, expr: Box::new(expr) }
            }
            Assignment::Infallible { ok, err, op, expr } => {
                let expr = Box::new(self.expr(*expr));
                self.write(&ok);
                self.write(&err);
                Assignment::Infallible { ok, err, op, expr }
            }
        };
        Expr::Assignment(Node::new(span, assignment))
    }

    fn write(&mut self, target: &Node<AssignmentTarget>) {
        if let Some(path) = external(target.inner()) {
            self.facts.writes.push((path, target.span()));
        }
    }

    fn query(&mut self, mut query: Query, span: Span) -> Query {
        query.target = query.target.map(|target| match target {
            QueryTarget::FunctionCall(call) => QueryTarget::FunctionCall(self.call(call)),
            QueryTarget::Container(container) => QueryTarget::Container(self.container(container)),
            other => other,
        });
        if let QueryTarget::External(prefix) = query.target.inner() {
            self.facts.reads.push((full(*prefix, &query), span));
        }
        query
    }

    fn call(&mut self, mut call: FunctionCall) -> FunctionCall {
        if self.calls > MAX_CALLS {
            self.facts.too_deep = true;
            return call;
        }
        self.calls += 1;
        let name = call.ident.inner().as_ref().to_owned();
        let first = call.arguments.first().map(|a| &a.inner().expr);
        let place = first.and_then(|arg| match arg.inner() {
            Expr::Query(node) => match node.inner().target.inner() {
                QueryTarget::External(prefix) => Some((full(*prefix, node.inner()), node.span())),
                _ => None,
            },
            _ => None,
        });
        let skip = match (name.as_str(), place) {
            ("del", Some(place)) => {
                self.facts.deletes.push(place);
                true
            }
            ("exists", Some((path, _))) => {
                self.facts.tests.push(path);
                true
            }
            ("unnest", Some((path, span))) => {
                // Names one member, and gives copies of the whole.
                self.facts.reads.push((OwnedTargetPath::root(path.prefix), span));
                false
            }
            _ => false,
        };
        let arguments = std::mem::take(&mut call.arguments).into_iter().enumerate();
        call.arguments = arguments
            .map(|(i, node)| {
                if i == 0 && skip {
                    return node;
                }
                node.map(|mut argument| {
                    argument.expr = self.expr(argument.expr);
                    argument
                })
            })
            .collect();
        call.closure = call.closure.map(|node| {
            node.map(|mut closure| {
                closure.block = self.block(closure.block);
                closure
            })
        });
        self.calls -= 1;
        call
    }
}

fn external(target: &AssignmentTarget) -> Option<OwnedTargetPath> {
    match target {
        AssignmentTarget::External(path) => Some(path.clone().unwrap_or_else(OwnedTargetPath::event_root)),
        AssignmentTarget::Query(query) => match query.target.inner() {
            QueryTarget::External(prefix) => Some(full(*prefix, query)),
            _ => None,
        },
        AssignmentTarget::Noop | AssignmentTarget::Internal(..) => None,
    }
}

/// `name(arguments) -> || { body }`
fn call(name: &str, arguments: Vec<Literal>, body: Vec<Node<Expr>>, span: Span) -> Expr {
    let literal = |l| Node::new(span, Expr::Literal(Node::new(span, l)));
    let argument = |l| Node::new(span, FunctionArgument { ident: None, expr: literal(l) });
    let block = Node::new(span, Block(body));
    let call = FunctionCall {
        ident: Node::new(span, Ident::new(name)),
        abort_on_error: false,
        arguments: arguments.into_iter().map(argument).collect(),
        closure: Some(Node::new(span, FunctionClosure { variables: Vec::new(), block })),
    };
    Expr::FunctionCall(Node::new(span, call))
}

fn full(prefix: PathPrefix, query: &Query) -> OwnedTargetPath {
    OwnedTargetPath { prefix, path: query.path.inner().clone() }
}

/// Comparisons with a text, a boolean, null or a small number are exact as they are.
fn wants_check(opcode: Opcode, lhs: &Expr, rhs: &Expr) -> bool {
    let exact = |expr: &Expr| match expr {
        Expr::Literal(literal) => match literal.inner() {
            Literal::Integer(i) => i.unsigned_abs() < 1 << 53,
            _ => true,
        },
        _ => false,
    };
    match opcode {
        Opcode::Eq | Opcode::Ne => !exact(lhs) && !exact(rhs),
        _ => true,
    }
}
