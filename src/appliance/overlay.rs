//! The part of `overlay.toml` that needs no templates: packages, inputs, options.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use url::Url;

use super::bundles::{self, Thing};
use super::document::{Document, Place, Text};
use super::error::Report;
use super::options::{self, Specs};
use super::walk::Table;
use super::{Format, Input, InputKind, Overlay, PythonEnv, Target, names, target};
use crate::debian::relation::is_package_name;
use crate::digest::Digest;
use crate::lock::{UrlRequest, check_npm_range, check_requirement};

/// Top-level keys.
const KEYS: [&str; 18] = [
    "description",
    "requires",
    "enable",
    "mask",
    "remove-files",
    "cpu-features",
    "packages",
    "inputs",
    "bundles",
    "users",
    "ports",
    "state",
    "secrets",
    "files",
    "health",
    "formats",
    "options",
    "refuse",
];

/// An overlay being read.
pub(super) struct Source<'a> {
    pub(super) name: &'a str,
    pub(super) root: Table<'a>,
    pub(super) specs: Specs<'a>,
    /// Semver ranges by npm package.
    pub(super) npm: BTreeMap<String, String>,
    /// Files by input name.
    pub(super) url: BTreeMap<String, UrlRequest>,
    /// Where its Python environments are.
    pub(super) folders: Vec<(String, Place<'a>)>,
    /// Where its files by address are put, with the input's name.
    pub(super) files: Vec<(String, Text<'a>)>,
    /// Names of all inputs.
    pub(super) inputs: Vec<Text<'a>>,
    /// What is only there if a template says so.
    pub(super) when: Vec<(Thing, Text<'a>)>,
    /// npm inputs that bundles name, with the bundle's name.
    pub(super) imports: Vec<(String, Text<'a>)>,
    /// Names of all formats.
    pub(super) formats: Vec<Text<'a>>,
    /// Without what has templates.
    pub(super) overlay: Overlay,
}

/// Reads an overlay; what has templates stays for later.
pub(super) fn read<'a>(
    name: &'a str,
    dir: PathBuf,
    document: &'a Document,
    report: &'a Report,
    target: &Target,
) -> Source<'a> {
    let root = document.root(report);
    root.only(&KEYS);
    let description = root.require("description", "description = \"What it is for\"");
    if let Some(text) = description.and_then(|node| node.string())
        && text.value.trim().is_empty()
    {
        text.fail("\"description\" is empty", "say in a line what the overlay is for");
    }
    let specs = options::declared(&root);
    let overlay = Overlay {
        name: name.to_owned(),
        dir,
        requires: root.strings("requires").into_iter().map(|text| text.value).collect(),
        packages: packages(&root),
        cpu_features: cpu_features(&root, target),
        python: Vec::new(),
        inputs: Vec::new(),
        bundles: Vec::new(),
        users: Vec::new(),
        enable: Vec::new(),
        mask: Vec::new(),
        remove_files: root.strings("remove-files").iter().filter_map(names::path).collect(),
        ports: Vec::new(),
        state: Vec::new(),
        secrets: Vec::new(),
        files: Vec::new(),
        options: BTreeMap::new(),
        health: Vec::new(),
        formats: Vec::new(),
    };
    let (npm, url) = (BTreeMap::new(), BTreeMap::new());
    let (folders, files) = (Vec::new(), Vec::new());
    let (inputs, formats) = (Vec::new(), Vec::new());
    let (when, imports) = (Vec::new(), Vec::new());
    let mut source = Source {
        name,
        root,
        specs,
        npm,
        url,
        folders,
        files,
        inputs,
        when,
        imports,
        formats,
        overlay,
    };
    if let Some(table) = root.table("inputs") {
        source.inputs(&table);
    }
    if let Some(table) = root.table("bundles") {
        source.bundles(&table);
    }
    if let Some(table) = root.table("formats") {
        source.formats(&table);
    }
    source
}

fn packages(root: &Table<'_>) -> BTreeSet<String> {
    let Some(table) = root.table("packages") else { return BTreeSet::new() };
    table.only(&["debian"]);
    table.strings("debian").iter().filter_map(names::package).collect()
}

fn format(name: &str, table: &Table<'_>) -> Option<Format> {
    table.only(&["package", "safe-back-to"]);
    let package = table.require("package", &format!("package = \"{name}\""))?.string();
    let package = package.and_then(|text| {
        if is_package_name(&text.value) {
            return Some(text.value);
        }
        let help = "a wheel's or a Debian package's name, as appliance.lock has it";
        text.fail(format!("\"{}\" is not the name of a package", text.value), help);
        None
    });
    let oldest = table.require("safe-back-to", "safe-back-to = \"1.2\"")?.string();
    let oldest = oldest.and_then(|text| {
        let number =
            |part: &str| (1..=9).contains(&part.len()) && part.bytes().all(|c| c.is_ascii_digit());
        if text.value.split('.').all(number) && text.value.split('.').count() <= 10 {
            return Some(text.value);
        }
        let help = "numbers with dots between, such as \"1.100\"";
        text.fail(format!("\"{}\" is not a version", text.value), help);
        None
    });
    Some(Format { name: name.to_owned(), package: package?, safe_back_to: oldest? })
}

fn cpu_features(root: &Table<'_>, target: &Target) -> BTreeSet<String> {
    let features = target::cpu_features(root);
    for (feature, text) in &features {
        if !target.cpu_features.contains(feature) {
            let help = format!(
                "if the machine has it (/proc/cpuinfo), add \"{feature}\" to cpu-features in \
                 [target] of appliance.toml"
            );
            let message = format!("this overlay needs the CPU feature \"{feature}\", ");
            text.fail(message + "which the target lacks", help);
        }
    }
    features.into_keys().collect()
}

impl<'a> Source<'a> {
    fn inputs(&mut self, table: &Table<'a>) {
        table.only(&["python", "npm", "url"]);
        for (kind, read) in [
            ("python", Self::python as fn(&mut Self, &str, &Table<'a>)),
            ("npm", Self::npm),
            ("url", Self::url),
        ] {
            let table = table.get(kind).and_then(|node| node.table_at(&format!("inputs.{kind}")));
            let entries = table.map(|table| table.entries()).unwrap_or_default();
            for (name, node) in entries {
                let valid = match kind {
                    "npm" => npm_name(&name),
                    _ => names::name(&name, "an input's name").is_some(),
                };
                let header = match name.value.starts_with('@') {
                    true => format!("inputs.{kind}.\"{}\"", name.value),
                    false => format!("inputs.{kind}.{}", name.value),
                };
                if let Some(table) = node.table_at(&header).filter(|_| valid) {
                    read(self, &name.value, &table);
                    let when = table.string("when");
                    self.when.extend(when.map(|text| (Thing::Input(name.value.clone()), text)));
                }
                self.inputs.push(name);
            }
        }
    }

    fn bundles(&mut self, table: &Table<'a>) {
        for (name, node) in table.entries() {
            let valid = names::name(&name, "a bundle's name").is_some();
            let table = node.table_at(&format!("bundles.{}", name.value));
            let Some(table) = table.filter(|_| valid) else { continue };
            let (bundle, npm) = bundles::bundle(&name.value, &self.overlay.dir, &table);
            self.overlay.bundles.extend(bundle);
            self.imports.extend(npm.into_iter().map(|text| (name.value.clone(), text)));
            let when = table.string("when");
            self.when.extend(when.map(|text| (Thing::Bundle(name.value.clone()), text)));
        }
    }

    fn formats(&mut self, table: &Table<'a>) {
        for (name, node) in table.entries() {
            let valid = names::name(&name, "a format's name").is_some();
            let table = node.table_at(&format!("formats.{}", name.value));
            if let Some(table) = table.filter(|_| valid) {
                let format = format(&name.value, &table);
                self.overlay.formats.extend(format);
            }
            self.formats.push(name);
        }
    }

    fn python(&mut self, name: &str, table: &Table<'a>) {
        table.only(&["requirements", "into", "when"]);
        let node = table.require("requirements", "requirements = [\"name>=1.0\"]");
        let texts = node.as_ref().map(|node| node.strings()).unwrap_or_default();
        if let Some(node) = node.filter(|_| texts.is_empty()) {
            node.fail("names nothing", "name what to install: [\"name>=1.0\"]");
        }
        for text in &texts {
            if let Err(why) = check_requirement(&text.value) {
                let help = "PEP 508 describes them; such as \"matrix-synapse[url-preview]>=1.100\"";
                text.fail(format!("this is not a Python requirement: {why}"), help);
            }
        }
        let into = table.require("into", &format!("into = \"/opt/{name}\""));
        let into = into.and_then(|node| {
            let path = names::path(&node.string()?)?;
            self.folders.push((path.clone(), node.place));
            Some(path)
        });
        self.overlay.python.push(PythonEnv {
            name: name.to_owned(),
            into: into.unwrap_or_default(),
            requirements: texts.into_iter().map(|text| text.value).collect(),
        });
    }

    fn put_into(&mut self, kind: InputKind, name: &str, table: &Table<'a>) {
        let into = table.require("into", &format!("into = \"/usr/share/{name}\""));
        let text = into.and_then(|node| node.string());
        let path = text.as_ref().and_then(names::path);
        if let (Some(text), InputKind::Url) = (text, kind) {
            self.files.push((name.to_owned(), text));
        }
        let (name, into) = (name.to_owned(), path.unwrap_or_default());
        self.overlay.inputs.push(Input { kind, name, into });
    }

    fn npm(&mut self, name: &str, table: &Table<'a>) {
        table.only(&["version", "into", "when"]);
        if table.get("into").is_some() {
            self.put_into(InputKind::Npm, name, table);
        }
        let version = table.require("version", "version = \"^1.0\"");
        let Some(text) = version.and_then(|node| node.string()) else { return };
        if !check_npm_range(&text.value) {
            let help = "such as \"^1.2\", \"1.x\" or \">=1.2 <3\"";
            text.fail(format!("\"{}\" is not a range of npm versions", text.value), help);
        }
        self.npm.insert(name.to_owned(), text.value);
    }

    fn url(&mut self, name: &str, table: &Table<'a>) {
        table.only(&["url", "sha256", "unpack", "into", "when"]);
        let unpack = table.get("unpack").and_then(|node| node.boolean()).unwrap_or(false);
        let kind = if unpack { InputKind::Archive } else { InputKind::Url };
        self.put_into(kind, name, table);
        let url = table.require("url", "url = \"https://...\"").and_then(|node| node.string());
        let digest = table.string("sha256").and_then(|text| {
            let digest = text.value.parse::<Digest>();
            if digest.is_err() {
                let help = "64 lower-case hexadecimal digits, as sha256sum prints them; \
                            without it, `chatimg lock` pins the file";
                text.fail("\"sha256\" is not a SHA-256 digest", help);
            }
            digest.ok()
        });
        let Some(text) = url else { return };
        let scheme = |url: &Url| matches!(url.scheme(), "https" | "http" | "file");
        if !Url::parse(&text.value).as_ref().is_ok_and(scheme) {
            let help = "begin with https://, http:// or file://";
            text.fail(format!("\"{}\" is not an address of a file", text.value), help);
        }
        self.url.insert(name.to_owned(), UrlRequest { url: text.value, digest });
    }
}

/// `name` or `@scope/name`.
fn npm_name(text: &Text<'_>) -> bool {
    let part = |part: &str| {
        let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.~".contains(c);
        !part.is_empty() && !part.starts_with(['.', '_']) && part.chars().all(known)
    };
    let name = text.value.as_str();
    let valid = match name.strip_prefix('@') {
        Some(scoped) => {
            scoped.split_once('/').is_some_and(|(scope, name)| part(scope) && part(name))
        }
        None => part(name),
    };
    if !valid {
        let help = "such as \"hydrogen-view-sdk\" or \"@matrix-org/olm\"";
        text.fail(format!("\"{name}\" is not the name of an npm package"), help);
    }
    valid
}
