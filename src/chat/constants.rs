//! Refuses a constant list that is repeated: `['x'] * 100000000 ~ ''` would be computed while it is compiled, which nothing limits.

use minijinja::machinery::ast::{BinOpKind, CallArg, Expr, Stmt};
use minijinja::{Error, ErrorKind};

pub(super) fn check(stmt: &Stmt) -> Result<(), Error> {
    match stmt {
        Stmt::Template(s) => all(&s.children),
        Stmt::EmitExpr(s) => expr(&s.expr),
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
        Stmt::Set(s) => exprs([&s.target, &s.expr]),
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
            expr(&s.call.expr)?;
            args(&s.call.args)?;
            exprs(s.macro_decl.args.iter().chain(&s.macro_decl.defaults))?;
            all(&s.macro_decl.body)
        }
        Stmt::Do(s) => {
            expr(&s.call.expr)?;
            args(&s.call.args)
        }
    }
}

fn all(stmts: &[Stmt]) -> Result<(), Error> {
    stmts.iter().try_for_each(check)
}

fn exprs<'a, 's: 'a>(of: impl IntoIterator<Item = &'a Expr<'s>>) -> Result<(), Error> {
    of.into_iter().try_for_each(expr)
}

fn args(of: &[CallArg]) -> Result<(), Error> {
    of.iter().try_for_each(|arg| match arg {
        CallArg::Pos(e) | CallArg::Kwarg(_, e) | CallArg::PosSplat(e) | CallArg::KwargSplat(e) => expr(e),
    })
}

fn expr(e: &Expr) -> Result<(), Error> {
    match e {
        Expr::Var(_) | Expr::Const(_) => Ok(()),
        Expr::Slice(e) => exprs([&e.expr].into_iter().chain(&e.start).chain(&e.stop).chain(&e.step)),
        Expr::UnaryOp(e) => expr(&e.expr),
        Expr::BinOp(e) => {
            let both = [&e.left, &e.right];
            if matches!(e.op, BinOpKind::Mul) && both.iter().all(|x| is_constant(x)) && both.iter().any(|x| has_list(x)) {
                let text = format!("a constant list is multiplied in line {}", e.span().start_line);
                return Err(Error::new(ErrorKind::InvalidOperation, text));
            }
            exprs(both)
        }
        Expr::Compare(e) => {
            expr(&e.expr)?;
            exprs(e.ops.iter().map(|op| &op.expr))
        }
        Expr::IfExpr(e) => exprs([&e.test_expr, &e.true_expr].into_iter().chain(&e.false_expr)),
        Expr::Filter(e) => {
            exprs(&e.expr)?;
            args(&e.args)
        }
        Expr::Test(e) => {
            expr(&e.expr)?;
            args(&e.args)
        }
        Expr::GetAttr(e) => expr(&e.expr),
        Expr::GetItem(e) => exprs([&e.expr, &e.subscript_expr]),
        Expr::Call(e) => {
            expr(&e.expr)?;
            args(&e.args)
        }
        Expr::List(e) => exprs(&e.items),
        Expr::Tuple(e) => exprs(&e.items),
        Expr::Map(e) => exprs(e.keys.iter().chain(&e.values)),
    }
}

/// Whether minijinja computes it while it compiles.
fn is_constant(e: &Expr) -> bool {
    match e {
        Expr::Const(_) => true,
        Expr::UnaryOp(e) => is_constant(&e.expr),
        Expr::BinOp(e) => is_constant(&e.left) && is_constant(&e.right),
        Expr::Compare(e) => is_constant(&e.expr) && e.ops.iter().all(|op| is_constant(&op.expr)),
        Expr::List(e) => e.items.iter().all(|x| matches!(x, Expr::Const(_))),
        Expr::Tuple(e) => e.items.iter().all(|x| matches!(x, Expr::Const(_))),
        _ => false,
    }
}

/// Whether it may be a list.
fn has_list(e: &Expr) -> bool {
    match e {
        Expr::List(_) | Expr::Tuple(_) => true,
        Expr::BinOp(e) => has_list(&e.left) || has_list(&e.right),
        _ => false,
    }
}
