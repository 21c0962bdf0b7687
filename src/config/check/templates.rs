//! The templates of tasks.

use super::Checker;
use crate::config::Document;
use crate::config::findings::suggestion;
use crate::config::problem::Problem;
use crate::config::read::{locate, node_at};
use crate::tasks::check::{self, Hint, Surroundings, UnsureNames};

impl Checker<'_> {
    /// Checks the templates of every task; what would only follow from what was reported is passed over.
    pub(in crate::config) fn templates(&mut self, document: &Document) {
        let none = UnsureNames::default();
        for (name, task) in document.tasks.iter() {
            let surroundings = Surroundings {
                agent: &|agent| document.agents.get(agent),
                is_doubtful: &|path, key| {
                    self.findings.has_doubts()
                        && node_at(self.root, path).is_some_and(|node| self.is_doubtful(node, key))
                },
                unsure: self.unsure_steps.get(name).unwrap_or(&none),
            };
            for problem in check::problems(name, task, surroundings) {
                let path: Vec<&str> = problem.path.iter().map(String::as_str).collect();
                let hint = match problem.hint {
                    Hint::None => None,
                    Hint::Words(words) => Some(words),
                    Hint::OneOf { word, known, what } => {
                        let is_few = self.findings.may_suggest();
                        let known = known.iter().filter(|_| is_few);
                        let known: Vec<&str> = known.map(String::as_str).collect();
                        suggestion(&word, &known, what)
                    }
                };
                let at = locate(self.root, &path);
                let problem = Problem::new(at, problem.message).with_hint(hint);
                self.findings.add_about(at, problem);
            }
        }
    }
}
