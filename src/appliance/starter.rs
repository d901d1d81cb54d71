//! The `appliance.toml` that a project begins with: what the user said, and every option there is as a comment, told by the
//! overlays themselves.

use std::fmt::Write as _;
use std::path::Path;

use super::catalog::Catalog;
use super::document::Document;
use super::error::{LoadError, Report};
use super::units::SIZE;
use super::walk::Table;
use super::{Plan, Target};

/// Columns of a comment's line.
const WIDTH: usize = 100;

/// What the user said.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// A name of `overlays/stacks.toml`.
    pub stack: &'a str,
    /// The server's name.
    pub domain: &'a str,
    /// A preset's name.
    pub target: &'a str,
    /// The administrator's login name.
    pub admin: &'a str,
    /// OpenSSH public keys.
    pub keys: &'a [String],
}

/// Names and descriptions of the stacks of a folder `overlays/`.
///
/// # Errors
/// Its `stacks.toml` cannot be read, or is wrong.
pub fn stacks(overlays: &Path) -> Result<Vec<(String, String)>, LoadError> {
    let report = Report::default();
    let document = Document::read(&overlays.join("stacks.toml"), "it names sets of overlays")?;
    let entries = document.root(&report).entries().into_iter();
    let stacks = entries.map(|(name, node)| {
        let description = node.table().and_then(|table| table.string("description"));
        (name.value, description.map(|text| text.value).unwrap_or_default())
    });
    let stacks = stacks.collect();
    report.check()?;
    Ok(stacks)
}

/// An `appliance.toml` that says what the user said, and nothing else.
pub fn plain(wish: &Wish<'_>) -> String {
    let Wish { stack, domain, target, admin, keys } = wish;
    let keys: Vec<String> = keys.iter().map(|key| quoted(key)).collect();
    format!(
        "stack = {}\ndomain = {}\n[target]\nname = {}\n[admin]\nname = {}\nauthorized-keys = [{}]\n",
        quoted(stack),
        quoted(domain),
        quoted(target),
        quoted(admin),
        keys.join(", ")
    )
}

/// The same with everything that could be said. `plan`: what became of [`plain`] with these `overlays`.
///
/// # Errors
/// An overlay cannot be read.
pub fn commented(overlays: &Path, wish: &Wish<'_>, plan: &Plan) -> Result<String, LoadError> {
    let stacks = stacks(overlays)?;
    let stack = stacks.iter().find(|(name, _)| name == wish.stack);
    let mut text = format!(
        "# What this machine is. `chatimg build` makes it an image; docs/overlay.md has every key.\n\
         # Lines that begin with # say what holds if nothing is set: to change one, take away its #.\n\n\
         # {}\nstack = {}\n\n\
         # The server's name, for ever: it is part of every user's and every room's name.\ndomain = {}\n\n\
         # The appliance's own name: its disks' ids come from it.\n#name = {}\n\n\
         # More Debian packages to have on the machine.\npackages = []\n\n",
        stack.map_or("", |(_, description)| description),
        quoted(wish.stack),
        quoted(wish.domain),
        quoted(&plan.name),
    );
    more(&mut text, overlays, plan)?;
    target(&mut text, wish.target, &plan.target);
    text.push_str("[admin]\n");
    let _ = writeln!(text, "name = {}", quoted(wish.admin));
    comment(
        &mut text,
        "Public keys that may log in, each a line of ~/.ssh/*.pub. Nothing else lets anybody in.",
    );
    match wish.keys {
        [] => text.push_str("authorized-keys = []\n"),
        keys => {
            text.push_str("authorized-keys = [\n");
            for key in keys {
                let _ = writeln!(text, "    {},", quoted(key));
            }
            text.push_str("]\n");
        }
    }
    text.push_str("\n[secrets]\n");
    comment(
        &mut text,
        "Strings that no image may hold, 12 characters or more: a build that finds one fails (docs/evidence.md).",
    );
    text.push_str("#canaries = []\n");
    // What others require comes first in a plan, and matters least to its reader.
    for overlay in plan.overlays.iter().rev() {
        options(&mut text, &overlay.name, &document(&overlay.dir)?);
    }
    Ok(text)
}

/// `overlays = []`, and what could be in it.
fn more(text: &mut String, overlays: &Path, plan: &Plan) -> Result<(), LoadError> {
    comment(text, "More overlays than the stack has. There are:");
    let catalog = Catalog::open(overlays.to_owned())?;
    let there = |name: &&String| !plan.overlays.iter().any(|overlay| overlay.name == **name);
    for name in catalog.names.iter().filter(there) {
        let (report, overlay) = (Report::default(), document(&catalog.path(name))?);
        let description = overlay.root(&report).string("description");
        let description = description.map(|text| text.value).unwrap_or_default();
        comment(text, &format!("  {name}: {description}"));
    }
    text.push_str("overlays = []\n\n");
    Ok(())
}

fn target(text: &mut String, name: &str, target: &Target) {
    text.push_str("# The hardware.\n[target]\n");
    let _ = writeln!(text, "name = {}", quoted(name));
    let bytes = |bytes: u64| quoted(&SIZE.show(i64::try_from(bytes).unwrap_or(i64::MAX)));
    let firmware: Vec<String> = target.firmware.iter().map(|one| quoted(one.name())).collect();
    let features: Vec<String> = target.cpu_features.iter().map(|one| quoted(one)).collect();
    for (key, value, what) in [
        ("cores", target.cores.to_string(), ""),
        ("memory", bytes(target.memory), ""),
        (
            "cpu-features",
            format!("[{}]", features.join(", ")),
            "beyond x86-64-v2, as in /proc/cpuinfo; what needs another one is refused",
        ),
        ("firmware", format!("[{}]", firmware.join(", ")), "what it must start by"),
        (
            "raid",
            quoted(target.disks.raid()),
            "\"mirror\": two disks that hold the same; \"none\": one disk",
        ),
        ("slot", bytes(target.slot_size), "one of the two root partitions, whole MiB"),
        ("swap", bytes(target.swap_size), "\"0 B\" for none"),
    ] {
        let line = format!("#{key} = {value}");
        let line = if what.is_empty() { line } else { format!("{line:<32}# {what}") };
        let _ = writeln!(text, "{line}");
    }
    text.push('\n');
}

/// The options of an overlay, if it has any.
fn options(text: &mut String, name: &str, document: &Document) {
    // All of it was found right when the plan was made.
    let report = Report::default();
    let root = document.root(&report);
    let options = root.table("options").map(|table| table.entries()).unwrap_or_default();
    if options.is_empty() {
        return;
    }
    text.push('\n');
    comment(text, &root.string("description").map(|text| text.value).unwrap_or_default());
    let _ = writeln!(text, "[options.{name}]");
    for (key, node) in options {
        let Some(option) = node.table() else { continue };
        comment(text, &doc(&option));
        let default = option.get("default").map(|node| on_a_line(node.place.text()));
        let _ = writeln!(text, "#{} = {}", key.value, default.unwrap_or_default());
    }
}

/// What an option is for, and what it may be.
fn doc(option: &Table<'_>) -> String {
    let mut doc = option.string("doc").map(|text| text.value).unwrap_or_default();
    let written = |key: &str| option.get(key).map(|node| on_a_line(node.place.text()));
    match (written("min"), written("max")) {
        (Some(min), Some(max)) => doc.push_str(&format!(" From {min} to {max}.")),
        (Some(min), None) => doc.push_str(&format!(" At least {min}.")),
        (None, Some(max)) => doc.push_str(&format!(" At most {max}.")),
        (None, None) => {}
    }
    if let Some(choices) = written("choices") {
        doc.push_str(&format!(" One of {}.", choices.trim_matches(['[', ']', ' ', ','])));
    }
    doc
}

fn document(overlay: &Path) -> Result<Document, LoadError> {
    Document::read(&overlay.join("overlay.toml"), "it must be readable")
}

/// A value as it was written, but on one line.
fn on_a_line(value: &str) -> String {
    if value.contains('\n') {
        value.split_whitespace().collect::<Vec<_>>().join(" ")
    } else {
        value.to_owned()
    }
}

/// Text as comments, broken into lines; what it begins with is kept.
fn comment(text: &mut String, words: &str) {
    let indent = words.len() - words.trim_start().len();
    let mut line = format!("# {}", " ".repeat(indent));
    let start = line.len();
    for word in words.split_whitespace() {
        if line.len() > start && line.chars().count() + 1 + word.chars().count() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line.truncate(start);
        }
        if line.len() > start {
            line.push(' ');
        }
        line.push_str(word);
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_broken_between_words() {
        let mut text = String::new();
        comment(&mut text, &format!("  {} {}", "word ".repeat(30), "x".repeat(120)));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.iter().all(|line| line.starts_with("#   ")), "{text}");
        assert!(lines[..lines.len() - 1].iter().all(|line| line.len() <= WIDTH), "{text}");
        assert_eq!(text.matches("word").count(), 30);
        assert_eq!(lines.last().map(|line| line.len()), Some(124));
    }

    #[test]
    fn bounds_and_choices_are_told_as_they_are_written() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("overlay.toml");
        let toml = "description = \"A sample\"\n[options.size]\ntype = \"size\"\ndefault = \"5 MiB\"\n\
                    min = \"1 MiB\"\nmax = \"2 GiB\"\ndoc = \"How large.\"\n\
                    [options.level]\ntype = \"enum\"\ndefault = \"low\"\ndoc = \"How much.\"\n\
                    choices = [\n    \"low\",\n    \"high\",\n]\n\
                    [options.names]\ntype = \"list\"\ndefault = [\n \"a\", \"b\"\n]\ndoc = \"Which.\"\n";
        std::fs::write(&path, toml).expect("write");
        let mut text = String::new();
        options(&mut text, "sample", &Document::read(&path, "").expect("document"));
        let wanted = "\n# A sample\n[options.sample]\n# How large. From \"1 MiB\" to \"2 GiB\".\n#size = \"5 MiB\"\n\
                      # How much. One of \"low\", \"high\".\n#level = \"low\"\n# Which.\n#names = [ \"a\", \"b\" ]\n";
        assert_eq!(text, wanted);
    }
}
