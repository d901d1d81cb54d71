//! From `appliance.toml` to a plan, in phases; each relies on what those before it have found
//! right.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::catalog::{self, Catalog};
use super::document::{Document, Place, Text};
use super::error::{LoadError, Report};
use super::manifest::{self, Manifest};
use super::origins::{Origin, Origins};
use super::overlay::{self, Source};
use super::render::Renderer;
use super::unique::Unique;
use super::{Change, Plan, Port, bundles, options, refuse, sections, tools};
use crate::lock::{Group, Request};

/// Reads an appliance and its overlays, which lie in `overlays/` beside it.
///
/// # Errors
/// A file cannot be read, or something in them is wrong; the error's text names every place.
pub fn load(appliance_toml: &Path) -> Result<Plan, LoadError> {
    let help = "name another file with --appliance FILE";
    plan(&Document::read(appliance_toml, help)?, appliance_toml)
}

/// The same, of an appliance that differs.
///
/// # Errors
/// The same; places are those of the changed text.
pub fn load_changed(appliance_toml: &Path, change: &Change) -> Result<Plan, LoadError> {
    load(appliance_toml)?;
    let help = "it was read a moment ago";
    let read = std::fs::read_to_string(appliance_toml);
    let text =
        read.map_err(|source| LoadError::Read { path: appliance_toml.to_owned(), source, help })?;
    let changed = change.apply(&text);
    plan(&Document::parse(&appliance_toml.with_extension("changed.toml"), changed)?, appliance_toml)
}

fn plan(document: &Document, appliance_toml: &Path) -> Result<Plan, LoadError> {
    let report = Report::default();
    let manifest = manifest::read(&document.root(&report));
    let dir = appliance_toml.parent().unwrap_or(Path::new(""));
    let catalog = Catalog::open(dir.join("overlays"))?;

    let stack = manifest.stack.as_ref().map(|stack| catalog.stack(stack, &report));
    let stack = stack.unwrap_or_default();
    let wanted: Vec<Text<'_>> = manifest.overlays.iter().chain(&stack).cloned().collect();
    let documents = catalog.read(&wanted, &report)?;
    report.check()?;

    let order = order(&documents, &report);
    let selected: Vec<&str> = documents.keys().map(String::as_str).collect();
    manifest.check_options(&selected, &catalog.names);
    report.check()?;

    let mut sources: Vec<Source<'_>> = order
        .iter()
        .map(|name| {
            let (dir, document) = (catalog.path(name), &documents[name]);
            overlay::read(name, dir, document, &report, &manifest.target)
        })
        .collect();
    inputs(&sources);
    formats(&sources);
    let (mut plan, origins) = skeleton(&manifest, &stack, &sources);
    report.check()?;
    for (source, overlay) in sources.iter().zip(&plan.overlays) {
        refuse::refuse(&source.root, &Renderer::new(&plan, overlay, &origins));
    }
    report.check()?;
    bundles::settle(&mut plan, &mut sources, &origins);
    fetched(&sources);
    report.check()?;
    plan.request = request(&manifest, &plan, &sources);
    let debian = catalog.debian_accounts()?;
    users(&mut plan, &manifest, &sources, &origins, &debian);
    report.check()?;
    ports(&mut plan, &sources, &origins);
    report.check()?;
    rest(&mut plan, &sources, &origins)?;
    report.check()?;
    Ok(plan)
}

fn order(documents: &BTreeMap<String, Document>, report: &Report) -> Vec<String> {
    let requires: BTreeMap<String, Vec<Text<'_>>> = documents
        .iter()
        .map(|(name, document)| (name.clone(), document.root(report).strings("requires")))
        .collect();
    catalog::order(&requires)
}

/// The plan with all that needs no templates, and who said what of it.
fn skeleton<'a>(
    manifest: &Manifest<'a>,
    stack: &[Text<'a>],
    sources: &[Source<'a>],
) -> (Plan, Origins<'a>) {
    let (mut overlays, mut origins) = (Vec::new(), Vec::new());
    for source in sources {
        let in_templates = |name: &str| name.replace('-', "_");
        let path = format!("overlays.{}", in_templates(source.name));
        let named = |texts: &[Text<'a>]| {
            texts.iter().find(|text| text.value == source.name).map(|text| text.place)
        };
        let place = named(&manifest.overlays).map(|place| (place, true));
        let place = place.or_else(|| Some((named(stack)?, false)));
        let origin = place.map(|(place, set)| Origin::overlay(source.name, place, set));
        origins.extend(origin.map(|origin| (path.clone(), origin)));
        let mut overlay = source.overlay.clone();
        let settled = options::settled(source.name, &source.specs, manifest.options(source.name));
        for (name, (value, origin)) in settled {
            origins.push((format!("{path}.options.{}", in_templates(&name)), origin));
            overlay.options.insert(name, value);
        }
        overlays.push(overlay);
    }
    let plan = Plan {
        name: manifest.name.clone(),
        domain: manifest.domain.clone(),
        target: manifest.target.clone(),
        admin: manifest.admin.clone(),
        canaries: manifest.canaries.clone(),
        overlays,
        request: Request::default(),
    };
    (plan, Origins::new(origins))
}

/// Everything to be fetched.
fn request(manifest: &Manifest<'_>, plan: &Plan, sources: &[Source<'_>]) -> Request {
    let overlays = || plan.overlays.iter();
    let image = overlays().flat_map(|overlay| &overlay.packages).chain(&manifest.packages);
    let fixed = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Request {
        debian: BTreeMap::from([
            (Group::Image, image.cloned().collect()),
            (Group::Build, fixed(&tools::BUILD)),
            (Group::Vm, fixed(&tools::VM)),
        ]),
        python: overlays()
            .flat_map(|overlay| &overlay.python)
            .map(|env| (env.name.clone(), env.requirements.clone()))
            .collect(),
        npm: sources.iter().flat_map(|source| source.npm.clone()).collect(),
        url: sources.iter().flat_map(|source| source.url.clone()).collect(),
    }
}

fn inputs(sources: &[Source<'_>]) {
    let mut names = Unique::default();
    for name in sources.iter().flat_map(|source| &source.inputs) {
        names.claim(name.value.clone(), name.place, || {
            format!("there are two inputs \"{}\"", name.value)
        });
    }
    let mut folders = Unique::default();
    for (folder, place) in sources.iter().flat_map(|source| &source.folders) {
        folders.claim(folder.clone(), *place, || {
            format!("two Python environments are in \"{folder}\"")
        });
    }
}

/// Files by address of which all are there; what else may clash shows when all is put together.
fn fetched(sources: &[Source<'_>]) {
    let mut paths = Unique::default();
    for source in sources {
        let kept = |(name, _): &&(String, Text<'_>)| source.url.contains_key(name);
        for (_, into) in source.files.iter().filter(kept) {
            let message = || format!("two inputs are the file \"{}\"", into.value);
            paths.claim(into.value.clone(), into.place, message);
        }
    }
}

fn formats(sources: &[Source<'_>]) {
    let mut names = Unique::default();
    for name in sources.iter().flat_map(|source| &source.formats) {
        names.claim(name.value.clone(), name.place, || {
            format!("there are two formats \"{}\"", name.value)
        });
    }
}

fn users<'a>(
    plan: &mut Plan,
    manifest: &Manifest<'a>,
    sources: &[Source<'a>],
    origins: &Origins<'a>,
    debian: &BTreeSet<String>,
) {
    let taken = |name: &str| {
        let message = format!("\"{name}\" is a user or group of a Debian package");
        debian.contains(name).then_some(message)
    };
    let (mut names, mut ids) = (Unique::default(), Unique::default());
    let mut found = Vec::new();
    for (source, overlay) in sources.iter().zip(&plan.overlays) {
        let render = Renderer::new(plan, overlay, origins);
        let users = sections::users(&source.root, &render);
        for (user, name, id) in &users {
            names.claim(user.name.clone(), name.place, || {
                format!("there are two users \"{}\"", user.name)
            });
            if let Some(message) = taken(&user.name) {
                name.fail(message, "take another name; overlays/debian/ids.toml has this one");
            }
            ids.claim(user.id, id.place, || format!("two users have the id {}", user.id));
        }
        found.push(users.into_iter().map(|(user, ..)| user).collect());
    }
    if let (Some(name), Some(message)) = (&manifest.admin_name, taken(&plan.admin.name)) {
        name.fail(message, "take another name");
    }
    if let Some(first) = names.first(&plan.admin.name) {
        let message = format!("\"{}\" is a user of an overlay", plan.admin.name);
        let help = format!("take another name; it is declared in {}", first.location());
        match &manifest.admin_name {
            Some(name) => name.fail(message, help),
            None => first.fail("this is the administrator's name", "take another name"),
        }
    }
    plan.overlays.iter_mut().zip(found).for_each(|(overlay, users)| overlay.users = users);
}

fn ports<'a>(plan: &mut Plan, sources: &[Source<'a>], origins: &Origins<'a>) {
    let mut claimed: Vec<(Port, Place<'a>)> = Vec::new();
    let mut found = Vec::new();
    for (source, overlay) in sources.iter().zip(&plan.overlays) {
        let render = Renderer::new(plan, overlay, origins);
        let ports = sections::ports(&source.root, &render);
        for (port, place) in &ports {
            let first = claimed.iter().find_map(|first| Some((port.overlap(&first.0)?, first)));
            match first {
                Some((both, first)) => used_twice(&both, &(port.clone(), *place), first),
                None => claimed.push((port.clone(), *place)),
            }
        }
        found.push(ports.into_iter().map(|(port, _)| port).collect());
    }
    plan.overlays.iter_mut().zip(found).for_each(|(overlay, ports)| overlay.ports = ports);
}

fn used_twice(both: &Port, second: &(Port, Place<'_>), first: &(Port, Place<'_>)) {
    let message = if both.number == both.to {
        format!("port {} is used twice", both.number)
    } else {
        format!("ports {} are used twice", both.range())
    };
    // Where the appliance says so: there it can be mended.
    let said = first.1.is_set() && !second.1.is_set();
    let ((_, place), (port, other)) = if said { (first, second) } else { (second, first) };
    place.fail(message, format!("the other, \"{}\": {}", port.purpose, other.told()));
}

/// Everything else that may have templates.
fn rest<'a>(
    plan: &mut Plan,
    sources: &[Source<'a>],
    origins: &Origins<'a>,
) -> Result<(), LoadError> {
    let mut paths = Unique::default();
    let mut overlays = plan.overlays.clone();
    let mut secrets = Vec::new();
    for (source, overlay) in sources.iter().zip(&mut overlays) {
        let (root, render) = (&source.root, Renderer::new(plan, overlay, origins));
        let state = sections::state(root, &render);
        for (state, path) in &state {
            paths.claim(state.path.clone(), path.place, || {
                format!("\"{}\" is declared as state twice", state.path)
            });
        }
        overlay.state = state.into_iter().map(|(state, _)| state).collect();
        secrets.push(sections::secrets(root, &render));
        overlay.enable = sections::units(root, "enable", &render);
        overlay.mask = sections::units(root, "mask", &render);
        overlay.health = sections::health(root, &render);
        let files = sections::own_files(&overlay.dir).map_err(|source| LoadError::Read {
            path: overlay.dir.join("files"),
            source,
            help: "all of it must be readable",
        })?;
        let mut rules = Unique::default();
        for (rule, path) in sections::files(root, &render, &files) {
            rules.claim(rule.path.clone(), path.place, || {
                format!("there are two rules for \"{}\"", rule.path)
            });
            overlay.files.push(rule);
        }
    }
    self::secrets(&mut overlays, secrets);
    plan.overlays = overlays;
    Ok(())
}

/// Secrets must lie on the data partition.
fn secrets(
    overlays: &mut [super::Overlay],
    secrets: Vec<Vec<sections::Placed<'_, super::Secret>>>,
) {
    let state: Vec<String> = overlays
        .iter()
        .flat_map(|overlay| &overlay.state)
        .map(|state| format!("{}/", state.path))
        .collect();
    let mut paths = Unique::default();
    for (overlay, secrets) in overlays.iter_mut().zip(secrets) {
        for (secret, text) in secrets {
            let path = &secret.path;
            paths.claim(path.clone(), text.place, || format!("there are two secrets \"{path}\""));
            if !state.iter().any(|dir| path.starts_with(dir.as_str())) {
                let parent = path.rsplit_once('/').map_or("/", |(parent, _)| parent);
                let help = format!("add a [[state]] with path = \"{parent}\", or move it into one");
                text.fail(format!("\"{path}\" is not inside any [[state]]"), help);
            }
            overlay.secrets.push(secret);
        }
    }
}

/// For [`crate::fuzzing`].
pub(crate) fn fuzz(bytes: &[u8], project: &Path) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let path = project.join("appliance.toml");
    let document = Document::parse(&path, text.to_owned());
    if let Err(error) = document.and_then(|document| plan(&document, &path)) {
        _ = error.to_string();
    }
}
