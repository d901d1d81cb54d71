//! Expands words: quotes, variables, and command substitutions of known value.

use super::evaluate::{Evaluator, Status};
use super::syntax;

/// A word after expansion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expanded {
    /// Exactly this text.
    Known(String),
    /// An unquoted expansion to nothing: no word at all.
    Nothing,
    /// Not known, or not one word.
    Unknown,
}

impl Evaluator {
    /// Expands one word.
    pub(super) fn expand(&mut self, word: &str) -> Expanded {
        let mut out = Some(String::new());
        let mut quoted = false;
        let mut rest = word;
        while let Some(c) = rest.chars().next() {
            let taken = match c {
                '\'' => {
                    quoted = true;
                    let inside = rest[1..].split_once('\'').map(|(inside, _)| inside);
                    append(&mut out, inside.map(str::to_owned));
                    inside.map_or(rest.len(), |inside| inside.len() + 2)
                }
                '"' => {
                    quoted = true;
                    let end = closing_quote(rest);
                    let inside = end.and_then(|end| self.expand_quoted(&rest[1..end - 1]));
                    append(&mut out, inside);
                    end.unwrap_or(rest.len())
                }
                '\\' => {
                    let length = rest[1..].chars().next().map_or(0, char::len_utf8);
                    append(&mut out, Some(rest[1..1 + length].to_owned()));
                    1 + length
                }
                '$' | '`' => {
                    let (value, length) = self.expansion(rest);
                    // Unquoted, it would be split into words.
                    let one = value.filter(|value| !value.contains([' ', '\t', '\n', '*', '?']));
                    append(&mut out, one);
                    length
                }
                // Files, what bash makes many words of, somebody's home.
                '*' | '?' | '[' | '{' if rest.len() > 1 || word.len() > 1 => {
                    append(&mut out, None);
                    c.len_utf8()
                }
                '~' if rest.len() == word.len() => {
                    append(&mut out, None);
                    c.len_utf8()
                }
                _ => {
                    append(&mut out, Some(c.to_string()));
                    c.len_utf8()
                }
            };
            rest = &rest[taken..];
        }
        match out {
            None => Expanded::Unknown,
            Some(text) if text.is_empty() && !quoted => Expanded::Nothing,
            Some(text) => Expanded::Known(text),
        }
    }

    fn expand_quoted(&mut self, text: &str) -> Option<String> {
        let mut out = Some(String::new());
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let taken = match c {
                '$' | '`' => {
                    let (value, length) = self.expansion(rest);
                    append(&mut out, value);
                    length
                }
                '\\' if rest[1..].starts_with(['$', '`', '"', '\\']) => {
                    append(&mut out, Some(rest[1..2].to_owned()));
                    2
                }
                _ => {
                    append(&mut out, Some(c.to_string()));
                    c.len_utf8()
                }
            };
            rest = &rest[taken..];
        }
        out
    }

    /// The value of what begins with `$` or a backquote, and its length in the text.
    fn expansion(&mut self, text: &str) -> (Option<String>, usize) {
        if let Some(body) = text.strip_prefix('`') {
            return match body.split_once('`') {
                Some((command, _)) => (self.substitution(command), command.len() + 2),
                None => (None, text.len()),
            };
        }
        let body = &text[1..];
        if body.starts_with('(') {
            return match balanced(body, '(', ')') {
                Some(length) => (self.substitution(&body[1..length - 1]), 1 + length),
                None => (None, text.len()),
            };
        }
        if body.starts_with('{') {
            return match balanced(body, '{', '}') {
                Some(length) => (self.parameter(&body[1..length - 1]), 1 + length),
                None => (None, text.len()),
            };
        }
        let special = body.starts_with(|c: char| c.is_ascii_digit() || "@*#?$!-".contains(c));
        let length = if special {
            1
        } else {
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            body.find(|c| !is_name(c)).unwrap_or(body.len())
        };
        if length == 0 {
            return (Some("$".to_owned()), 1);
        }
        (self.variable(&body[..length]), 1 + length)
    }

    /// `${NAME}`, `${NAME:-WORD}`, `${NAME:+WORD}`, `${NAME##*-}`.
    fn parameter(&mut self, inside: &str) -> Option<String> {
        let end = inside.find([':', '-', '+', '#', '%']).unwrap_or(inside.len());
        let value = self.variable(&inside[..end])?;
        let word = |from: usize| inside[end + from..].to_owned();
        match &inside[end..] {
            "" => Some(value),
            rest if rest.starts_with(":-") && value.is_empty() => self.expand_quoted(&word(2)),
            rest if rest.starts_with(":-") || rest.starts_with('-') => Some(value),
            rest if rest.starts_with(":+") && value.is_empty() => Some(String::new()),
            rest if rest.starts_with(":+") => self.expand_quoted(&word(2)),
            "##*-" => Some(value.rsplit('-').next().unwrap_or_default().to_owned()),
            rest if rest.starts_with('#') && !rest[1..].contains(['#', '*', '?', '[', '$']) => {
                Some(value.strip_prefix(&rest[1..]).unwrap_or(&value).to_owned())
            }
            _ => None,
        }
    }

    /// What a command prints, where that is known. A command with effects is reported.
    fn substitution(&mut self, command: &str) -> Option<String> {
        let words: Vec<_> = command.split_whitespace().collect();
        if let ["command", "-v", program] | ["which", program] = words[..] {
            let path = self.program(program);
            self.substituted = Some(path.as_ref().map_or(Status::Unknown, |_| Status::True));
            return path;
        }
        let list = syntax::parse(command, self.line).ok();
        let outcome = list.and_then(|list| self.outcome(&list));
        if outcome.is_none() {
            self.unknown(format!("$({command})"));
        }
        self.substituted = Some(outcome.unwrap_or(Status::Unknown));
        None
    }
}

fn append(out: &mut Option<String>, more: Option<String>) {
    match (out.as_mut(), more) {
        (Some(text), Some(more)) => text.push_str(&more),
        _ => *out = None,
    }
}

/// The length of the double-quoted string that `text` begins with, quotes included; `None`: it does not end. Where backquotes
/// hold quotes, a word may have been cut in the middle of one.
fn closing_quote(text: &str) -> Option<usize> {
    let mut at = 1;
    while let Some(c) = text[at..].chars().next() {
        at += match c {
            '"' => return Some(at + 1),
            '\\' => 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8),
            '$' if text[at + 1..].starts_with('(') => 1 + balanced(&text[at + 1..], '(', ')')?,
            '$' if text[at + 1..].starts_with('{') => 1 + balanced(&text[at + 1..], '{', '}')?,
            c => c.len_utf8(),
        };
    }
    None
}

/// The length of the bracketed text that `text` begins with, brackets included; `None`: it does not end.
fn balanced(text: &str, open: char, close: char) -> Option<usize> {
    let (mut depth, mut at) = (0, 0);
    while let Some(c) = text[at..].chars().next() {
        at += match c {
            '\\' => 1 + text[at + 1..].chars().next().map_or(0, char::len_utf8),
            '"' => closing_quote(&text[at..])?,
            '\'' if open == '(' => text[at + 1..].find('\'')? + 2,
            c => {
                depth += i32::from(c == open) - i32::from(c == close);
                if depth == 0 {
                    return Some(at + 1);
                }
                c.len_utf8()
            }
        };
    }
    None
}
