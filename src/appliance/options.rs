//! Options of overlays: how `[options.NAME]` of an overlay.toml declares one, and which values fit.

use std::collections::BTreeMap;

use regex_lite::Regex;

use super::Value;
use super::document::Text;
use super::error::hint;
use super::names;
use super::units::{DURATION, SIZE};
use super::walk::{Node, Table};

/// Longer patterns, and compiled ones that take more memory, are refused.
const MAX_PATTERN: usize = 1 << 16;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Bool,
    Int,
    String,
    Size,
    Duration,
    List,
    Enum,
    Port,
}

const KINDS: [(&str, Kind); 8] = [
    ("bool", Kind::Bool),
    ("int", Kind::Int),
    ("string", Kind::String),
    ("size", Kind::Size),
    ("duration", Kind::Duration),
    ("list", Kind::List),
    ("enum", Kind::Enum),
    ("port", Kind::Port),
];

impl Kind {
    /// Keys that only some types have.
    fn takes(self, key: &str) -> bool {
        match key {
            "min" | "max" => matches!(self, Self::Int | Self::Size | Self::Duration | Self::Port),
            "choices" => self == Self::Enum,
            "pattern" => matches!(self, Self::String | Self::List),
            _ => true,
        }
    }

    fn number(self, node: &Node<'_>) -> Option<i64> {
        match self {
            Self::Size => node.size(),
            Self::Duration => node.duration(),
            _ => node.integer(),
        }
    }

    fn show(self, value: i64) -> String {
        match self {
            Self::Size => SIZE.show(value),
            Self::Duration => DURATION.show(value),
            _ => value.to_string(),
        }
    }
}

/// What values an option takes.
struct Rule {
    kind: Kind,
    min: i64,
    max: i64,
    choices: Vec<String>,
    pattern: Option<(String, Regex)>,
}

/// A declared option.
pub(super) struct Spec {
    rule: Rule,
    default: Value,
}

/// The options of an overlay by name.
pub(super) type Specs = BTreeMap<String, Spec>;

/// Reads `[options]` of an overlay.toml.
pub(super) fn declared(root: &Table<'_>) -> Specs {
    let entries = root.table("options").map(|table| table.entries()).unwrap_or_default();
    let spec = |(key, node): (Text<'_>, Node<'_>)| {
        let name = names::name(&key, "an option's name");
        let spec = spec(&node.table()?, &key.value);
        Some((name?, spec?))
    };
    entries.into_iter().filter_map(spec).collect()
}

fn spec(table: &Table<'_>, name: &str) -> Option<Spec> {
    table.only(&["type", "default", "doc", "min", "max", "choices", "pattern"]);
    let doc = table.require("doc", "doc = \"What it is for.\"").and_then(|doc| doc.string());
    if let Some(doc) = doc.filter(|doc| doc.value.trim().is_empty()) {
        doc.fail(format!("the doc of option \"{name}\" is empty"), "say what the option is for");
    }
    let default = table.require("default", "default = ..., its value where an appliance sets none");
    let word = table.require("type", "type = \"string\"")?.string()?;
    let Some((_, kind)) = KINDS.iter().find(|(name, _)| *name == word.value) else {
        let help = hint(&word.value, "types", KINDS.iter().map(|(name, _)| *name));
        word.fail(format!("unknown type \"{}\"", word.value), help);
        return None;
    };
    for (key, _) in table.entries().iter().filter(|(key, _)| !kind.takes(&key.value)) {
        let message = format!("an option of type \"{}\" has no \"{}\"", word.value, key.value);
        key.fail(message, "remove it, or choose another type");
    }
    let rule = rule(table, *kind)?;
    let mut default = default?;
    default.what = format!("the default of option \"{name}\"");
    let default = rule.value(&default)?;
    Some(Spec { rule, default })
}

fn rule(table: &Table<'_>, kind: Kind) -> Option<Rule> {
    let (low, high) = match kind {
        Kind::Port => (1, 65_535),
        Kind::Size | Kind::Duration => (0, i64::MAX),
        _ => (i64::MIN, i64::MAX),
    };
    let bound = |key: &str, default: i64| {
        let node = table.get(key).filter(|_| kind.takes(key));
        node.map_or(Some((None, default)), |node| {
            let value = node.within(kind.number(&node)?, (low, high), |n| kind.show(n))?;
            Some((Some(node), value))
        })
    };
    let ((_, min), (node, max)) = (bound("min", low)?, bound("max", high)?);
    if let Some(node) = node.filter(|_| min > max) {
        node.fail("is below \"min\"", format!("at least {}", kind.show(min)));
        return None;
    }
    let choices = choices(table, kind)?;
    let pattern = match table.string("pattern").filter(|_| kind.takes("pattern")) {
        Some(pattern) => Some(compiled(&pattern)?),
        None => None,
    };
    Some(Rule { kind, min, max, choices, pattern })
}

fn choices(table: &Table<'_>, kind: Kind) -> Option<Vec<String>> {
    if kind != Kind::Enum {
        return Some(Vec::new());
    }
    let node = table.require("choices", "choices = [\"...\", \"...\"]")?;
    let texts = node.strings();
    for (index, text) in texts.iter().enumerate() {
        if texts[..index].iter().any(|earlier| earlier.value == text.value) {
            text.fail(format!("the choice \"{}\" is there twice", text.value), "remove one");
        }
    }
    if texts.is_empty() {
        node.fail("names nothing", "name what can be chosen: [\"...\", \"...\"]");
        return None;
    }
    Some(texts.into_iter().map(|text| text.value).collect())
}

/// The pattern must match the whole text.
fn compiled(pattern: &Text<'_>) -> Option<(String, Regex)> {
    let whole = format!("^(?:{})$", pattern.value);
    match regex_lite::RegexBuilder::new(&whole).size_limit(MAX_PATTERN).build() {
        Ok(regex) => Some((pattern.value.clone(), regex)),
        Err(error) => {
            let help = "it is a regular expression, such as \"[a-z]+(-[a-z]+)*\"";
            pattern.fail(format!("the pattern cannot be read: {error}"), help);
            None
        }
    }
}

impl Rule {
    fn value(&self, node: &Node<'_>) -> Option<Value> {
        Some(match self.kind {
            Kind::Bool => Value::Bool(node.boolean()?),
            Kind::String | Kind::Enum => Value::String(self.text(node, node.string()?)?),
            Kind::List => {
                let items = node.strings().into_iter().map(|item| self.item(node, item));
                Value::List(items.collect::<Option<_>>()?)
            }
            Kind::Int | Kind::Size | Kind::Duration | Kind::Port => {
                let value = self.kind.number(node)?;
                let range = (self.min, self.max);
                Value::Int(node.within(value, range, |number| self.kind.show(number))?)
            }
        })
    }

    fn text(&self, node: &Node<'_>, text: Text<'_>) -> Option<String> {
        if self.kind == Kind::Enum && !self.choices.contains(&text.value) {
            let help = hint(&text.value, "choices", self.choices.iter().map(String::as_str));
            node.fail("is none of the choices", help);
            return None;
        }
        if let Some(pattern) = self.misfit(&text) {
            node.fail("does not fit its pattern", pattern);
            return None;
        }
        Some(text.value)
    }

    /// One text of a list.
    fn item(&self, node: &Node<'_>, text: Text<'_>) -> Option<String> {
        if let Some(pattern) = self.misfit(&text) {
            let message = format!("\"{}\" in {} does not fit its pattern", text.value, node.what);
            text.fail(message, pattern);
            return None;
        }
        Some(text.value)
    }

    /// What the text should look like, if it does not.
    fn misfit(&self, text: &Text<'_>) -> Option<String> {
        let (pattern, regex) = self.pattern.as_ref()?;
        (!regex.is_match(&text.value)).then(|| format!("pattern: {pattern}"))
    }
}

/// The values of an overlay's options: `set` is the appliance's `[options.OVERLAY]`.
pub(super) fn settled(
    overlay: &str,
    specs: &Specs,
    set: Option<Table<'_>>,
) -> BTreeMap<String, Value> {
    let mut values: BTreeMap<_, _> =
        specs.iter().map(|(name, spec)| (name.clone(), spec.default.clone())).collect();
    for (key, mut node) in set.map(|table| table.entries()).unwrap_or_default() {
        let name = &key.value;
        let Some(spec) = specs.get(name) else {
            let what = format!("options of \"{overlay}\"");
            let help = hint(name, &what, specs.keys().map(String::as_str));
            key.fail(format!("option \"{name}\" is unknown to overlay \"{overlay}\""), help);
            continue;
        };
        node.what = format!("option \"{name}\"");
        values.extend(spec.rule.value(&node).map(|value| (name.clone(), value)));
    }
    values
}
