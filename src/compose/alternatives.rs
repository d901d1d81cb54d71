//! Alternatives: names with several providers, of which the one with the highest priority is taken.
//!
//! ```text
//! /usr/bin/pager -> /etc/alternatives/pager -> /usr/bin/less
//! /var/lib/dpkg/alternatives/pager:
//!     auto, link, (slave's name, slave's link)..., "", (path, priority, slaves' paths...)..., ""
//! ```
//!
//! Source: update-alternatives(1).

use std::collections::BTreeMap;

use super::packages::ComposeError;
use super::root::Root;
use crate::debian::scripts::{Action, Alternative};
use crate::tree::{Entry, Node, TreePath};

/// A name and all that provide it.
#[derive(Default)]
struct Group {
    link: String,
    /// Link by slave's name.
    slaves: BTreeMap<String, String>,
    /// Choices by path.
    choices: BTreeMap<String, Choice>,
}

struct Choice {
    priority: i32,
    /// Path by slave's name.
    slaves: BTreeMap<String, String>,
}

/// Makes the links and records of all alternatives.
pub(super) fn install<'a>(
    root: &mut Root<'_>,
    actions: impl Iterator<Item = &'a Action>,
) -> Result<(), ComposeError> {
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for action in actions {
        match action {
            Action::Alternative(alternative) => add(root, &mut groups, alternative)?,
            Action::ManAlternative { folder, name, priority } => {
                let number = priority.parse();
                let number = number.map_err(|_| ComposeError::action(name, "bad priority"))?;
                let alternative = man_pages(root, folder, name, number)?;
                add(root, &mut groups, &alternative)?;
            }
            _ => {}
        }
    }
    groups.iter().try_for_each(|(name, group)| write(root, name, group))
}

fn add(
    root: &Root<'_>,
    groups: &mut BTreeMap<String, Group>,
    alternative: &Alternative,
) -> Result<(), ComposeError> {
    let Alternative { link, name, path, priority, slaves } = alternative;
    if !root.exists(path) {
        let why = format!("the alternative {path} is not there");
        return Err(ComposeError::action(name, why));
    }
    let group = groups.entry(name.clone()).or_default();
    if !group.link.is_empty() && group.link != *link {
        return Err(ComposeError::action(name, "its providers do not agree on its link"));
    }
    group.link.clone_from(link);
    let mut paths = BTreeMap::new();
    for (link, slave, path) in slaves {
        group.slaves.insert(slave.clone(), link.clone());
        paths.insert(slave.clone(), path.clone());
    }
    group.choices.insert(path.clone(), Choice { priority: *priority, slaves: paths });
    Ok(())
}

/// Every page below `folder` as a slave of the page `name`.
fn man_pages(
    root: &Root<'_>,
    folder: &str,
    name: &str,
    priority: i32,
) -> Result<Alternative, ComposeError> {
    let top: TreePath = folder.parse()?;
    let mut slaves = Vec::new();
    let mut path = None;
    for (page, entry) in root.tree.below(top.as_str()) {
        if entry.node == Node::Dir {
            continue;
        }
        let below = &page.as_str()[top.as_str().len()..];
        if page.name() == name {
            path = Some(below.to_owned());
        } else {
            let link = format!("/usr/share/man{below}");
            slaves.push((link, page.name().to_owned(), format!("/{page}")));
        }
    }
    let below = path.ok_or_else(|| ComposeError::action(folder, format!("it has no {name}")))?;
    let (link, path) = (format!("/usr/share/man{below}"), format!("{folder}{below}"));
    Ok(Alternative { link, name: name.to_owned(), path, priority, slaves })
}

fn write(root: &mut Root<'_>, name: &str, group: &Group) -> Result<(), ComposeError> {
    let best = group.choices.iter().rev().max_by_key(|(_, choice)| choice.priority);
    let (path, choice) = best.expect("a group has a choice");
    link(root, &group.link, name, path)?;
    for (slave, slave_link) in &group.slaves {
        if let Some(path) = choice.slaves.get(slave).filter(|path| root.exists(path)) {
            link(root, slave_link, slave, path)?;
        }
    }
    let mut text = format!("auto\n{}\n", group.link);
    for (slave, link) in &group.slaves {
        text.push_str(&format!("{slave}\n{link}\n"));
    }
    text.push('\n');
    for (path, choice) in &group.choices {
        text.push_str(&format!("{path}\n{}\n", choice.priority));
        for slave in group.slaves.keys() {
            text.push_str(choice.slaves.get(slave).map_or("", String::as_str));
            text.push('\n');
        }
    }
    text.push('\n');
    root.write(&format!("/var/lib/dpkg/alternatives/{name}"), text.as_bytes(), 0o644)
}

fn link(root: &mut Root<'_>, link: &str, name: &str, path: &str) -> Result<(), ComposeError> {
    if matches!(root.get(link), Some(Entry { node, .. }) if !matches!(node, Node::Symlink(_))) {
        return Err(ComposeError::action(link, "a package ships what should be an alternative"));
    }
    let middle = format!("/etc/alternatives/{name}");
    root.link(link, &middle)?;
    root.link(&middle, path)
}
