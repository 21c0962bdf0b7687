//! What a template names, found without rendering it.

use std::collections::BTreeSet;

use minijinja::ErrorKind;
use minijinja::machinery::{ast, parse, parse_expr};
use minijinja::syntax::SyntaxConfig;

use super::shell::{self, Misplaced};
use super::template::{self, ENVIRONMENT};

/// What a template names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct References {
    /// Names and what is looked up in them, as `["steps", "test", "output"]`; cut where what is looked
    /// up is only known when it is rendered.
    pub(super) paths: BTreeSet<Vec<String>>,
    /// Filters, tests and functions that do not exist.
    pub(super) unknown: BTreeSet<String>,
}

/// Whether a text is rendered or evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A text with expressions in it.
    Text,
    /// One expression.
    Expression,
}

/// What a template names.
///
/// # Errors
/// What is wrong with it when it is no template.
pub(super) fn references(source: &str, form: Form) -> Result<References, String> {
    let mut walk = Walk::default();
    let parsed = match form {
        Form::Text => parse(source, "prompt", SyntaxConfig::default()).map(|statement| {
            walk.statement(&statement);
        }),
        Form::Expression => {
            let expression = template::only_expression(source).unwrap_or(source);
            parse_expr(expression).map(|expression| walk.expression(&expression))
        }
    };
    parsed.map_err(|error| template::complaint(&error, source))?;
    walk.found
        .paths
        .retain(|path| path.first().is_none_or(|name| !walk.own.contains(name)));
    Ok(walk.found)
}

/// Why a value of a command may not stand where it does, as far as that can be told before the command
/// is rendered: for all conditions true and all false, and loops gone through once.
pub(super) fn misplaced(source: &str) -> Option<Misplaced> {
    let parsed = parse(source, "command", SyntaxConfig::default()).ok()?;
    [true, false].into_iter().find_map(|truth| {
        let mut line = String::new();
        outline(std::slice::from_ref(&parsed), truth, &mut line);
        shell::check(&line).err()
    })
}

/// The text of a command with a mark for every value.
fn outline(statements: &[ast::Stmt<'_>], truth: bool, line: &mut String) {
    use ast::Stmt;
    for statement in statements {
        match statement {
            Stmt::Template(template) => outline(&template.children, truth, line),
            Stmt::EmitRaw(raw) => line.push_str(&raw.raw.replace(shell::VALUE, "")),
            Stmt::EmitExpr(_) | Stmt::FilterBlock(_) => line.push(shell::VALUE),
            Stmt::ForLoop(each) if truth => outline(&each.body, truth, line),
            Stmt::ForLoop(each) => outline(&each.else_body, truth, line),
            Stmt::IfCond(condition) if truth => outline(&condition.true_body, truth, line),
            Stmt::IfCond(condition) => outline(&condition.false_body, truth, line),
            Stmt::WithBlock(with) => outline(&with.body, truth, line),
            Stmt::AutoEscape(escape) => outline(&escape.body, truth, line),
            Stmt::Set(_) | Stmt::SetBlock(_) | Stmt::Do(_) => {}
        }
    }
}

#[derive(Default)]
struct Walk {
    found: References,
    /// Names that the template itself gives a value.
    own: BTreeSet<String>,
}

impl Walk {
    fn statements(&mut self, statements: &[ast::Stmt<'_>]) {
        for statement in statements {
            self.statement(statement);
        }
    }

    fn statement(&mut self, statement: &ast::Stmt<'_>) {
        use ast::Stmt;
        match statement {
            Stmt::Template(template) => self.statements(&template.children),
            Stmt::EmitExpr(emit) => self.expression(&emit.expr),
            Stmt::EmitRaw(_) => {}
            Stmt::ForLoop(each) => {
                self.own.insert("loop".to_owned());
                self.assigned(&each.target);
                self.expression(&each.iter);
                self.optional(each.filter_expr.as_ref());
                self.statements(&each.body);
                self.statements(&each.else_body);
            }
            Stmt::IfCond(condition) => {
                self.expression(&condition.expr);
                self.statements(&condition.true_body);
                self.statements(&condition.false_body);
            }
            Stmt::WithBlock(with) => {
                for (target, value) in &with.assignments {
                    self.assigned(target);
                    self.expression(value);
                }
                self.statements(&with.body);
            }
            Stmt::Set(set) => {
                self.assigned(&set.target);
                self.expression(&set.expr);
            }
            Stmt::SetBlock(set) => {
                self.assigned(&set.target);
                self.optional(set.filter.as_ref());
                self.statements(&set.body);
            }
            Stmt::AutoEscape(escape) => {
                self.expression(&escape.enabled);
                self.statements(&escape.body);
            }
            Stmt::FilterBlock(filter) => {
                self.expression(&filter.filter);
                self.statements(&filter.body);
            }
            Stmt::Do(call) => self.call(&call.call),
        }
    }

    fn assigned(&mut self, target: &ast::Expr<'_>) {
        match target {
            ast::Expr::Var(name) => {
                self.own.insert(name.id.to_owned());
            }
            ast::Expr::List(list) => list.items.iter().for_each(|item| self.assigned(item)),
            ast::Expr::Tuple(tuple) => tuple.items.iter().for_each(|item| self.assigned(item)),
            _ => {}
        }
    }

    fn optional(&mut self, expression: Option<&ast::Expr<'_>>) {
        if let Some(expression) = expression {
            self.expression(expression);
        }
    }

    fn expression(&mut self, expression: &ast::Expr<'_>) {
        use ast::Expr;
        match expression {
            Expr::Var(_) | Expr::GetAttr(_) | Expr::GetItem(_) => self.lookup(expression),
            Expr::Const(_) => {}
            Expr::Slice(slice) => {
                self.expression(&slice.expr);
                self.optional(slice.start.as_ref());
                self.optional(slice.stop.as_ref());
                self.optional(slice.step.as_ref());
            }
            Expr::UnaryOp(operation) => self.expression(&operation.expr),
            Expr::BinOp(operation) => {
                self.expression(&operation.left);
                self.expression(&operation.right);
            }
            Expr::Compare(comparison) => {
                self.expression(&comparison.expr);
                for operand in &comparison.ops {
                    self.expression(&operand.expr);
                }
            }
            Expr::IfExpr(choice) => {
                self.expression(&choice.test_expr);
                self.expression(&choice.true_expr);
                self.optional(choice.false_expr.as_ref());
            }
            Expr::Filter(filter) => {
                let mut state = ENVIRONMENT.empty_state();
                let known = state.apply_filter(filter.name, &[]);
                if known.is_err_and(|error| error.kind() == ErrorKind::UnknownFilter) {
                    self.unknown("filter", filter.name);
                }
                self.optional(filter.expr.as_ref());
                self.arguments(&filter.args);
            }
            Expr::Test(test) => {
                let mut state = ENVIRONMENT.empty_state();
                let known = state.perform_test(test.name, &[]);
                if known.is_err_and(|error| error.kind() == ErrorKind::UnknownTest) {
                    self.unknown("test", test.name);
                }
                self.expression(&test.expr);
                self.arguments(&test.args);
            }
            Expr::Call(call) => self.call(call),
            Expr::List(list) => list.items.iter().for_each(|item| self.expression(item)),
            Expr::Tuple(tuple) => tuple.items.iter().for_each(|item| self.expression(item)),
            Expr::Map(map) => {
                map.keys.iter().for_each(|key| self.expression(key));
                map.values.iter().for_each(|value| self.expression(value));
            }
        }
    }

    fn call(&mut self, call: &ast::Call<'_>) {
        match &call.expr {
            ast::Expr::Var(function) => {
                let known = ENVIRONMENT.globals().any(|(name, _)| name == function.id);
                if !known && !self.own.contains(function.id) {
                    self.unknown("function", function.id);
                }
            }
            // A method: what it is called on is looked up.
            ast::Expr::GetAttr(method) => self.expression(&method.expr),
            other => self.expression(other),
        }
        self.arguments(&call.args);
    }

    fn arguments(&mut self, arguments: &[ast::CallArg<'_>]) {
        for argument in arguments {
            match argument {
                ast::CallArg::Pos(value)
                | ast::CallArg::Kwarg(_, value)
                | ast::CallArg::PosSplat(value)
                | ast::CallArg::KwargSplat(value) => self.expression(value),
            }
        }
    }

    /// A name and what is looked up in it, as far as it is written down.
    fn lookup(&mut self, expression: &ast::Expr<'_>) {
        if let Some(path) = self.follow(expression) {
            self.found.paths.insert(path.names);
        }
    }

    /// The path of an expression; `None` when it begins with no name.
    fn follow(&mut self, expression: &ast::Expr<'_>) -> Option<Path> {
        match expression {
            ast::Expr::Var(name) => Some(Path {
                names: vec![name.id.to_owned()],
                is_known: true,
            }),
            ast::Expr::GetAttr(attribute) => {
                let path = self.follow(&attribute.expr)?;
                Some(path.then(Some(attribute.name)))
            }
            ast::Expr::GetItem(item) => {
                let path = self.follow(&item.expr);
                self.expression(&item.subscript_expr);
                let name = match &item.subscript_expr {
                    ast::Expr::Const(constant) => constant.value.as_str(),
                    _ => None,
                };
                Some(path?.then(name))
            }
            other => {
                self.expression(other);
                None
            }
        }
    }

    fn unknown(&mut self, what: &str, name: &str) {
        self.found.unknown.insert(format!("{what} `{name}`"));
    }
}

/// Names that are looked up one in the other.
struct Path {
    names: Vec<String>,
    /// Whether every part so far is written down.
    is_known: bool,
}

impl Path {
    fn then(mut self, name: Option<&str>) -> Self {
        match name {
            Some(name) if self.is_known => self.names.push(name.to_owned()),
            _ => self.is_known = false,
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_wherever_they_stand() {
        for (source, form, paths, unknown) in [
            ("plain", Form::Text, &[][..], &[][..]),
            (
                "{{ inputs.version }} {{ steps[\"a-b\"].structured.x[0].y }}",
                Form::Text,
                &["inputs.version", "steps.a-b.structured.x"],
                &[],
            ),
            (
                "{% for f in steps.a.items if f.ok %}{{ loop.index }}{{ f.x }}{{ item }}{% endfor %}",
                Form::Text,
                &["item", "steps.a.items"],
                &[],
            ),
            (
                "{% set x = run.id %}{% with y = inputs.z %}{{ x ~ y }}{% endwith %}{% if a is ok %}{% endif %}",
                Form::Text,
                &["a", "inputs.z", "run.id"],
                &["test `ok`"],
            ),
            (
                "{{ steps[inputs.which].output | upper | lowr(inputs.x) }}",
                Form::Text,
                &["inputs.which", "inputs.x", "steps"],
                &["filter `lowr`"],
            ),
            (
                "{{ inputs.x.split(',') | join(inputs.sep) }}{{ range(3) }}{{ now() }}",
                Form::Text,
                &["inputs.sep", "inputs.x"],
                &["function `now`"],
            ),
            (
                "steps.a.ok and not (steps.b.exit_code == 1 or x is defined)",
                Form::Expression,
                &["steps.a.ok", "steps.b.exit_code", "x"],
                &[],
            ),
            ("{{ steps.a.ok }}", Form::Expression, &["steps.a.ok"], &[]),
        ] {
            let found = references(source, form).unwrap();
            let found_paths: Vec<String> = found.paths.iter().map(|path| path.join(".")).collect();
            assert_eq!(found_paths, paths, "{source}");
            assert_eq!(Vec::from_iter(found.unknown), unknown, "{source}");
        }
        for (source, form) in [
            ("{{ a", Form::Text),
            ("{% if a %}", Form::Text),
            ("{% include 'x' %}", Form::Text),
            ("a and", Form::Expression),
            ("a b", Form::Expression),
        ] {
            let error = references(source, form).unwrap_err();
            assert!(error.starts_with("the template cannot be used"), "{error}");
        }
    }
    #[test]
    fn misplaced_values_are_found_in_both_branches() {
        for (source, expected) in [
            ("git tag {{ v }} '{% raw %}{{ v }}{% endraw %}'", None),
            ("git tag '{{ v }}'", Some(Misplaced::Quoted)),
            (
                "ls '{% if a %}x{% else %}{{ v }}{% endif %}'",
                Some(Misplaced::Quoted),
            ),
            (
                "ls '{% for f in a %}{{ f }}{% endfor %}'",
                Some(Misplaced::Quoted),
            ),
            (
                "ls {% if a %}-l{% endif %} {% for f in a %} {{ f }}{% endfor %}",
                None,
            ),
            ("{{ v }} -l", Some(Misplaced::Command)),
            ("ls {{ v", None),
        ] {
            assert_eq!(misplaced(source), expected, "{source}");
        }
    }
}
