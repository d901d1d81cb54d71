//! Files with secrets in them: what a message about such a file may quote. Where it is not certain that
//! something is public, it is hidden; comments are, for old passwords end up there.

use std::ops::Range;

use super::{Entry, Item, Span, Value};

/// Whether a value may be shown: told the keys that lead to it, and how it is written.
pub(crate) type Public<'a> = &'a dyn Fn(&[&str], &str) -> bool;

/// What to hide of `text`, which holds `root`.
pub(super) fn hidden(text: &str, root: &[Entry], public: Public<'_>) -> Vec<Range<usize>> {
    let mut found = Values { text, public, known: Vec::new(), hidden: Vec::new() };
    found.entries(root, &[]);
    let Values { mut known, mut hidden, .. } = found;
    known.sort_by_key(|range| range.start);
    hidden.extend(comments(text, &known));
    hidden.sort_by_key(|range| range.start);
    hidden
}

struct Values<'a> {
    text: &'a str,
    public: Public<'a>,
    /// All keys and values.
    known: Vec<Range<usize>>,
    hidden: Vec<Range<usize>>,
}

impl Values<'_> {
    fn entries(&mut self, entries: &[Entry], above: &[&str]) {
        for entry in entries {
            self.known.push(range(entry.key_span));
            let keys = [above, &[entry.key.as_str()]].concat();
            self.item(&entry.item, &keys);
        }
    }

    fn item(&mut self, item: &Item, keys: &[&str]) {
        match &item.value {
            Value::Table(entries) => self.entries(entries, keys),
            Value::List(items) => items.iter().for_each(|item| self.item(item, keys)),
            _ => {
                let range = range(item.span);
                if !(self.public)(keys, self.text.get(range.clone()).unwrap_or_default()) {
                    self.hidden.push(range.clone());
                }
                self.known.push(range);
            }
        }
    }
}

fn range(span: Span) -> Range<usize> {
    span.start..span.end
}

/// From each `#` outside of keys and values to the end of its line. `known`: those, sorted.
fn comments(text: &str, known: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut comments: Vec<Range<usize>> = Vec::new();
    let mut known = known.iter().peekable();
    for (at, _) in text.match_indices('#') {
        while known.next_if(|range| range.end <= at).is_some() {}
        let inside = known.peek().is_some_and(|range| range.start <= at)
            || comments.last().is_some_and(|comment| at < comment.end);
        if !inside {
            let end = text[at..].find('\n').map_or(text.len(), |newline| at + newline);
            comments.push(at..end);
        }
    }
    comments
}

/// What to hide of a `text` that is not TOML: all but the names of tables, and lines `KEY = VALUE` of
/// which the value is public and one word; all values, if a text of several lines may begin anywhere.
pub(super) fn hidden_unparsed(text: &str, public: Public<'_>) -> Vec<Range<usize>> {
    let long = text.contains("\"\"\"") || text.contains("'''");
    let word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let one_word =
        |value: &str| !value.is_empty() && !value.contains(|c: char| c.is_whitespace() || c == '#');
    let mut table: Vec<&str> = Vec::new();
    let mut hidden = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let end = start + line.trim_end().len();
        let content = line.trim();
        let name = content.trim_start_matches('[').trim_end_matches(']');
        let (key, value) = content.split_once('=').unwrap_or((content, ""));
        let (key, value) = (key.trim(), value.trim());
        let keys: Vec<&str> = table.iter().copied().chain(key.split('.')).collect();
        if content.starts_with('[') && name.split('.').all(|part| part.chars().all(word)) {
            table = name.split('.').collect();
        } else if one_word(value) && !long && public(&keys, value) {
            // Shown as it is.
        } else if end > start {
            hidden.push(start..end);
        }
        start += line.len();
    }
    hidden
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::super::error::{LoadError, Report};
    use super::super::Document;

    fn public(keys: &[&str], _: &str) -> bool {
        keys.first() == Some(&"open")
    }

    fn said(text: &str) -> String {
        let report = Report::default();
        let document = match Document::parse_private(Path::new("x"), text.to_owned(), &public) {
            Ok(document) => document,
            Err(error) => return error.to_string(),
        };
        let root = document.root(&report);
        for (key, node) in root.entries() {
            key.fail("key", "");
            node.string();
            node.strings();
            node.integer();
        }
        report.check().as_ref().err().map(LoadError::to_string).unwrap_or_default()
    }

    #[test]
    fn no_message_shows_what_is_not_public() {
        for text in [
            "shut = 'CANARY'",
            "shut = 'CANARY # CANARY' # CANARY",
            "shut = ['CANARY', 5] # CANARY",
            "shut = '''\nCANARY\n# CANARY'''",
            "shut = 4711.5 # CANARY",
            "open = 5 # CANARY",
            "# CANARY\nopen = 5",
            "inner = { open = 'CANARY' }",
            // Not TOML.
            "shut = 'CANARY",
            "shut = CANARY",
            "shut CANARY",
            "open = \"\"\"\nCANARY",
            "shut = '''\nopen = CANARY\n",
            "shut = [\n'CANARY',\nCANARY\n]",
            "open = 'x' 5 # CANARY",
            "shut = 'CANARY' shut = 5",
            "open = 'x' CANARY",
            "CANARY",
        ] {
            let said = said(text);
            assert!(said.contains("x:"), "{text}: {said}");
            assert!(!said.contains("CANARY") && !said.contains("4711"), "{text}\n{said}");
        }
        for text in ["open = 'shown'", "open = shown", "[open]\nx = shown", "open.x = shown"] {
            assert!(said(text).contains("shown"), "{text}: {}", said(text));
        }
    }
}
