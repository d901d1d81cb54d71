//! `appliance.toml`.

use super::document::Text;
use super::error::hint;
use super::walk::{Node, Table};
use super::{AdminUser, Target, keys, names, target};
use crate::diagnostic::clipped;
use crate::scan::Canaries;

/// Top-level keys.
const KEYS: [&str; 9] =
    ["name", "stack", "domain", "packages", "overlays", "target", "admin", "secrets", "options"];

/// The file, with places where later checks need them.
pub(super) struct Manifest<'a> {
    pub(super) name: String,
    pub(super) domain: String,
    pub(super) stack: Option<Text<'a>>,
    pub(super) packages: Vec<String>,
    pub(super) overlays: Vec<Text<'a>>,
    pub(super) target: Target,
    pub(super) admin: AdminUser,
    /// Where the administrator is named.
    pub(super) admin_name: Option<Text<'a>>,
    /// `[secrets] canaries`
    pub(super) canaries: Vec<String>,
    /// `[options.OVERLAY]`, or what stands in its place.
    options: Vec<(Text<'a>, Node<'a>)>,
}

/// Reads the file's root table.
pub(super) fn read<'a>(root: &Table<'a>) -> Manifest<'a> {
    root.only(&KEYS);
    let domain = root.require("domain", "domain = \"chat.example.org\", the server's name");
    let domain = domain.and_then(|node| names::domain(&node.string()?)).unwrap_or_default();
    let name = root.string("name").and_then(|name| appliance_name(&name));
    let stack = root.require("stack", "stack = \"...\", one of overlays/stacks.toml");
    let (admin, admin_name) = admin(root.table("admin"));
    let options = root.get("options").and_then(|node| node.table_at("options.OVERLAY"));
    Manifest {
        name: name.unwrap_or_else(|| domain.clone()),
        domain,
        stack: stack.and_then(|node| node.string()),
        packages: root.strings("packages").iter().filter_map(names::package).collect(),
        overlays: root.strings("overlays"),
        target: target::read(root.table("target")),
        admin,
        admin_name,
        canaries: canaries(root.table("secrets")),
        options: options.map(|table| table.entries()).unwrap_or_default(),
    }
}

fn appliance_name(text: &Text<'_>) -> Option<String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
    let name = &text.value;
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if name.chars().all(allowed)
        && edge(name.chars().next())
        && edge(name.chars().last())
        && name.len() <= 253
    {
        return Some(name.clone());
    }
    let help = "lower-case letters, digits, dashes and dots, such as \"chat-test\"";
    text.fail(format!("\"{}\" cannot be an appliance's name", clipped(name)), help);
    None
}

fn admin(table: Option<Table<'_>>) -> (AdminUser, Option<Text<'_>>) {
    let mut admin = AdminUser { name: "admin".to_owned(), authorized_keys: Vec::new() };
    let Some(table) = table else { return (admin, None) };
    table.only(&["name", "authorized-keys"]);
    let text = table.string("name");
    if let Some(name) = text.as_ref().and_then(names::login) {
        admin.name = name;
    }
    let keys = table.strings("authorized-keys");
    admin.authorized_keys = keys.iter().filter_map(keys::public_key).collect();
    (admin, text)
}

fn canaries(table: Option<Table<'_>>) -> Vec<String> {
    let Some(table) = table else { return Vec::new() };
    table.only(&["canaries"]);
    let long_enough = |text: &Text<'_>| {
        let long = Canaries::new([text.value.as_str()]);
        if let Err(error) = &long {
            text.fail(error.to_string(), "take a longer one");
        }
        long.is_ok()
    };
    let texts = table.strings("canaries").into_iter();
    texts.filter(long_enough).map(|text| text.value).collect()
}

impl<'a> Manifest<'a> {
    /// The options set for `overlay`.
    pub(super) fn options(&self, overlay: &str) -> Option<Table<'a>> {
        let (name, node) = self.options.iter().find(|(name, _)| name.value == overlay)?;
        node.table_at(&format!("options.{}", name.value))
    }

    /// Refuses options for overlays that are not `selected`. `known`: all overlays there are.
    pub(super) fn check_options(&self, selected: &[&str], known: &[String]) {
        for (name, node) in &self.options {
            let overlay = name.value.as_str();
            if selected.contains(&overlay) {
                continue;
            }
            if !node.is_table() {
                let help =
                    "write a line [options.OVERLAY] above it, with the overlay that has the option";
                name.fail(format!("\"{overlay}\" stands below no overlay's name"), help);
                continue;
            }
            let help = match known.iter().any(|known| known == overlay) {
                true => format!("add \"{overlay}\" to overlays, or remove [options.{overlay}]"),
                false => hint(overlay, "overlays", selected.iter().copied()),
            };
            name.fail(format!("overlay \"{overlay}\" is not part of this appliance"), help);
        }
    }
}
