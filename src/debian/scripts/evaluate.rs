//! Follows a script as it would run on a fresh system, and collects what it does.
//!
//! Every condition is true, false or unknown. A branch behind an unknown condition must be without effect
//! (or only make users and groups, which is harmless to do twice); otherwise the script is not understood.

use std::collections::HashMap;

use super::commands;
use super::expand::Expanded;
use super::syntax::{self, Command, Kind, List};
use super::{Action, Stage};

/// A line that the model does not understand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// 1-based line of the script.
    pub line: usize,
    /// What stands there.
    pub text: String,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    True,
    False,
    Unknown,
}

/// More nested calls than any script makes.
const MAX_CALLS: usize = 12;

/// What a script does, in its order. `first_line` numbers its first line.
///
/// # Errors
/// Every line that is not understood.
pub fn evaluate(
    package: &str,
    stage: Stage,
    text: &str,
    first_line: usize,
) -> Result<Vec<Action>, Vec<Unknown>> {
    let list = syntax::parse(text, first_line)
        .map_err(|error| vec![Unknown { line: error.line, text: error.what }])?;
    let mut evaluator = Evaluator::new(package, stage);
    evaluator.list(&list);
    if evaluator.unknown.is_empty() { Ok(evaluator.actions) } else { Err(evaluator.unknown) }
}

#[derive(Clone)]
pub(super) struct Evaluator {
    pub(super) line: usize,
    pub(super) actions: Vec<Action>,
    unknown: Vec<Unknown>,
    /// `None`: set to something unknown.
    variables: HashMap<String, Option<String>>,
    arguments: Vec<Option<String>>,
    functions: HashMap<String, List>,
    calls: usize,
    /// How the last command ended: `$?`.
    last: Status,
    /// How the last command substitution ended since this was emptied.
    pub(super) substituted: Option<Status>,
    /// For each function under way: what its own variables were before.
    outer: Vec<Vec<(String, Option<Option<String>>)>>,
    /// The script or the function has ended.
    stopped: Option<Stop>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Exit,
    Failure,
    Return,
}

impl Evaluator {
    fn new(package: &str, stage: Stage) -> Self {
        let known = [
            ("DPKG_ROOT", ""),
            ("DPKG_MAINTSCRIPT_PACKAGE", package),
            ("DPKG_MAINTSCRIPT_NAME", stage.name()),
            ("DEBIAN_FRONTEND", "noninteractive"),
            ("DEBCONF_RECONFIGURE", ""),
        ];
        let variables = known.map(|(name, value)| (name.to_owned(), Some(value.to_owned())));
        Self {
            line: 1,
            actions: Vec::new(),
            unknown: Vec::new(),
            variables: variables.into(),
            arguments: stage.arguments(),
            functions: HashMap::new(),
            calls: 0,
            last: Status::True,
            substituted: None,
            outer: Vec::new(),
            stopped: None,
        }
    }

    pub(super) fn unknown(&mut self, text: String) {
        let unknown = Unknown { line: self.line, text };
        if !self.unknown.contains(&unknown) {
            self.unknown.push(unknown);
        }
    }

    pub(super) fn variable(&self, name: &str) -> Option<String> {
        if let Ok(number) = name.parse::<usize>() {
            return match number {
                0 => None,
                _ => self.arguments.get(number - 1).cloned().unwrap_or(Some(String::new())),
            };
        }
        self.variables.get(name).cloned().flatten()
    }

    pub(super) fn set(&mut self, name: &str, value: Option<String>) {
        self.variables.insert(name.to_owned(), value);
    }

    fn reset(&mut self, before: Vec<(String, Option<Option<String>>)>) {
        for (name, value) in before.into_iter().rev() {
            match value {
                Some(value) => self.variables.insert(name, value),
                None => self.variables.remove(&name),
            };
        }
    }

    pub(super) fn forget_arguments(&mut self) {
        self.arguments = vec![None; 9];
    }

    /// Where a program lies that the model knows; unknown for others.
    pub(super) fn program(&self, name: &str) -> Option<String> {
        commands::is_installed(name).then(|| format!("/usr/bin/{name}"))
    }

    /// Whether a list has no effect, whatever is unknown in it.
    pub(super) fn is_inert(&self, list: &List) -> bool {
        self.outcome(list).is_some()
    }

    /// How a list without effect ends; `None`: it has one.
    pub(super) fn outcome(&self, list: &List) -> Option<Status> {
        let (probe, status) = self.probe(list)?;
        (probe.actions.len() == self.actions.len()).then_some(status)
    }

    /// The state after a list and how it ends, unless something in it is not understood or ends the script well.
    fn probe(&self, list: &List) -> Option<(Self, Status)> {
        let mut probe = self.clone();
        let status = probe.list(list);
        let ends =
            matches!(probe.stopped, Some(Stop::Exit | Stop::Return)) && self.stopped.is_none();
        (probe.unknown.len() == self.unknown.len() && !ends).then_some((probe, status))
    }

    pub(super) fn list(&mut self, list: &List) -> Status {
        let mut status = Status::True;
        for command in list {
            if self.stopped.is_some() {
                break;
            }
            status = self.command(command);
        }
        status
    }

    fn command(&mut self, command: &Command) -> Status {
        self.last = self.run(command);
        self.last
    }

    fn run(&mut self, command: &Command) -> Status {
        self.line = command.line;
        match &command.kind {
            Kind::Simple { words, writes } => self.simple(words, *writes),
            Kind::Pipe(parts) => {
                if !parts.iter().all(|part| self.is_inert(&vec![part.clone()])) {
                    self.unknown("a pipe with effects".to_owned());
                }
                Status::Unknown
            }
            Kind::Not(inner) => match self.command(inner) {
                Status::True => Status::False,
                Status::False => Status::True,
                Status::Unknown => Status::Unknown,
            },
            Kind::And(left, right) => self.then(left, right, Status::True),
            Kind::Or(left, right) => self.then(left, right, Status::False),
            Kind::If(branches) => self.branches(command.line, branches),
            Kind::Case(subject, arms) => self.case(command.line, subject, arms),
            Kind::For(name, words, body) => self.for_loop(name, words, body),
            Kind::Loop(body) => {
                self.maybe(command.line, [body]);
                Status::Unknown
            }
            Kind::Group(list) => self.list(list),
            Kind::Subshell(list) => {
                let mut inside = self.clone();
                let status = inside.list(list);
                let (line, last) = (inside.line, inside.last);
                (self.actions, self.unknown) = (inside.actions, inside.unknown);
                (self.line, self.last) = (line, last);
                status
            }
            Kind::Function(name, body) => {
                self.functions.insert(name.clone(), body.clone());
                Status::True
            }
        }
    }

    /// `left && right` (`go` is true) or `left || right` (`go` is false).
    fn then(&mut self, left: &Command, right: &Command, go: Status) -> Status {
        match self.command(left) {
            Status::Unknown => {
                self.maybe(right.line, [&vec![right.clone()]]);
                Status::Unknown
            }
            status if status == go && self.stopped.is_none() => self.command(right),
            status => status,
        }
    }

    fn branches(&mut self, line: usize, branches: &[(List, List)]) -> Status {
        for (index, (condition, body)) in branches.iter().enumerate() {
            let status = if condition.is_empty() { Status::True } else { self.list(condition) };
            match status {
                Status::True => return self.list(body),
                Status::False => {}
                Status::Unknown => {
                    let rest =
                        branches[index..].iter().flat_map(|(condition, body)| [condition, body]);
                    self.maybe(line, rest);
                    return Status::Unknown;
                }
            }
        }
        Status::True
    }

    fn case(&mut self, line: usize, subject: &str, arms: &[(Vec<String>, List)]) -> Status {
        let Some(subject) = self.text(subject) else {
            self.maybe(line, arms.iter().map(|(_, body)| body));
            return Status::Unknown;
        };
        for (patterns, body) in arms {
            for pattern in patterns {
                let bare = pattern.trim_matches(['"', '\'']);
                if bare == "*" || bare == subject {
                    return self.list(body);
                }
                if bare.contains(['*', '?', '[', '$', '`', '\\']) {
                    self.maybe(line, arms.iter().map(|(_, body)| body));
                    return Status::Unknown;
                }
            }
        }
        Status::True
    }

    fn for_loop(&mut self, name: &str, words: &[String], body: &List) -> Status {
        let words: Vec<_> = words.iter().map(|word| self.expand(word)).collect();
        if words.contains(&Expanded::Unknown) {
            self.set(name, None);
            self.maybe(self.line, [body]);
            return Status::Unknown;
        }
        for word in words {
            if let Expanded::Known(word) = word {
                self.set(name, Some(word));
                self.list(body);
            }
        }
        Status::Unknown
    }

    /// Lists that may or may not run.
    fn maybe<'l>(&mut self, line: usize, lists: impl IntoIterator<Item = &'l List>) {
        for list in lists {
            let before = self.actions.len();
            match self.probe(list) {
                Some((probe, _)) => {
                    let made = &probe.actions[before..];
                    if made.iter().all(|made| matches!(made, Action::User(_) | Action::Group(_))) {
                        self.actions = probe.actions;
                    } else {
                        self.line = line;
                        self.unknown("an effect under a condition that is not known".to_owned());
                    }
                    for (name, value) in probe.variables {
                        if self.variables.get(&name) != Some(&value) {
                            self.variables.insert(name, None);
                        }
                    }
                    self.functions = probe.functions;
                }
                None => {
                    let mut probe = self.clone();
                    probe.list(list);
                    self.unknown.clone_from(&probe.unknown);
                    if probe.unknown.is_empty() {
                        self.line = line;
                        self.unknown("an early end under a condition that is not known".to_owned());
                    }
                }
            }
        }
    }

    /// A word whose text is known.
    pub(super) fn text(&mut self, word: &str) -> Option<String> {
        match self.expand(word) {
            Expanded::Known(text) => Some(text),
            Expanded::Nothing => Some(String::new()),
            Expanded::Unknown => None,
        }
    }

    fn simple(&mut self, words: &[String], writes: bool) -> Status {
        let (mut words, mut before) = (words, Vec::new());
        self.substituted = None;
        while let Some((name, value)) = words.first().and_then(|word| assignment(word)) {
            let value = if value.is_empty() { Some(String::new()) } else { self.text(value) };
            before.push((name.to_owned(), self.variables.get(name).cloned()));
            self.set(name, value);
            words = &words[1..];
        }
        if words.is_empty() && !writes {
            return self.substituted.unwrap_or(Status::True);
        }
        let status = self.program_or_function(words, writes);
        self.reset(before);
        status
    }

    fn program_or_function(&mut self, words: &[String], writes: bool) -> Status {
        if writes {
            self.unknown(format!("{} > a file", words.join(" ")));
            return Status::Unknown;
        }
        let Some(first) = words.first() else { return Status::True };
        let Some(name) = self.text(first) else {
            self.unknown(words.join(" "));
            return Status::Unknown;
        };
        let mut arguments = Vec::new();
        for word in &words[1..] {
            if matches!(word.as_str(), "$@" | "\"$@\"") {
                arguments.extend_from_slice(&self.arguments);
                continue;
            }
            match self.expand(word) {
                Expanded::Known(text) => arguments.push(Some(text)),
                Expanded::Nothing => {}
                Expanded::Unknown => arguments.push(None),
            }
        }
        match name.as_str() {
            "export" | "local" | "readonly" | "unset" => self.declare(&name, words),
            "exit" => self.stop(Stop::Exit, &arguments),
            "return" => self.stop(Stop::Return, &arguments),
            _ if self.functions.contains_key(&name) => self.call(&name, arguments),
            _ => commands::run(self, &name, &arguments, &words.join(" ")),
        }
    }

    fn stop(&mut self, how: Stop, arguments: &[Option<String>]) -> Status {
        let status = match arguments {
            [Some(code)] if code == "0" => Status::True,
            [Some(_)] => Status::False,
            [] => self.last,
            _ => Status::Unknown,
        };
        // A script that fails means no installation: that way need not be followed.
        let failure = status == Status::False && how == Stop::Exit;
        self.stopped = Some(if failure { Stop::Failure } else { how });
        status
    }

    /// The words begin with `what`.
    fn declare(&mut self, what: &str, words: &[String]) -> Status {
        for word in &words[1..] {
            let (name, value) = match assignment(word) {
                Some((name, "")) => (name, Some(Some(String::new()))),
                Some((name, value)) => (name, Some(self.text(value))),
                None if is_name(word) => (word.as_str(), None),
                None => {
                    self.unknown(words.join(" "));
                    return Status::Unknown;
                }
            };
            if what == "local"
                && let Some(outer) = self.outer.last_mut()
            {
                outer.push((name.to_owned(), self.variables.get(name).cloned()));
            }
            match (what, value) {
                (_, Some(value)) => self.set(name, value),
                ("unset", None) => self.set(name, Some(String::new())),
                // Of what was outside before in one shell, empty in another.
                ("local", None) => self.set(name, None),
                _ => {}
            }
        }
        Status::True
    }

    fn call(&mut self, name: &str, arguments: Vec<Option<String>>) -> Status {
        if self.calls == MAX_CALLS {
            self.unknown(format!("{name}: calls nested too deeply"));
            return Status::Unknown;
        }
        let body = self.functions[name].clone();
        let outer = std::mem::replace(&mut self.arguments, arguments);
        self.calls += 1;
        self.outer.push(Vec::new());
        let status = self.list(&body);
        self.calls -= 1;
        let before = self.outer.pop().unwrap_or_default();
        self.reset(before);
        self.arguments = outer;
        if self.stopped == Some(Stop::Return) {
            self.stopped = None;
        }
        status
    }
}

fn assignment(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    is_name(name).then_some((name, value))
}

/// Whether a variable may have this name.
fn is_name(word: &str) -> bool {
    let may = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !word.starts_with(|c: char| c.is_ascii_digit()) && !word.is_empty() && word.chars().all(may)
}

#[cfg(test)]
#[path = "evaluate_tests.rs"]
mod tests;
