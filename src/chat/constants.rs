//! Refuses the two things that nothing could limit later. One is a constant list that is repeated: `['x'] * 100000000 ~
//! ''` would be computed while it is compiled. The other is a chain of comparisons, `a == b == c`. All of them but the
//! last are one instruction that cannot be replaced (`compile` says what for). There, one of the two sides must be a
//! short constant, as in `0 < a < b`.

use minijinja::machinery::ast::{BinOpKind, Call, CallArg, Expr, Stmt};
use minijinja::{Error, ErrorKind};

pub(super) fn check(stmt: &Stmt) -> Result<(), Error> {
    match stmt {
        Stmt::Template(s) => all(&s.children),
        Stmt::EmitExpr(s) => expr(&s.expr).map(|_| ()),
        Stmt::EmitRaw(_) | Stmt::Continue(_) | Stmt::Break(_) => Ok(()),
        Stmt::ForLoop(s) => {
            exprs([&s.target, &s.iter].into_iter().chain(&s.filter_expr))?;
            all(&s.body)?;
            all(&s.else_body)
        }
        Stmt::IfCond(s) => {
            expr(&s.expr)?;
            all(&s.true_body)?;
            all(&s.false_body)
        }
        Stmt::WithBlock(s) => {
            exprs(s.assignments.iter().flat_map(|(target, value)| [target, value]))?;
            all(&s.body)
        }
        Stmt::Set(s) => exprs([&s.target, &s.expr]).map(|_| ()),
        Stmt::SetBlock(s) => {
            exprs([&s.target].into_iter().chain(&s.filter))?;
            all(&s.body)
        }
        Stmt::AutoEscape(s) => {
            expr(&s.enabled)?;
            all(&s.body)
        }
        Stmt::FilterBlock(s) => {
            expr(&s.filter)?;
            all(&s.body)
        }
        Stmt::Macro(s) => {
            exprs(s.args.iter().chain(&s.defaults))?;
            all(&s.body)
        }
        Stmt::CallBlock(s) => {
            call(&s.call)?;
            exprs(s.macro_decl.args.iter().chain(&s.macro_decl.defaults))?;
            all(&s.macro_decl.body)
        }
        Stmt::Do(s) => call(&s.call).map(|_| ()),
    }
}

fn all(stmts: &[Stmt]) -> Result<(), Error> {
    stmts.iter().try_for_each(check)
}

/// The knowledge that minijinja has of an expression while it compiles.
#[derive(Clone, Copy, PartialEq)]
enum Known {
    Nothing,
    Value,
    /// A constant list, or something that is made of one.
    List,
}

fn exprs<'a, 's: 'a>(of: impl IntoIterator<Item = &'a Expr<'s>>) -> Result<Known, Error> {
    of.into_iter().try_for_each(|e| expr(e).map(|_| ()))?;
    Ok(Known::Nothing)
}

fn args(of: &[CallArg]) -> Result<Known, Error> {
    exprs(of.iter().map(|arg| match arg {
        CallArg::Pos(e) | CallArg::Kwarg(_, e) | CallArg::PosSplat(e) | CallArg::KwargSplat(e) => e,
    }))
}

/// A constant that takes no time to compare with anything.
fn short(e: &Expr) -> bool {
    match e {
        Expr::Const(c) => c.value.as_object().is_none() && c.value.as_str().is_none_or(|s| s.len() <= 64),
        Expr::UnaryOp(e) => short(&e.expr),
        _ => false,
    }
}

fn list(items: &[Expr]) -> Result<Known, Error> {
    exprs(items)?;
    Ok(if items.iter().all(|e| matches!(e, Expr::Const(_))) { Known::List } else { Known::Nothing })
}

fn both(a: Known, b: Known) -> Known {
    match (a, b) {
        (Known::Nothing, _) | (_, Known::Nothing) => Known::Nothing,
        (Known::Value, Known::Value) => Known::Value,
        _ => Known::List,
    }
}

fn expr(e: &Expr) -> Result<Known, Error> {
    match e {
        Expr::Var(_) => Ok(Known::Nothing),
        Expr::Const(_) => Ok(Known::Value),
        Expr::UnaryOp(e) => expr(&e.expr),
        Expr::BinOp(e) => {
            let made = both(expr(&e.left)?, expr(&e.right)?);
            if matches!(e.op, BinOpKind::Mul) && made == Known::List {
                let text = format!("a constant list is multiplied in line {}", e.span().start_line);
                return Err(Error::new(ErrorKind::InvalidOperation, text));
            }
            Ok(made)
        }
        Expr::Compare(e) => {
            let sides: Vec<bool> = [&e.expr].into_iter().chain(e.ops.iter().map(|op| &op.expr)).map(short).collect();
            if sides[..sides.len() - 1].windows(2).any(|pair| pair == [false, false]) {
                let line = e.span().start_line;
                let text =
                    format!("the chain of comparisons in line {line} compares two variables before its end; use 'and'");
                return Err(Error::new(ErrorKind::InvalidOperation, text));
            }
            e.ops.iter().try_fold(expr(&e.expr)?, |made, op| Ok(both(made, expr(&op.expr)?)))
        }
        Expr::List(e) => list(&e.items),
        Expr::Tuple(e) => list(&e.items),
        Expr::Map(e) => exprs(e.keys.iter().chain(&e.values)),
        Expr::Slice(e) => exprs([&e.expr].into_iter().chain(&e.start).chain(&e.stop).chain(&e.step)),
        Expr::IfExpr(e) => exprs([&e.test_expr, &e.true_expr].into_iter().chain(&e.false_expr)),
        Expr::Filter(e) => {
            exprs(&e.expr)?;
            args(&e.args)
        }
        Expr::Test(e) => {
            expr(&e.expr)?;
            args(&e.args)
        }
        Expr::Call(e) => call(e),
        Expr::GetAttr(e) => exprs([&e.expr]),
        Expr::GetItem(e) => exprs([&e.expr, &e.subscript_expr]),
    }
}

fn call(e: &Call) -> Result<Known, Error> {
    expr(&e.expr)?;
    args(&e.args)
}
