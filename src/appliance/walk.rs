//! How a document is walked: whatever is not as expected goes to the report, with its place.

use super::document::{Entry, Item, Place, Text, Value};
use super::error::hint;
use super::units::{DURATION, Quantity, SIZE};
use crate::diagnostic::clipped;

/// A table and where it begins.
#[derive(Clone, Copy)]
pub(crate) struct Table<'a> {
    pub(crate) place: Place<'a>,
    pub(crate) entries: &'a [Entry],
}

impl<'a> Table<'a> {
    /// Refuses all other keys.
    pub(crate) fn only(&self, known: &[&str]) {
        for (key, _) in self.entries() {
            if !known.contains(&key.value.as_str()) {
                let help = hint(&key.value, "known keys", known.iter().copied());
                key.fail(format!("unknown key \"{}\"", key.value), help);
            }
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<Node<'a>> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| self.node(entry))
    }

    /// Says that it is missing if it is. `example`: a line that could be there.
    pub(crate) fn require(&self, key: &str, example: &str) -> Option<Node<'a>> {
        let found = self.get(key);
        if found.is_none() {
            self.place.fail(format!("\"{key}\" is missing"), format!("add {example}"));
        }
        found
    }

    /// Key and value, in the order of the file.
    pub(crate) fn entries(&self) -> Vec<(Text<'a>, Node<'a>)> {
        let text = |entry: &Entry| {
            let place = self.place.at(entry.key_span);
            Text { place, value: entry.key.clone() }
        };
        self.entries.iter().map(|entry| (text(entry), self.node(entry))).collect()
    }

    /// The table `[key]`, if there is one.
    pub(crate) fn table(&self, key: &str) -> Option<Table<'a>> {
        self.get(key)?.table()
    }

    /// All `[[key]]`.
    pub(crate) fn tables(&self, key: &str) -> Vec<Table<'a>> {
        let Some(node) = self.get(key) else { return Vec::new() };
        let Value::List(items) = node.value else {
            node.wrong_type("a list of tables", &format!("begin each with [[{key}]]"));
            return Vec::new();
        };
        items.iter().filter_map(|item| node.item(item).table()).collect()
    }

    /// The texts of a list; none if the key is missing.
    pub(crate) fn strings(&self, key: &str) -> Vec<Text<'a>> {
        self.get(key).map(|node| node.strings()).unwrap_or_default()
    }

    /// The text, if the key is there.
    pub(crate) fn string(&self, key: &str) -> Option<Text<'a>> {
        self.get(key)?.string()
    }

    fn node(&self, entry: &'a Entry) -> Node<'a> {
        Node {
            what: format!("\"{}\"", entry.key),
            place: self.place.at(entry.item.span),
            value: &entry.item.value,
        }
    }
}

/// A value, where it stands, and what to call it.
#[derive(Clone)]
pub(crate) struct Node<'a> {
    /// `"max-upload"`, `option "max-upload"`.
    pub(crate) what: String,
    pub(crate) place: Place<'a>,
    value: &'a Value,
}

impl<'a> Node<'a> {
    /// Says that its value is wrong.
    pub(crate) fn fail(&self, message: impl std::fmt::Display, help: impl Into<String>) {
        self.place.fail(format!("{} {message}", self.what), help);
    }

    pub(crate) fn wrong_type(&self, expected: &str, help: &str) {
        let found = match self.value {
            Value::Text(_) => "a text",
            Value::Integer(_) => "a number",
            Value::Decimal => "a decimal number",
            Value::Bool(_) => "true or false",
            Value::Date => "a date",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        };
        self.fail(format!("must be {expected}, not {found}"), help);
    }

    pub(crate) fn is_string(&self) -> bool {
        matches!(self.value, Value::Text(_))
    }

    /// Whether it is a text without a character.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.value, Value::Text(text) if text.is_empty())
    }

    pub(crate) fn is_table(&self) -> bool {
        matches!(self.value, Value::Table(_))
    }

    /// Whether it is a table in which `key` is set.
    pub(crate) fn is_table_with(&self, key: &str) -> bool {
        matches!(self.value, Value::Table(entries) if entries.iter().any(|entry| entry.key == key))
    }

    pub(crate) fn string(&self) -> Option<Text<'a>> {
        let help = match self.value {
            Value::Text(value) => return Some(Text { place: self.place, value: value.clone() }),
            Value::List(_) | Value::Table(_) => "write one text in quotes".to_owned(),
            _ => format!("put it in quotes: \"{}\"", clipped(self.place.text())),
        };
        self.wrong_type("a text", &help);
        None
    }

    pub(crate) fn strings(&self) -> Vec<Text<'a>> {
        let Value::List(items) = self.value else {
            let help = match self.value {
                Value::Text(_) => format!("put it in brackets: [{}]", clipped(self.place.text())),
                _ => "write texts in brackets: [\"...\", \"...\"]".to_owned(),
            };
            self.wrong_type("a list of texts", &help);
            return Vec::new();
        };
        let item = |item| Node { what: format!("an item of {}", self.what), ..self.item(item) };
        items.iter().filter_map(|value| item(value).string()).collect()
    }

    pub(crate) fn integer(&self) -> Option<i64> {
        let help = match self.value {
            Value::Integer(Some(number)) => return Some(*number),
            Value::Integer(None) => {
                self.fail("is too large a number", format!("at most {}", i64::MAX));
                return None;
            }
            Value::Text(text) if text.parse::<i64>().is_ok() => format!("write {text}, no quotes"),
            _ => "write a whole number, such as 2".to_owned(),
        };
        self.wrong_type("a number", &help);
        None
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        let help = match self.value {
            Value::Bool(value) => return Some(*value),
            Value::Text(text) if matches!(text.as_str(), "true" | "false") => {
                format!("write {text}, no quotes")
            }
            _ => "write true or false, no quotes".to_owned(),
        };
        self.wrong_type("true or false", &help);
        None
    }

    pub(crate) fn table(&self) -> Option<Table<'a>> {
        self.table_at(self.what.trim_matches('"'))
    }

    /// The same of one whose line is `[header]`.
    pub(crate) fn table_at(&self, header: &str) -> Option<Table<'a>> {
        let Value::Table(entries) = self.value else {
            self.wrong_type(
                "a table",
                &format!("write a line [{header}], and below it KEY = VALUE"),
            );
            return None;
        };
        Some(Table { place: self.place, entries })
    }

    /// A size in bytes (`"50 MiB"`).
    pub(crate) fn size(&self) -> Option<i64> {
        self.quantity(&SIZE)
    }

    /// A duration in seconds (`"5 min"`).
    pub(crate) fn duration(&self) -> Option<i64> {
        self.quantity(&DURATION)
    }

    fn quantity(&self, kind: &Quantity) -> Option<i64> {
        let Value::Text(text) = self.value else {
            self.wrong_type(
                kind.what,
                &format!("with its unit and in quotes, such as {}", kind.example),
            );
            return None;
        };
        kind.parse(text).map_err(|wrong| self.fail(wrong.message, wrong.help)).ok()
    }

    /// `value` if it is between both; `show` writes numbers for the user.
    pub(crate) fn within(
        &self,
        value: i64,
        (min, max): (i64, i64),
        show: impl Fn(i64) -> String,
    ) -> Option<i64> {
        if (min..=max).contains(&value) {
            return Some(value);
        }
        let help = match (min, max) {
            (i64::MIN, max) => format!("at most {}", show(max)),
            (min, i64::MAX) => format!("at least {}", show(min)),
            (min, max) => format!("allowed: {} to {}", show(min), show(max)),
        };
        let side = if value < min { "too small" } else { "too large" };
        self.fail(format!("is {side}"), help);
        None
    }

    fn item(&self, item: &'a Item) -> Node<'a> {
        let place = self.place.at(item.span);
        Node { what: self.what.clone(), place, value: &item.value }
    }
}
