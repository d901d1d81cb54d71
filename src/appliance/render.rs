//! Texts of overlay.toml that are templates.

use std::path::Path;

use minijinja::{Environment, ErrorKind, Value as Template};

use super::document::Text;
use super::error::hint;
use super::origins::{Origin, Origins};
use super::template::{environment, refused, template_context};
use super::walk::Table;
use super::{Overlay, Plan, names};
use crate::diagnostic::{Diagnostic, Fault};

/// The file at `path` of `overlay`, whose contents are `text`, rendered.
///
/// # Errors
/// The template is none, or uses what is not defined.
pub fn render_file(
    plan: &Plan,
    overlay: &Overlay,
    path: &Path,
    text: &str,
) -> Result<String, Diagnostic> {
    Renderer::new(plan, overlay, &Origins::default()).file(path, text)
}

/// Renders the texts of one overlay.
pub(super) struct Renderer<'a> {
    environment: Environment<'static>,
    context: Template,
    /// The overlay's name.
    overlay: String,
    origins: Origins<'a>,
}

impl<'a> Renderer<'a> {
    /// Of a `plan` still being read, what is not known yet is empty.
    pub(super) fn new(plan: &Plan, overlay: &Overlay, origins: &Origins<'a>) -> Self {
        Self {
            environment: environment(),
            context: template_context(plan, overlay),
            overlay: overlay.name.clone(),
            origins: origins.clone(),
        }
    }

    /// The text with its templates rendered. Its place is that of an option that the template uses, if there is one: what
    /// comes out wrong is mended there.
    pub(super) fn text(&self, text: Text<'a>) -> Option<Text<'a>> {
        if !text.value.contains('{') {
            return Some(text);
        }
        let place = self.origins(&text.value).first().map_or(text.place, |origin| origin.place);
        match self.environment.render_str(&text.value, &self.context) {
            Ok(value) => Some(Text { value, place }),
            Err(error) => {
                let Fault { message, hint, .. } = self.explain(&text.value, &error);
                let place = if refused(&error) { place } else { text.place };
                place.fail(message, hint.unwrap_or_default());
                None
            }
        }
    }

    /// Where what a template uses comes from; what the appliance says comes first.
    pub(super) fn origins(&self, template: &str) -> Vec<Origin<'a>> {
        self.origins.of(&self.overlay, &self.names(template))
    }

    /// The contents of a template's file, rendered.
    fn file(&self, path: &Path, text: &str) -> Result<String, Diagnostic> {
        let rendered = self.environment.render_str(text, &self.context);
        rendered.map_err(|error| self.explain(text, &error).at(path, text))
    }

    /// The rendered text of a key, if it is there.
    pub(super) fn get(&self, table: &Table<'a>, key: &str) -> Option<Text<'a>> {
        self.text(table.string(key)?)
    }

    /// The rendered text of a key that must be there.
    pub(super) fn require(&self, table: &Table<'a>, key: &str, example: &str) -> Option<Text<'a>> {
        self.text(table.require(key, example)?.string()?)
    }

    /// The rendered texts of a list.
    pub(super) fn list(&self, table: &Table<'a>, key: &str) -> Vec<Text<'a>> {
        table.strings(key).into_iter().filter_map(|text| self.text(text)).collect()
    }

    /// `owner` (root unless given), `group` (the same unless given) and `mode`.
    pub(super) fn access(&self, table: &Table<'a>) -> Option<(String, String, u16)> {
        let mode =
            self.require(table, "mode", "mode = \"0750\"").and_then(|mode| names::mode(&mode));
        let owner = match table.get("owner") {
            Some(_) => self.get(table, "owner").and_then(names::account),
            None => Some("root".to_owned()),
        };
        let group = match table.get("group") {
            Some(_) => self.get(table, "group").and_then(names::account),
            None => owner.clone(),
        };
        Some((owner?, group?, mode?))
    }

    fn explain(&self, template: &str, error: &minijinja::Error) -> Fault {
        // An undefined operand of `-` is an invalid operation, not an undefined name.
        if error.kind() != ErrorKind::SyntaxError
            && let Some((name, help)) = self.undefined(template)
        {
            let start = template.find(&name).unwrap_or(0);
            let message = format!("the template uses {name}, which is not defined");
            return Fault::new(start..start + name.len(), message).hint(help);
        }
        let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
        let help = "docs/overlay.md says what templates may use";
        let line = error.line().unwrap_or(1).saturating_sub(1);
        let line = template.split_inclusive('\n').take(line).map(str::len).sum::<usize>();
        let span = error.range().unwrap_or(line..line);
        if refused(error) {
            return Fault::new(span, error.detail().unwrap_or_default());
        }
        let message = format!("the template cannot be rendered: {}{detail}", error.kind());
        Fault::new(span, message).hint(help)
    }

    /// What the template uses, as it comes.
    fn names(&self, template: &str) -> Vec<String> {
        let Ok(parsed) = self.environment.template_from_str(template) else { return Vec::new() };
        let mut names: Vec<String> = parsed.undeclared_variables(true).into_iter().collect();
        names.retain(|name| self.environment.globals().all(|(global, _)| global != name));
        names.sort_by_key(|name| (position(template, name), name.clone()));
        names
    }

    /// The first name in the template that is not defined, and what there is instead.
    fn undefined(&self, template: &str) -> Option<(String, String)> {
        let missing = |name: &String| Some((name.clone(), self.missing(name, template)?));
        self.names(template).iter().find_map(missing)
    }

    /// What there is instead of the first undefined part of `options.max_upload`.
    fn missing(&self, path: &str, template: &str) -> Option<String> {
        let mut value = self.context.clone();
        for part in path.split('.') {
            let inner = value.get_attr(part).ok().filter(|inner| !inner.is_undefined());
            let Some(inner) = inner else {
                let known: Vec<String> = match value.try_iter() {
                    Ok(keys) => keys.map(|key| key.to_string()).collect(),
                    Err(_) => Vec::new(),
                };
                let dashed: Vec<_> = known.iter().map(|name| name.replace('_', "-")).collect();
                let meant = |name: &&String| name.starts_with(part) && template.contains(*name);
                if let Some(name) = dashed.iter().find(meant) {
                    let name = name.replace('-', "_");
                    return Some(format!("dashes become underscores in templates: {name}"));
                }
                let near = hint(part, "defined here", dashed.iter().map(String::as_str));
                return Some(near.replace('-', "_"));
            };
            value = inner;
        }
        None
    }
}

/// Where a name stands first, not as the beginning of a longer one.
fn position(template: &str, name: &str) -> usize {
    let longer = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let whole = |(at, _): &(usize, &str)| !template[at + name.len()..].starts_with(longer);
    template.match_indices(name).find(whole).map_or(usize::MAX, |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_where_they_stand_as_a_whole() {
        let template = "{{ options.port_range and options.port }}";
        assert_eq!(position(template, "options.port_range"), 3);
        assert_eq!(position(template, "options.port"), 26);
        assert_eq!(position(template, "options.ports"), usize::MAX);
    }
}
