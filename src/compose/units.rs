//! Enables systemd units as `deb-systemd-helper` and `systemctl` do on a fresh system.
//!
//! ```text
//! /etc/systemd/system/multi-user.target.wants/ssh.service -> /usr/lib/systemd/system/ssh.service
//! /var/lib/systemd/deb-systemd-helper-enabled/multi-user.target.wants/ssh.service      empty: link was made
//! /var/lib/systemd/deb-systemd-helper-enabled/ssh.service.dsh-also                     the links of the unit
//! ```
//!
//! Source: deb-systemd-helper(1p) of init-system-helpers, systemd.unit(5), systemd.preset(5).

use super::actions::make_dirs;
use super::packages::ComposeError;
use super::pattern::fits;
use super::root::Root;
use crate::debian::scripts::{Action, Unit};

/// A symbolic link that enabling a unit makes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Link {
    path: String,
    to: String,
}

/// The round of units, after all files are there.
pub(super) fn apply(root: &mut Root<'_>, action: &Action) -> Result<(), ComposeError> {
    match action {
        Action::Enable(unit) => enable(root, unit),
        Action::Track(unit) => {
            let links = links(root, unit, &mut Vec::new())?;
            record(root, unit, &links)
        }
        Action::SystemctlEnable(name) => {
            let links = links(root, &Unit { name: name.clone(), user: false }, &mut Vec::new())?;
            links.iter().try_for_each(|link| root.link(&link.path, &link.to))
        }
        _ => Ok(()),
    }
}

fn instance(unit: &Unit) -> &'static str {
    if unit.user { "user" } else { "system" }
}

fn state_dir(unit: &Unit) -> &'static str {
    if unit.user {
        "/var/lib/systemd/deb-systemd-user-helper-enabled"
    } else {
        "/var/lib/systemd/deb-systemd-helper-enabled"
    }
}

fn enable(root: &mut Root<'_>, unit: &Unit) -> Result<(), ComposeError> {
    let links = links(root, unit, &mut Vec::new())?;
    if preset(root, unit)? {
        for link in links.iter().filter(|link| root.get(&link.path).is_none()).collect::<Vec<_>>() {
            root.link(&link.path, &link.to)?;
        }
    }
    if links.is_empty() {
        return Ok(());
    }
    record(root, unit, &links)?;
    let folder = format!("/etc/systemd/{}", instance(unit));
    for link in &links {
        let state = link.path.replace(&folder, state_dir(unit));
        if root.get(&state).is_none() {
            root.write(&state, b"", 0o644)?;
        }
    }
    Ok(())
}

/// The list of a unit's links.
fn record(root: &mut Root<'_>, unit: &Unit, links: &[Link]) -> Result<(), ComposeError> {
    make_dirs(root, state_dir(unit))?;
    let mut lines: Vec<&str> = Vec::new();
    for link in links {
        if !lines.contains(&link.path.as_str()) {
            lines.push(&link.path);
        }
    }
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let path = format!("{}/{}.dsh-also", state_dir(unit), unit.name);
    root.write(&path, text.as_bytes(), 0o644)
}

/// All links of a unit and of those it names by `Also=`.
fn links(
    root: &Root<'_>,
    unit: &Unit,
    visited: &mut Vec<String>,
) -> Result<Vec<Link>, ComposeError> {
    let folder = format!("/etc/systemd/{}", instance(unit));
    let (path, text) = find(root, unit)?;
    let mut wanted = unit.name.clone();
    let (mut links, mut dirs) = (Vec::new(), Vec::new());
    for line in text.lines().map(str::trim_start) {
        let Some((key, value)) = line.split_once('=') else { continue };
        let mut values = value.split_whitespace().map(|value| value.trim_matches(['"', '\'']));
        match key.to_ascii_lowercase().as_str() {
            "wantedby" => dirs.extend(values.map(|value| format!("{folder}/{value}.wants"))),
            "requiredby" => dirs.extend(values.map(|value| format!("{folder}/{value}.requires"))),
            "also" => {
                for value in values {
                    if value != unit.name && !visited.iter().any(|seen| seen == value) {
                        visited.push(value.to_owned());
                        let also = Unit { name: value.to_owned(), user: unit.user };
                        links.extend(self::links(root, &also, visited)?);
                    }
                }
            }
            "alias" => links.extend(
                values
                    .filter(|value| *value != unit.name)
                    .map(|value| Link { path: format!("{folder}/{value}"), to: path.clone() }),
            ),
            "defaultinstance" => {
                if let (Some((name, ending)), Some(value)) =
                    (unit.name.split_once("@."), values.next_back())
                {
                    wanted = format!("{name}@{value}.{ending}");
                }
            }
            _ => {}
        }
    }
    let wants =
        dirs.into_iter().map(|dir| Link { path: format!("{dir}/{wanted}"), to: path.clone() });
    links.extend(wants);
    Ok(links)
}

/// The unit's file and its text; an instance's is that of its template.
fn find(root: &Root<'_>, unit: &Unit) -> Result<(String, String), ComposeError> {
    let mut names = vec![unit.name.clone()];
    if let Some((name, rest)) = unit.name.split_once('@')
        && let Some((_, ending)) = rest.rsplit_once('.')
    {
        names.push(format!("{name}@.{ending}"));
    }
    for name in names {
        for folder in ["/etc/systemd", "/usr/lib/systemd"] {
            let path = format!("{folder}/{}/{name}", instance(unit));
            if let Some(text) = root.text(&path)? {
                return Ok((path, text));
            }
        }
    }
    Err(ComposeError::action(&unit.name, "a script enables this unit, but no package ships it"))
}

/// Whether presets leave a unit enabled: the first rule that fits decides, else it is.
fn preset(root: &Root<'_>, unit: &Unit) -> Result<bool, ComposeError> {
    let mut rules = std::collections::BTreeMap::new();
    for top in ["/usr/lib/systemd", "/etc/systemd"] {
        let folder = format!("{top}/{}-preset", instance(unit));
        for name in root.files_in(&folder).into_keys().filter(|name| name.ends_with(".preset")) {
            let path = format!("{folder}/{name}");
            rules.insert(name, path);
        }
    }
    for path in rules.values() {
        let text = root.text(path)?.unwrap_or_default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            if let (Some(verb @ ("enable" | "disable")), Some(pattern)) =
                (words.next(), words.next())
                && fits(pattern, &unit.name)
            {
                return Ok(verb == "enable");
            }
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preset_patterns_fit_whole_names() {
        for (pattern, name, wanted) in [
            ("a.service", "a.service", true),
            ("a.service", "aa.service", false),
            ("*", "x", true),
            ("a*.service", "ab.service", true),
            ("a*.service", "ab.socket", false),
            ("systemd-journal-upload.*", "systemd-journal-upload.service", true),
        ] {
            assert_eq!(fits(pattern, name), wanted, "{pattern} {name}");
        }
    }
}
