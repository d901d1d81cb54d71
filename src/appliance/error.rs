//! What is wrong with a file, where, and what to do: a line, a caret, a hint.

use std::cell::RefCell;
use std::io;
use std::path::PathBuf;

use crate::diagnostic::{Diagnostic, nearest};

/// An appliance cannot be loaded. Its text is complete: every problem with place, line and hint.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file or folder cannot be read.
    #[error("reading {}: {source}\n  help: {help}", path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// Why it cannot be.
        source: io::Error,
        /// What to do.
        help: &'static str,
    },
    /// Something in the files is wrong.
    #[error("{}", joined(.0))]
    Invalid(Vec<Diagnostic>),
}

fn joined(problems: &[Diagnostic]) -> String {
    problems.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n\n")
}

/// Collects problems, so that one run tells them all.
#[derive(Default)]
pub(crate) struct Report(RefCell<Vec<Diagnostic>>);

impl Report {
    pub(crate) fn add(&self, problem: Diagnostic) {
        self.0.borrow_mut().push(problem);
    }

    /// The end of a phase: what comes next relies on everything so far being right.
    pub(crate) fn check(&self) -> Result<(), LoadError> {
        match self.take() {
            problems if problems.is_empty() => Ok(()),
            problems => Err(LoadError::Invalid(problems)),
        }
    }

    /// All that was reported since, in the order of the file.
    pub(crate) fn take(&self) -> Vec<Diagnostic> {
        let mut problems = self.0.take();
        problems.sort();
        problems.dedup();
        problems
    }
}

/// `did you mean "nginx"?`, or all there is to choose from. `what`: `overlays`, `known keys`.
pub(crate) fn hint<'a>(
    wanted: &str,
    what: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match nearest(wanted, &known) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None if known.is_empty() => format!("there are no {what}"),
        None => format!("{what}: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_name_what_is_near_or_else_everything() {
        let known = ["nginx", "postgresql", "ssh"];
        assert_eq!(hint("ngnix", "overlays", known), "did you mean \"nginx\"?");
        assert_eq!(hint("Postgresql", "overlays", known), "did you mean \"postgresql\"?");
        assert_eq!(hint("exim", "overlays", known), "overlays: nginx, postgresql, ssh");
        assert_eq!(hint("x", "overlays", []), "there are no overlays");
    }
}
