//! Mistakes in a text file that people write: where, what, and what to do, with the line and carets.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Longer lines are cut around what is wrong.
const MAX_WIDTH: usize = 96;
/// Stands for what nobody else may see.
pub const HIDDEN: &str = "***";
/// What is shown before the place where a long line is wrong.
const BEFORE: usize = 32;

/// Characters of a text that messages quote.
const MAX_QUOTED: usize = 60;

/// A text as messages quote it: not all of a long one.
pub fn clipped(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Something wrong, before it is known where that is in lines and columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Bytes of the file that it is about.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Fault {
    /// A mistake without advice.
    pub fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), hint: None }
    }

    /// Adds advice.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// `name` is none of `known`.
    pub fn unknown<'a>(
        span: Range<usize>,
        what: &str,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let mut known: Vec<_> = known.into_iter().collect();
        known.sort_unstable();
        known.dedup();
        let fault = Self::new(span, format!("there is no {what} '{name}'"));
        match nearest(name, &known) {
            Some(near) => fault.hint(format!("did you mean '{near}'?")),
            None if known.is_empty() => fault,
            None => fault.hint(format!("known: {}", known.join(", "))),
        }
    }

    /// What TOML's parser or serde says.
    pub fn from_toml(error: &toml::de::Error) -> Self {
        let message = error.message();
        let fault = Self::new(error.span().unwrap_or(0..0), message);
        // serde: "unknown field `x`, expected one of `a`, `b`"
        let mut names = message.split('`').skip(1).step_by(2);
        match names.next() {
            Some(name) if message.starts_with("unknown ") => {
                match nearest(name, &names.collect::<Vec<_>>()) {
                    Some(near) => fault.hint(format!("did you mean '{near}'?")),
                    None => fault,
                }
            }
            _ => fault,
        }
    }

    /// Finds the place in `text`, the contents of `path`.
    pub fn at(self, path: &Path, text: &str) -> Diagnostic {
        self.at_hiding(path, text, &[])
    }

    /// The same, showing [`HIDDEN`] instead of what is in `hidden`: sorted, no two of them overlapping.
    pub fn at_hiding(self, path: &Path, text: &str, hidden: &[Range<usize>]) -> Diagnostic {
        let start = text.floor_char_boundary(self.span.start.min(text.len()));
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let source_line = text[line_start..].lines().next().unwrap_or_default();
        let line_end = line_start + source_line.len();
        let end = text.floor_char_boundary(self.span.end.min(line_end));
        let shown = shown(text, line_start..line_end, hidden);
        // How much is shown of what comes before a place.
        let place = |at| shown.iter().take_while(|(from, _)| *from < at).count();
        let cover = hidden.iter().find(|hidden| hidden.contains(&start));
        let before = place(cover.map_or(start, |hidden| hidden.start.max(line_start)));
        Diagnostic {
            path: path.to_owned(),
            line: text[..line_start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            message: self.message,
            hint: self.hint.unwrap_or_default(),
            text: shown.iter().map(|(_, c)| c).collect(),
            before,
            width: place(end).saturating_sub(before).max(1),
        }
    }
}

/// The characters of a line to show, each with the place in `text` that it comes from.
fn shown(text: &str, line: Range<usize>, hidden: &[Range<usize>]) -> Vec<(usize, char)> {
    let mut shown = Vec::new();
    let mut at = line.start;
    let here = hidden.iter().filter(|hidden| hidden.end > line.start && hidden.start < line.end);
    for secret in here {
        let visible = text.get(at..secret.start).unwrap_or_default();
        shown.extend(visible.char_indices().map(|(offset, c)| (at + offset, c)));
        shown.extend(HIDDEN.chars().map(|c| (secret.start.max(line.start), c)));
        at = secret.end;
    }
    let rest = text.get(at..line.end).unwrap_or_default();
    shown.extend(rest.char_indices().map(|(offset, c)| (at + offset, c)));
    shown
}

/// Something wrong at one place of a file. Shown as
///
/// ```text
/// appliance.toml:7:1: there is no option 'prot' of overlay ssh
///   7 | prot = 2222
///     | ^^^^
///   help: did you mean 'port'?
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub struct Diagnostic {
    /// The file, as it was asked for.
    path: PathBuf,
    /// From 1.
    line: usize,
    /// In characters, from 1.
    column: usize,
    /// What is wrong.
    message: String,
    /// What to do about it; may be empty.
    hint: String,
    /// The whole line, as it may be shown.
    text: String,
    /// Characters of it before the carets.
    before: usize,
    /// Characters that the carets stand under, on this line; at least 1.
    width: usize,
}

impl Diagnostic {
    /// The line and the number of characters before the caret, both cut to fit a screen.
    fn window(&self) -> (String, usize, usize) {
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        let chars: Vec<char> = self.text.chars().map(plain).collect();
        let before = self.before;
        if chars.len() <= MAX_WIDTH {
            return (chars.into_iter().collect(), before, self.width);
        }
        let from = before.saturating_sub(BEFORE);
        let to = (from + MAX_WIDTH).min(chars.len());
        let start = if from > 0 { "..." } else { "" };
        let end = if to < chars.len() { "..." } else { "" };
        let middle: String = chars[from..to].iter().collect();
        let width = self.width.min((to - before).max(1));
        (format!("{start}{middle}{end}"), before - from + start.len(), width)
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, column, message, hint, .. } = self;
        let number = line.to_string();
        let gutter = number.len();
        let (text, before, width) = self.window();
        writeln!(f, "{}:{line}:{column}: {message}", path.display())?;
        writeln!(f, "  {}", format!("{number} | {text}").trim_end())?;
        write!(f, "  {:gutter$} | {:before$}{}", "", "", "^".repeat(width))?;
        let mut hint = hint.lines();
        if let Some(first) = hint.next() {
            write!(f, "\n  help: {first}")?;
        }
        hint.try_for_each(|line| write!(f, "\n        {line}"))
    }
}

/// The one of `known` that `name` was probably meant to be.
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let name = name.to_lowercase().replace('_', "-");
    let distance = |known: &str| strsim::osa_distance(&name, &known.to_lowercase());
    let limit = (name.chars().count() / 3).clamp(1, 3);
    let best = known.iter().copied().min_by_key(|known| (distance(known), *known))?;
    (distance(best) <= limit && best.chars().count() > 1).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carets_stand_under_the_place() {
        let text = "a = 1\n\tbäd = 2\n";
        let at = text.find("bäd").expect("there");
        let fault = Fault::unknown(at..at + 4, "key", "bäd", ["bad", "good"]);
        let shown = fault.at(Path::new("x.toml"), text).to_string();
        let expected = "x.toml:2:2: there is no key 'bäd'\n  2 |  bäd = 2\n    |  ^^^\n  \
                        help: did you mean 'bad'?";
        assert_eq!(shown, expected);
    }

    #[test]
    fn places_beyond_the_end_and_of_several_lines_are_shown_as_well_as_can_be() {
        for span in [0..99, 50..60, 3..3] {
            let shown = Fault::new(span, "bad").at(Path::new("x"), "ab\ncd").to_string();
            assert!(shown.contains('^'), "{shown}");
        }
        assert!(Fault::new(0..0, "empty").at(Path::new("x"), "").to_string().contains("x:1:1"));
    }

    #[test]
    fn what_is_hidden_is_not_shown() {
        let text = "a = \"geheim\", b = 1\n";
        let hidden = std::slice::from_ref(&(4..12));
        for (span, carets) in
            [(14..15, "         ^"), (4..12, "    ^^^"), (6..8, "    ^^^"), (0..1, "^")]
        {
            let fault = Fault::new(span, "bad").at_hiding(Path::new("x"), text, hidden);
            let expected = format!("\n  1 | a = ***, b = 1\n    | {carets}");
            assert!(fault.to_string().ends_with(&expected), "{fault}{expected}");
        }
        let lines = "a = 'x\nsecret\ny' # z\n";
        for (at, expected) in [
            (4, "1 | a = ***\n    |     ^^^"),
            (8, "2 | ***\n    | ^^^"),
            (15, "3 | *** ***\n    | ^^^"),
        ] {
            let fault = Fault::new(at..at + 1, "bad");
            let shown = fault.at_hiding(Path::new("x"), lines, &[4..16, 17..20]).to_string();
            assert!(shown.ends_with(expected), "{shown}");
        }
    }

    #[test]
    fn what_is_near_is_found_whatever_its_case_and_dashes() {
        let known = ["nginx", "postgresql", "max-upload"];
        for (name, near) in [
            ("ngnix", Some("nginx")),
            ("Postgresql", Some("postgresql")),
            ("max_upload", Some("max-upload")),
            ("exim", None),
        ] {
            assert_eq!(nearest(name, &known), near, "{name}");
        }
    }
}
