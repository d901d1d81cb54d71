//! A TOML file whose every key and value knows its place.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{LoadError, Report};
use super::walk::Table;
use crate::diagnostic::{Diagnostic, Fault, HIDDEN};

mod private;

pub(crate) use private::Public;

/// One file, parsed.
pub(crate) struct Document {
    path: PathBuf,
    text: String,
    root: Vec<Entry>,
    /// What no message may show, in the order of the file.
    hidden: Vec<Range<usize>>,
}

/// A key and its value.
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Span,
    pub(crate) item: Item,
}

/// A value.
pub(crate) struct Item {
    pub(crate) span: Span,
    pub(crate) value: Value,
}

pub(crate) enum Value {
    Text(String),
    /// `None`: too large.
    Integer(Option<i64>),
    Decimal,
    Bool(bool),
    Date,
    List(Vec<Item>),
    /// In the order of the file.
    Table(Vec<Entry>),
}

impl Item {
    fn new(value: Spanned<DeValue<'_>>) -> Self {
        let span = value.span().into();
        let value = match value.into_inner() {
            DeValue::String(text) => Value::Text(text.into_owned()),
            DeValue::Integer(number) => {
                Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok())
            }
            DeValue::Float(_) => Value::Decimal,
            DeValue::Boolean(value) => Value::Bool(value),
            DeValue::Datetime(_) => Value::Date,
            DeValue::Array(items) => Value::List(items.into_iter().map(Self::new).collect()),
            DeValue::Table(table) => Value::Table(entries(table)),
        };
        Self { span, value }
    }
}

fn entries(table: DeTable<'_>) -> Vec<Entry> {
    let entry = |(key, value): (Spanned<std::borrow::Cow<str>>, _)| {
        let key_span = key.span().into();
        Entry { key: key.into_inner().into_owned(), key_span, item: Item::new(value) }
    };
    let mut entries: Vec<Entry> = table.into_iter().map(entry).collect();
    entries.sort_by_key(|entry| entry.key_span.start);
    entries
}

impl Document {
    /// Reads and parses `path`. `help`: what to do if it cannot be read.
    pub(crate) fn read(path: &Path, help: &'static str) -> Result<Self, LoadError> {
        let error = |source| LoadError::Read { path: path.to_owned(), source, help };
        let text = std::fs::read_to_string(path).map_err(error)?;
        Self::parse(path, text)
    }

    /// Parses what is, or could be, the contents of `path`.
    pub(crate) fn parse(path: &Path, text: String) -> Result<Self, LoadError> {
        Self::parse_hiding(path, text, None)
    }

    /// Parses the contents of `path`, a file with secrets: messages quote only what is public.
    pub(crate) fn parse_private(
        path: &Path,
        text: String,
        public: Public<'_>,
    ) -> Result<Self, LoadError> {
        Self::parse_hiding(path, text, Some(public))
    }

    fn parse_hiding(
        path: &Path,
        text: String,
        public: Option<Public<'_>>,
    ) -> Result<Self, LoadError> {
        let parsed = DeTable::parse(&text).map(|root| entries(root.into_inner()));
        let path = path.to_owned();
        match parsed {
            Ok(root) => {
                let hidden = public.map(|public| private::hidden(&text, &root, public));
                Ok(Self { path, text, root, hidden: hidden.unwrap_or_default() })
            }
            Err(error) => {
                let hidden = public.map(|public| private::hidden_unparsed(&text, public));
                let hidden = hidden.unwrap_or_default();
                let document = Self { path, text, root: Vec::new(), hidden };
                let report = Report::default();
                let span = error.span().unwrap_or_default().into();
                let place = Place { document: &document, report: &report, span, cause: None };
                let (message, help) = syntax(error.message());
                Err(LoadError::Invalid(vec![place.problem(message, help)]))
            }
        }
    }

    /// The whole of it.
    pub(crate) fn root<'a>(&'a self, report: &'a Report) -> Table<'a> {
        let span = Span { start: 0, end: 0 };
        let place = Place { document: self, report, span, cause: None };
        Table { place, entries: &self.root }
    }
}

/// The parser's words, and what to do.
fn syntax(error: &str) -> (String, String) {
    let help = match error {
        _ if error.starts_with("duplicate key") => "it is set above already; remove one of the two",
        _ if error.starts_with("string values must be quoted") => "put texts in quotes",
        _ if error.contains("key with no value") => "write KEY = VALUE",
        _ if error.contains("expected newline") => "put every key on a line of its own",
        _ if error.contains("leading zero") => {
            "numbers have no leading zero; file modes are written in quotes: \"0750\""
        }
        _ if error.contains("unclosed") || error.contains("invalid basic string") => {
            "something is opened here or above, and not closed"
        }
        _ => "this is not TOML; https://toml.io describes it",
    };
    (format!("syntax error: {error}"), help.to_owned())
}

#[derive(Clone, Copy)]
pub(crate) struct Span {
    start: usize,
    end: usize,
}

impl From<Range<usize>> for Span {
    fn from(range: Range<usize>) -> Self {
        Self { start: range.start, end: range.end }
    }
}

/// A part of a file.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    document: &'a Document,
    report: &'a Report,
    span: Span,
    /// Whose value this is, for what is made of it elsewhere.
    cause: Option<Cause<'a>>,
}

/// Longer values are not told in advice.
const MAX_TOLD: usize = 40;

/// What decides a text that a template makes.
#[derive(Clone, Copy)]
pub(crate) enum Cause<'a> {
    /// The value of an option: the appliance's own, or (not `set`) the default.
    Option { overlay: &'a str, name: &'a str, set: bool },
    /// That the overlay is part of the appliance.
    Overlay(&'a str),
}

impl Cause<'_> {
    /// As messages name it.
    fn name(&self) -> String {
        match self {
            Self::Option { overlay, name, .. } => format!("[options.{overlay}] {name}"),
            Self::Overlay(name) => format!("overlay \"{name}\""),
        }
    }
}

impl<'a> Place<'a> {
    /// Says that what is here is wrong.
    pub(crate) fn fail(self, message: impl Into<String>, help: impl Into<String>) {
        self.report.add(self.problem(message, help));
    }

    /// The message that [`Place::fail`] reports.
    pub(crate) fn problem(self, message: impl Into<String>, help: impl Into<String>) -> Diagnostic {
        let (mut message, mut help) = (message.into(), help.into());
        if let Some(cause) = &self.cause {
            message = format!("{}: {message}", cause.name());
            if let Cause::Option { set: false, .. } = cause {
                let set = format!("set {} in appliance.toml; this is its default", cause.name());
                help = join(help, &set);
            }
        }
        let fault = Fault::new(self.span.start..self.span.end, message).hint(help);
        fault.at_hiding(self.path(), &self.document.text, &self.document.hidden)
    }

    pub(crate) fn path(self) -> &'a Path {
        &self.document.path
    }

    /// Whether messages may not quote it.
    pub(crate) fn is_hidden(self) -> bool {
        let Span { start, end } = self.span;
        self.document.hidden.iter().any(|hidden| hidden.start < end && start < hidden.end)
    }

    /// As it is written in the file; what is hidden is not told.
    pub(crate) fn text(self) -> &'a str {
        if self.is_hidden() {
            return HIDDEN;
        }
        self.document.text.get(self.span.start..self.span.end).unwrap_or_default()
    }

    fn before(self) -> &'a str {
        self.document.text.get(..self.span.start).unwrap_or(&self.document.text)
    }

    fn line_start(self) -> usize {
        self.before().rfind('\n').map_or(0, |newline| newline + 1)
    }

    /// Both from 1; the column in characters.
    pub(crate) fn line_column(self) -> (usize, usize) {
        let before = self.before();
        let column = before[self.line_start()..].chars().count();
        (before.matches('\n').count() + 1, column + 1)
    }

    /// `overlays/nginx/overlay.toml:12`
    pub(crate) fn location(self) -> String {
        format!("{}:{}", self.path().display(), self.line_column().0)
    }

    /// Another part of the same file.
    pub(crate) fn at(self, span: Span) -> Self {
        Self { span, ..self }
    }

    /// The same place; messages say that it is about `cause`.
    pub(crate) fn of(self, cause: Cause<'a>) -> Self {
        Self { cause: Some(cause), ..self }
    }

    /// Whether the appliance sets the option whose value is here.
    pub(crate) fn is_set(self) -> bool {
        matches!(self.cause, Some(Cause::Option { set: true, .. }))
    }

    /// Whether the value of an option is here.
    pub(crate) fn is_option(self) -> bool {
        matches!(self.cause, Some(Cause::Option { .. }))
    }

    /// `[options.ssh] port is 443 (appliance.toml:7)`
    pub(crate) fn told(self) -> String {
        let (location, text) = (self.location(), self.text());
        let short = text.len() <= MAX_TOLD && !text.contains('\n');
        match &self.cause {
            Some(cause @ Cause::Option { .. }) if short => {
                format!("{} is {text} ({location})", cause.name())
            }
            Some(cause) => format!("{} is in {location}", cause.name()),
            None => location,
        }
    }
}

/// Advice of several lines.
pub(crate) fn join(help: String, more: &str) -> String {
    let between = if help.is_empty() || more.is_empty() { "" } else { "\n" };
    help + between + more
}

/// A text and where it stands.
#[derive(Clone)]
pub(crate) struct Text<'a> {
    pub(crate) place: Place<'a>,
    pub(crate) value: String,
}

impl Text<'_> {
    /// As messages name it: in quotes, if it may be quoted.
    pub(crate) fn quoted(&self) -> String {
        if self.place.is_hidden() { "this".to_owned() } else { format!("\"{}\"", self.value) }
    }

    pub(crate) fn fail(&self, message: impl Into<String>, help: impl Into<String>) {
        self.place.fail(message, help);
    }
}
