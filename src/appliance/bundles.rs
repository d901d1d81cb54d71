//! `[bundles]` of `overlay.toml`, and `when`: what is only there with certain options.

use std::collections::BTreeSet;
use std::path::Path;

use super::document::Text;
use super::error::hint;
use super::origins::Origins;
use super::overlay::Source;
use super::render::Renderer;
use super::sections::files_below;
use super::walk::Table;
use super::{Bundle, Plan, names};

/// What esbuild makes files of by itself.
const SOURCES: [&str; 3] = [".js", ".ts", ".css"];

/// What a `when` is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Thing {
    /// An input, by its name.
    Input(String),
    /// A bundle, by its name.
    Bundle(String),
}

/// Reads `[bundles.NAME]`. Gives the bundle, and where it names its npm inputs.
pub(super) fn bundle<'a>(
    name: &str,
    overlay: &Path,
    table: &Table<'a>,
) -> (Option<Bundle>, Vec<Text<'a>>) {
    table.only(&["npm", "entries", "keep-names", "pages", "assets", "external", "into", "when"]);
    let sources = overlay.join(name);
    let files = files_below(&sources).unwrap_or_default();
    let own = |text: &Text<'a>| {
        let known = files.iter().map(|file| file.trim_start_matches('/'));
        if known.clone().any(|file| file == text.value) {
            return Some(text.value.clone());
        }
        let help = hint(&text.value, "files there", known);
        text.fail(format!("there is no \"{}\" in the folder {name}/", text.value), help);
        None
    };
    let node = table.require("entries", "entries = [\"app.js\"]");
    let texts = node.as_ref().map(|node| node.strings()).unwrap_or_default();
    if let Some(node) = node.filter(|_| texts.is_empty()) {
        node.fail("names nothing", "name what to begin with: [\"app.js\"]");
    }
    let entries: Vec<String> = texts
        .iter()
        .filter_map(|text| {
            let plain = SOURCES.iter().any(|end| text.value.ends_with(end));
            if !plain || text.value.contains(['/', '"', '\\']) {
                let help = "a script or style right in the bundle's folder, such as \"app.js\"";
                text.fail(format!("\"{}\" cannot be an entry", text.value), help);
                return None;
            }
            own(text)
        })
        .collect();
    let keep_names = table.strings("keep-names");
    let keep_names = keep_names.iter().filter_map(|text| {
        if !entries.contains(&text.value) {
            let help = hint(&text.value, "entries", entries.iter().map(String::as_str));
            text.fail(format!("\"{}\" is not among the entries", text.value), help);
            return None;
        }
        Some(text.value.clone())
    });
    let keep_names = keep_names.collect();
    let pages = table.strings("pages").iter().filter_map(own).collect();
    let assets = table.strings("assets").iter().filter_map(ending).collect();
    let npm = table.strings("npm");
    let into = table.require("into", &format!("into = \"/usr/share/{name}\""));
    let into = into.and_then(|node| names::path(&node.string()?));
    let values = |texts: &[Text<'_>]| texts.iter().map(|text| text.value.clone()).collect();
    let bundle = into.map(|into| Bundle {
        name: name.to_owned(),
        npm: values(&npm),
        entries,
        keep_names,
        pages,
        assets,
        external: values(&table.strings("external")),
        into,
    });
    (bundle, npm)
}

/// The ending of a file's name, without its dot.
fn ending(text: &Text<'_>) -> Option<String> {
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !text.value.is_empty() && text.value.chars().all(known) {
        return Some(text.value.clone());
    }
    let help = "lower-case letters and digits, such as \"woff2\"";
    text.fail(format!("\"{}\" is not the ending of a file's name", text.value), help);
    None
}

/// Takes out of `plan` and `sources` what their `when` does not want, and looks whether bundles have what they import.
pub(super) fn settle<'a>(plan: &mut Plan, sources: &mut [Source<'a>], origins: &Origins<'a>) {
    let mut overlays = plan.overlays.clone();
    for (source, overlay) in sources.iter_mut().zip(&mut overlays) {
        let render = Renderer::new(plan, overlay, origins);
        let whens = std::mem::take(&mut source.when).into_iter();
        let unwanted = |(_, text): &(Thing, Text<'a>)| holds(text, "when", &render) == Some(false);
        let unwanted: BTreeSet<Thing> = whens.filter(unwanted).map(|(thing, _)| thing).collect();
        let input = |name: &str| !unwanted.contains(&Thing::Input(name.to_owned()));
        overlay.python.retain(|env| input(&env.name));
        overlay.inputs.retain(|put| input(&put.name));
        overlay.bundles.retain(|bundle| !unwanted.contains(&Thing::Bundle(bundle.name.clone())));
        source.npm.retain(|name, _| input(name));
        source.url.retain(|name, _| input(name));
        for (bundle, text) in &source.imports {
            let there = source.npm.contains_key(&text.value);
            if !there && overlay.bundles.iter().any(|kept| kept.name == *bundle) {
                let help = hint(&text.value, "npm inputs", source.npm.keys().map(String::as_str));
                let name = &text.value;
                let message =
                    format!("\"{name}\" is not among the overlay's [inputs.npm] that are wanted");
                text.fail(message, help);
            }
        }
    }
    plan.overlays = overlays;
}

/// Whether a condition, the value of `key`, holds.
pub(super) fn holds<'a>(text: &Text<'a>, key: &str, render: &Renderer<'a>) -> Option<bool> {
    match render.text(text.clone())?.value.trim() {
        "true" | "True" => Some(true),
        "false" | "False" => Some(false),
        other => {
            let help = "such as \"{{ options.client == 'hydrogen' }}\"";
            text.fail(format!("\"{key}\" comes out as \"{other}\", not as true or false"), help);
            None
        }
    }
}
