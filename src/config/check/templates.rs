//! The templates of tasks.

use super::Checker;
use crate::config::Document;
use crate::config::findings::suggestion;
use crate::config::problem::Problem;
use crate::config::read::locate;
use crate::tasks::check::{self, Hint};

impl Checker<'_> {
    /// Checks the templates of every task; when everything else about tasks is right, since most of
    /// what could be said otherwise would only follow from that.
    pub(in crate::config) fn templates(&mut self, document: &Document) {
        for (name, task) in document.tasks.iter() {
            for problem in check::problems(name, task, &|agent| document.agents.get(agent)) {
                let path: Vec<&str> = problem.path.iter().map(String::as_str).collect();
                let hint = match problem.hint {
                    Hint::None => None,
                    Hint::Words(words) => Some(words),
                    Hint::OneOf { word, known, what } => {
                        let known: Vec<&str> = known.iter().map(String::as_str).collect();
                        suggestion(&word, &known, what)
                    }
                };
                let at = locate(self.root, &path);
                self.findings
                    .add(Problem::new(at, problem.message).with_hint(hint));
            }
        }
    }
}
