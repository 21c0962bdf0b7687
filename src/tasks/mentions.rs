//! What may come into a prompt that is only known once steps have ended: how often, and whether that can be told.

use std::collections::BTreeMap;

use minijinja::machinery::{ast, parse};
use minijinja::syntax::SyntaxConfig;

/// Filters that give no more text than they are given, nor any that takes more tokens.
const NO_LARGER: [&str; 19] = [
    "abs",
    "bool",
    "capitalize",
    "count",
    "d",
    "default",
    "first",
    "float",
    "int",
    "keys",
    "last",
    "length",
    "lower",
    "max",
    "min",
    "round",
    "safe",
    "trim",
    "unique",
];

/// Something of which a template may hold the words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mention {
    /// What a step said: its output, or the same in its structured form.
    Said(String),
    /// What went wrong with a step.
    Error(String),
    /// All that is known of a step, its items included.
    Step(String),
    /// An input of the task.
    Input(String),
    /// The item of a `for_each`.
    Item,
}

/// What may come into a template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mentions {
    /// How often at most.
    pub times: BTreeMap<Mention, u64>,
    /// It may be any number of times, or any size: in a loop, or behind a filter that makes more of it.
    pub is_endless: bool,
}

impl Mentions {
    fn one(mention: Mention) -> Self {
        Self {
            times: BTreeMap::from([(mention, 1)]),
            is_endless: false,
        }
    }

    fn endless() -> Self {
        Self {
            is_endless: true,
            ..Self::default()
        }
    }

    fn and(mut self, other: Self) -> Self {
        for (mention, times) in other.times {
            let known = self.times.entry(mention).or_default();
            *known = known.saturating_add(times);
        }
        self.is_endless |= other.is_endless;
        self
    }

    /// The same where what is there may be made larger; what is not there stays nothing.
    fn enlarged(self) -> Self {
        if self.times.is_empty() {
            self
        } else {
            Self::endless()
        }
    }
}

/// What may come into a template when it is rendered. A template that cannot be rendered holds nothing.
pub fn mentions(source: &str) -> Mentions {
    let mut names = Names::default();
    match parse(source, "prompt", SyntaxConfig::default()) {
        Ok(parsed) => names.statement(&parsed),
        Err(_) => Mentions::default(),
    }
}

/// The names that the template itself gives a value, and what may be in each.
#[derive(Default)]
struct Names(BTreeMap<String, Mentions>);

impl Names {
    fn statements(&mut self, statements: &[ast::Stmt<'_>]) -> Mentions {
        let mut all = Mentions::default();
        for statement in statements {
            all = all.and(self.statement(statement));
        }
        all
    }

    fn statement(&mut self, statement: &ast::Stmt<'_>) -> Mentions {
        use ast::Stmt;
        match statement {
            Stmt::Template(template) => self.statements(&template.children),
            Stmt::EmitExpr(emit) => self.expression(&emit.expr),
            Stmt::EmitRaw(_) => Mentions::default(),
            // Either branch may be taken: both is more than any.
            Stmt::IfCond(condition) => {
                let then = self.statements(&condition.true_body);
                then.and(self.statements(&condition.false_body))
            }
            Stmt::WithBlock(with) => {
                for (target, value) in &with.assignments {
                    self.assign(target, value);
                }
                self.statements(&with.body)
            }
            Stmt::Set(set) => {
                self.assign(&set.target, &set.expr);
                Mentions::default()
            }
            _ => Mentions::endless(),
        }
    }

    fn assign(&mut self, target: &ast::Expr<'_>, value: &ast::Expr<'_>) {
        let held = self.expression(value);
        let ast::Expr::Var(name) = target else { return };
        let known = self.0.remove(name.id).unwrap_or_default();
        self.0.insert(name.id.to_owned(), known.and(held));
    }

    /// What the value of an expression may hold.
    fn expression(&self, expression: &ast::Expr<'_>) -> Mentions {
        use ast::{BinOpKind, Expr};
        match expression {
            Expr::Var(_) | Expr::GetAttr(_) | Expr::GetItem(_) => self.looked_up(expression),
            // Truth values and numbers.
            Expr::Const(_) | Expr::UnaryOp(_) | Expr::Compare(_) | Expr::Test(_) => {
                Mentions::default()
            }
            Expr::Slice(slice) => self.expression(&slice.expr),
            Expr::BinOp(operation) => {
                let left = self.expression(&operation.left);
                let both = left.and(self.expression(&operation.right));
                match operation.op {
                    // A text so many times.
                    BinOpKind::Mul | BinOpKind::Pow => both.enlarged(),
                    _ => both,
                }
            }
            Expr::IfExpr(choice) => {
                let otherwise = choice.false_expr.as_ref();
                let otherwise = otherwise.map(|value| self.expression(value));
                let then = self.expression(&choice.true_expr);
                then.and(otherwise.unwrap_or_default())
            }
            Expr::Filter(filter) => {
                let given = filter.expr.as_ref().map(|given| self.expression(given));
                let given = given.unwrap_or_default().and(self.arguments(&filter.args));
                if NO_LARGER.contains(&filter.name) || is_close_join(filter) {
                    given
                } else {
                    given.enlarged()
                }
            }
            Expr::Call(call) => {
                let on = match &call.expr {
                    Expr::GetAttr(method) => self.expression(&method.expr),
                    _ => Mentions::default(),
                };
                on.and(self.arguments(&call.args)).enlarged()
            }
            Expr::List(list) => self.all(list.items.iter()),
            Expr::Tuple(tuple) => self.all(tuple.items.iter()),
            Expr::Map(map) => self.all(map.keys.iter().chain(&map.values)),
        }
    }

    fn all<'e, 'a: 'e>(&self, items: impl Iterator<Item = &'e ast::Expr<'a>>) -> Mentions {
        items.fold(Mentions::default(), |all, item| {
            all.and(self.expression(item))
        })
    }

    fn arguments(&self, arguments: &[ast::CallArg<'_>]) -> Mentions {
        self.all(arguments.iter().map(|argument| match argument {
            ast::CallArg::Pos(value)
            | ast::CallArg::Kwarg(_, value)
            | ast::CallArg::PosSplat(value)
            | ast::CallArg::KwargSplat(value) => value,
        }))
    }

    fn looked_up(&self, expression: &ast::Expr<'_>) -> Mentions {
        let Some(path) = path(expression) else {
            return match expression {
                ast::Expr::GetAttr(attribute) => self.expression(&attribute.expr),
                ast::Expr::GetItem(item) => self.expression(&item.expr),
                _ => Mentions::default(),
            };
        };
        let path: Vec<Option<&str>> = path.iter().map(|name| name.as_deref()).collect();
        match path.as_slice() {
            [Some(own), ..] if self.0.contains_key(*own) => {
                self.0.get(*own).cloned().unwrap_or_default()
            }
            [Some("steps"), Some(id), rest @ ..] => {
                let id = (*id).to_owned();
                match rest {
                    [Some("output" | "structured"), ..] => Mentions::one(Mention::Said(id)),
                    [Some("error"), ..] => Mentions::one(Mention::Error(id)),
                    [Some("ok" | "exit_code" | "skipped"), ..] => Mentions::default(),
                    _ => Mentions::one(Mention::Step(id)),
                }
            }
            [Some("inputs"), Some(name), ..] => Mentions::one(Mention::Input((*name).to_owned())),
            [Some("steps" | "inputs"), ..] => Mentions::endless(),
            [Some("item"), ..] => Mentions::one(Mention::Item),
            _ => Mentions::default(),
        }
    }
}

/// `join` with something short, which takes less than what stands between the items of a list.
fn is_close_join(filter: &ast::Filter<'_>) -> bool {
    let is_short = |argument: &ast::CallArg<'_>| match argument {
        ast::CallArg::Pos(ast::Expr::Const(text)) => {
            text.value.as_str().is_some_and(|text| text.len() <= 2)
        }
        _ => false,
    };
    filter.name == "join" && filter.args.iter().all(is_short)
}

/// A name and what is looked up in it, `None` for what is only known when it is rendered; `None` as a whole where it
/// begins with no name.
fn path(expression: &ast::Expr<'_>) -> Option<Vec<Option<String>>> {
    match expression {
        ast::Expr::Var(name) => Some(vec![Some(name.id.to_owned())]),
        ast::Expr::GetAttr(attribute) => {
            let mut path = path(&attribute.expr)?;
            path.push(Some(attribute.name.to_owned()));
            Some(path)
        }
        ast::Expr::GetItem(item) => {
            let mut path = path(&item.expr)?;
            let name = match &item.subscript_expr {
                ast::Expr::Const(constant) => constant.value.as_str().map(str::to_owned),
                _ => None,
            };
            path.push(name);
            Some(path)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_come_into_a_prompt_is_counted() {
        for (source, expected) in [
            (
                "plain {{ run.id }} {{ steps.a.ok }} {{ steps.a.exit_code }}",
                "",
            ),
            ("{{ steps.a.output }}", "said a 1"),
            ("{{ steps['a-b'].structured.x[0] | trim }}", "said a-b 1"),
            ("{{ steps.a.output }}{{ steps.a.structured.y }}", "said a 2"),
            (
                "{{ steps.a }} {{ steps.b.items[0].output }}",
                "step a 1, step b 1",
            ),
            ("{{ steps.a.error or 'none' }}", "error a 1"),
            (
                "{% if steps.a.output %}{{ inputs.x }}{% else %}{{ item.y }}{% endif %}",
                "input x 1, item 1",
            ),
            (
                "{{ steps.a.output if steps.b.ok else steps.c.output ~ item }}",
                "said a 1, said c 1, item 1",
            ),
            ("{% set x = steps.a.output %}{{ x }}{{ x[:9] }}", "said a 2"),
            (
                "{% with y = inputs.z %}{{ y | default(steps.a.output) }}{% endwith %}",
                "said a 1, input z 1",
            ),
            ("{{ steps.a.structured.names | join(', ') }}", "said a 1"),
            (
                "{{ [steps.a.output, 'x'] }} {{ {'k': item} }}",
                "said a 1, item 1",
            ),
            ("{{ 'x' * 3 }}{{ range(3) }}", ""),
            // What can be any size.
            ("{{ steps.a.output | upper }}", "endless"),
            ("{{ steps.a.output * 9 }}", "endless"),
            ("{{ steps.a.output | replace('a', 'aaaaaaa') }}", "endless"),
            ("{{ steps.a.structured | join('----') }}", "endless"),
            ("{{ inputs.x.split(',') }}", "endless"),
            ("{{ steps }}", "endless"),
            ("{{ steps[inputs.which].output }}", "endless"),
            (
                "{% for x in steps.a.items %}{{ x.output }}{% endfor %}",
                "endless",
            ),
        ] {
            let found = mentions(source);
            let words = |(mention, times): (&Mention, &u64)| {
                let name = match mention {
                    Mention::Said(id) => format!("said {id}"),
                    Mention::Error(id) => format!("error {id}"),
                    Mention::Step(id) => format!("step {id}"),
                    Mention::Input(name) => format!("input {name}"),
                    Mention::Item => "item".to_owned(),
                };
                format!("{name} {times}")
            };
            let told = if found.is_endless {
                "endless".to_owned()
            } else {
                found.times.iter().map(words).collect::<Vec<_>>().join(", ")
            };
            assert_eq!(told, expected, "{source}");
        }
    }
}
