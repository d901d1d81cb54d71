//! Options of overlays: how `[options.NAME]` of an overlay.toml declares one, and which values fit.

use std::collections::BTreeMap;

use regex_lite::Regex;

use super::Value;
use super::address::Shape;
use super::document::{Place, Text, join};
use super::error::hint;
use super::names;
use super::origins::Origin;
use super::units::{DURATION, SIZE, Wrong};
use super::walk::{Node, Table};
use crate::diagnostic::clipped;

/// Longer patterns, and compiled ones that take more memory, are refused.
const MAX_PATTERN: usize = 1 << 16;
/// Messages do not show longer ones.
const SHOWN_PATTERN: usize = 40;

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
    Address,
    Network,
    Domain,
}

const KINDS: [(&str, Kind); 11] = [
    ("bool", Kind::Bool),
    ("int", Kind::Int),
    ("string", Kind::String),
    ("size", Kind::Size),
    ("duration", Kind::Duration),
    ("list", Kind::List),
    ("enum", Kind::Enum),
    ("port", Kind::Port),
    ("address", Kind::Address),
    ("network", Kind::Network),
    ("domain", Kind::Domain),
];

/// What lists may be of.
const ITEMS: [(&str, Kind); 4] = [
    ("string", Kind::String),
    ("address", Kind::Address),
    ("network", Kind::Network),
    ("domain", Kind::Domain),
];

impl Kind {
    /// Keys that only some types have; `item`: of what a list is.
    fn takes(self, item: Self, key: &str) -> bool {
        match key {
            "min" | "max" => matches!(self, Self::Int | Self::Size | Self::Duration | Self::Port),
            "choices" => self == Self::Enum,
            "pattern" | "max-length" => item == Self::String,
            "of" => self == Self::List,
            "version" => matches!(item, Self::Address | Self::Network),
            "public" => item == Self::Address,
            "min-prefix" => item == Self::Network,
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
    /// Of what a list is; else the same again.
    item: Kind,
    min: i64,
    max: i64,
    choices: Vec<String>,
    pattern: Option<(String, Regex)>,
    /// Characters.
    max_length: usize,
    shape: Shape,
    /// Whether an empty text will do for none.
    empty: bool,
    /// What the option is for, and an example.
    about: String,
}

/// A declared option.
pub(super) struct Spec<'a> {
    rule: Rule,
    default: Value,
    /// Where the default stands.
    place: Place<'a>,
}

/// The options of an overlay by name.
pub(super) type Specs<'a> = BTreeMap<&'a str, Spec<'a>>;

/// Reads `[options]` of an overlay.toml.
pub(super) fn declared<'a>(root: &Table<'a>) -> Specs<'a> {
    let Some(options) = root.table("options") else { return Specs::new() };
    let keys = options.entries.iter().map(|entry| entry.key.as_str());
    let spec = |(own, (key, node)): (&'a str, (Text<'a>, Node<'a>))| {
        let name = names::name(&key, "an option's name");
        let spec = spec(&node.table_at(&format!("options.{own}"))?, own);
        name.and(Some((own, spec?)))
    };
    keys.zip(options.entries()).filter_map(spec).collect()
}

fn spec<'a>(table: &Table<'a>, name: &str) -> Option<Spec<'a>> {
    table.only(&[
        "type",
        "default",
        "doc",
        "example",
        "min",
        "max",
        "choices",
        "pattern",
        "max-length",
        "of",
        "version",
        "public",
        "min-prefix",
    ]);
    let doc = table.require("doc", "doc = \"What it is for.\"").and_then(|doc| doc.string());
    if let Some(doc) = doc.filter(|doc| doc.value.trim().is_empty()) {
        doc.fail(format!("the doc of option \"{name}\" is empty"), "say what the option is for");
    }
    let default = table.require("default", "default = ..., its value where an appliance sets none");
    let word = table.require("type", "type = \"string\"")?.string()?;
    let kind = chosen(&word, "type", &KINDS)?;
    let item = match table.string("of").filter(|_| kind == Kind::List) {
        Some(of) => chosen(&of, "type of items", &ITEMS)?,
        None if kind == Kind::List => Kind::String,
        None => kind,
    };
    for (key, _) in table.entries().iter().filter(|(key, _)| !kind.takes(item, &key.value)) {
        let message = format!("an option of type \"{}\" has no \"{}\"", word.value, key.value);
        key.fail(message, "remove it, or choose another type");
    }
    let rule = rule(table, kind, item)?;
    let mut default = default?;
    default.what = format!("the default of option \"{name}\"");
    let (default, place) = (rule.value(&default)?, default.place);
    if let Some(mut example) = table.get("example") {
        example.what = format!("the example of option \"{name}\"");
        rule.value(&example)?;
    }
    Some(Spec { rule, default, place })
}

/// The kind that a word names.
fn chosen(word: &Text<'_>, what: &str, kinds: &[(&str, Kind)]) -> Option<Kind> {
    let found = kinds.iter().find(|(name, _)| *name == word.value).map(|(_, kind)| *kind);
    if found.is_none() {
        let help = hint(&word.value, "types", kinds.iter().map(|(name, _)| *name));
        word.fail(format!("unknown {what} \"{}\"", word.value), help);
    }
    found
}

fn rule(table: &Table<'_>, kind: Kind, item: Kind) -> Option<Rule> {
    let (low, high) = match kind {
        Kind::Port => (1, 65_535),
        Kind::Size | Kind::Duration => (0, i64::MAX),
        _ => (i64::MIN, i64::MAX),
    };
    let bound = |key: &str, default: i64| {
        let node = table.get(key).filter(|_| kind.takes(item, key));
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
    let pattern = match table.string("pattern").filter(|_| kind.takes(item, "pattern")) {
        Some(pattern) => Some(compiled(&pattern)?),
        None => None,
    };
    let max_length = match table.get("max-length").filter(|_| kind.takes(item, "max-length")) {
        Some(node) => {
            let number = node.within(node.integer()?, (1, i64::MAX), |n| n.to_string())?;
            usize::try_from(number).unwrap_or(usize::MAX)
        }
        None => usize::MAX,
    };
    let shape = shape(table, item)?;
    let empty = kind != Kind::List && table.get("default").is_some_and(|node| node.is_empty());
    let shapely = matches!(item, Kind::Address | Kind::Network);
    let about = about(table, shapely.then(|| shape.example()));
    Some(Rule { kind, item, min, max, choices, pattern, max_length, shape, empty, about })
}

/// What addresses and networks must be like.
fn shape(table: &Table<'_>, item: Kind) -> Option<Shape> {
    let number = |key, range| match table.get(key).filter(|_| item.takes(item, key)) {
        Some(node) => node.within(node.integer()?, range, |n| n.to_string()).map(Some),
        None => Some(None),
    };
    let version = match table.get("version").filter(|_| item.takes(item, "version")) {
        Some(node) => match node.integer()? {
            4 => Some(4),
            6 => Some(6),
            _ => {
                node.fail("must be 4 or 6", "leave it out if it may be either");
                return None;
            }
        },
        None => None,
    };
    let public = match table.get("public").filter(|_| item.takes(item, "public")) {
        Some(node) => node.boolean()?,
        None => false,
    };
    let min_prefix = number("min-prefix", (0, 32))?.unwrap_or(0);
    let min_prefix = u32::try_from(min_prefix).unwrap_or(0);
    Some(Shape { network: item == Kind::Network, version, public, min_prefix })
}

/// What messages say of the option; `usual`: what there could be if it has no example.
fn about(table: &Table<'_>, usual: Option<&str>) -> String {
    let doc = table.string("doc").map(|doc| doc.value.trim().to_owned()).unwrap_or_default();
    let example = table.get("example").map(|example| example.place.text()).or(usual);
    example.map_or(doc.clone(), |example| join(doc, &format!("such as {example}")))
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
            Kind::String | Kind::Enum | Kind::Address | Kind::Network | Kind::Domain => {
                let text = self.text(&node.string()?);
                Value::String(text.map_err(|wrong| node.fail(wrong.message, wrong.help)).ok()?)
            }
            Kind::List => {
                let items = node.strings().into_iter().map(|item| self.item(node, &item));
                // All that is wrong with it, not the first only.
                Value::List(items.collect::<Vec<_>>().into_iter().collect::<Option<_>>()?)
            }
            Kind::Int | Kind::Size | Kind::Duration | Kind::Port => {
                let value = self.kind.number(node)?;
                let range = (self.min, self.max);
                Value::Int(node.within(value, range, |number| self.kind.show(number))?)
            }
        })
    }

    /// One text of a list.
    fn item(&self, node: &Node<'_>, text: &Text<'_>) -> Option<String> {
        let fail = |wrong: Wrong| {
            text.fail(
                format!("\"{}\" in {} {}", clipped(&text.value), node.what, wrong.message),
                wrong.help,
            )
        };
        self.text(text).map_err(fail).ok()
    }

    /// The text, or what is wrong with it.
    fn text(&self, text: &Text<'_>) -> Result<String, Wrong> {
        let text = text.value.as_str();
        if self.empty && text.is_empty() {
            return Ok(String::new());
        }
        if self.kind == Kind::Enum && !self.choices.iter().any(|choice| choice == text) {
            let help = hint(text, "choices", self.choices.iter().map(String::as_str));
            return Err(Wrong { message: "is none of the choices".to_owned(), help });
        }
        if matches!(self.item, Kind::Address | Kind::Network) {
            let parsed = self.shape.parse(text);
            return parsed.map_err(|wrong| Wrong { help: join(wrong.help, &self.about), ..wrong });
        }
        if let Some(help) = names::no_dns_name(text).filter(|_| self.item == Kind::Domain) {
            let help = join(help, &self.about);
            return Err(Wrong { message: "is not a domain name".to_owned(), help });
        }
        if let Some(wrong) = unseen(text) {
            return Err(wrong);
        }
        if text.chars().count() > self.max_length {
            let help = format!("at most {} characters", self.max_length);
            return Err(Wrong { message: "is too long".to_owned(), help });
        }
        match &self.pattern {
            Some((pattern, regex)) if !regex.is_match(text) => {
                let short = pattern.chars().count() <= SHOWN_PATTERN;
                let pattern = if short { format!("pattern: {pattern}") } else { String::new() };
                let help = join(self.about.clone(), &pattern);
                Err(Wrong { message: "is not what it may be".to_owned(), help })
            }
            _ => Ok(text.to_owned()),
        }
    }
}

/// What nobody sees in a text has no place in the files that templates make: line breaks, other control characters,
/// those that turn the direction of writing, spaces at either end.
fn unseen(text: &str) -> Option<Wrong> {
    let hidden = |c: &char| {
        let marks = "\u{ad}\u{200b}\u{200e}\u{200f}\u{feff}";
        let ranges = [('\u{2028}', '\u{202e}'), ('\u{2060}', '\u{206f}')];
        let within = ranges.iter().any(|(first, last)| (first..=last).contains(&c));
        c.is_control() || marks.contains(*c) || within
    };
    let message = match text.chars().find(hidden) {
        Some('\n') => "has a line break".to_owned(),
        Some(c) => format!("has the character U+{:04X}, which nobody sees", u32::from(c)),
        None if text != text.trim() => "begins or ends with white space".to_owned(),
        None => return None,
    };
    Some(Wrong { message, help: "write it on one line, without".to_owned() })
}

/// The values of an overlay's options, and whose they are: `set` is the appliance's `[options.OVERLAY]`.
pub(super) fn settled<'a>(
    overlay: &'a str,
    specs: &Specs<'a>,
    set: Option<Table<'a>>,
) -> BTreeMap<String, (Value, Origin<'a>)> {
    let default = |(name, spec): (&&'a str, &Spec<'a>)| {
        let origin = Origin::option(overlay, name, spec.place, false);
        ((*name).to_owned(), (spec.default.clone(), origin))
    };
    let mut values: BTreeMap<_, _> = specs.iter().map(default).collect();
    for (key, mut node) in set.map(|table| table.entries()).unwrap_or_default() {
        let name = &key.value;
        let Some((own, spec)) = specs.get_key_value(name.as_str()) else {
            let what = format!("options of \"{overlay}\"");
            let help = hint(name, &what, specs.keys().copied());
            key.fail(format!("option \"{name}\" is unknown to overlay \"{overlay}\""), help);
            continue;
        };
        node.what = format!("option \"{name}\"");
        let origin = Origin::option(overlay, own, node.place, true);
        values.extend(spec.rule.value(&node).map(|value| (name.clone(), (value, origin))));
    }
    values
}
