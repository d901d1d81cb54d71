//! `systemd-tmpfiles --create` for what lies in the image.
//!
//! Source: tmpfiles.d(5). Lines for /run, /tmp, /dev, /proc and /sys, for the boot only (`!`), for clean-up, and
//! with what is only known on the box (`%m`, credentials) make nothing here: systemd does them at boot.

use super::actions::split_quoted;
use super::packages::ComposeError;
use super::root::Root;
use crate::debian::scripts::Place;
use crate::tree::{Entry, Node};

/// What is no part of an image.
const VOLATILE: &[&str] = &["/run", "/var/run", "/tmp", "/dev", "/proc", "/sys"];

/// Applies one file of `/usr/lib/tmpfiles.d`.
pub(super) fn create(root: &mut Root<'_>, file: &str) -> Result<(), ComposeError> {
    let path = format!("/usr/lib/tmpfiles.d/{file}");
    // Scripts name files that a package has only with some options of its build.
    let Some(text) = root.text(&path)? else { return Ok(()) };
    for line in text.lines().map(str::trim) {
        if !line.is_empty() && !line.starts_with('#') {
            let fields = split_quoted(line);
            if apply(root, &fields)?.is_none() {
                return Err(ComposeError::action(&path, format!("unknown line {line:?}")));
            }
        }
    }
    Ok(())
}

/// `None`: not understood.
fn apply(root: &mut Root<'_>, fields: &[String]) -> Result<Option<()>, ComposeError> {
    let [kind, path, rest @ ..] = fields else { return Ok(None) };
    let field = |index: usize| rest.get(index).filter(|field| *field != "-").cloned();
    let volatile = VOLATILE.iter().any(|top| {
        path.strip_prefix(top).is_some_and(|below| below.is_empty() || below.starts_with('/'))
    });
    if volatile || path.contains('%') || kind.contains(['!', '^']) {
        return Ok(Some(()));
    }
    let mode = field(0);
    let only_new = |text: &Option<String>| text.as_ref().is_some_and(|text| text.starts_with(':'));
    let strip =
        |text: Option<String>| text.map(|text| text.trim_start_matches([':', '~']).to_owned());
    let place = |path: &str| Place {
        path: path.to_owned(),
        owner: strip(field(1)),
        group: strip(field(2)),
        mode: strip(mode.clone()),
    };
    let argument = rest.get(4).map(|_| rest[4..].join(" ")).filter(|text| text != "-");
    let plain = kind.trim_end_matches(['$', '-', '=', '?']);
    match plain {
        "d" | "D" | "v" | "q" | "Q" => {
            let place = place(path);
            root.put_if_absent(&place, Node::Dir, 0o755)?;
            if !only_new(&mode) {
                root.set(&place)?;
            }
        }
        "e" | "z" | "m" => {
            if root.exists(path) && !path.contains(['*', '?', '[']) {
                root.set(&place(path))?;
            }
        }
        "L" | "L+" => {
            let target = argument.unwrap_or_else(|| format!("/usr/share/factory{path}"));
            if plain == "L+" || root.get(path).is_none() {
                root.link(path, &target)?;
            }
        }
        "f" | "F" => {
            let node = Node::File(root.pack.append(argument.unwrap_or_default().as_bytes())?);
            root.put_if_absent(&place(path), node, 0o644)?;
        }
        "C" => copy(root, path, argument, &place(path))?,
        // Clean-up, attributes and access lists, which systemd sets again at every boot.
        "x" | "X" | "r" | "R" | "h" | "H" | "a" | "a+" | "A" | "A+" | "t" | "T" | "Z" => {}
        _ => return Ok(None),
    }
    Ok(Some(()))
}

fn copy(
    root: &mut Root<'_>,
    path: &str,
    from: Option<String>,
    place: &Place,
) -> Result<(), ComposeError> {
    let from = from.unwrap_or_else(|| format!("/usr/share/factory{path}"));
    let Some(Entry { node: Node::File(file), meta }) = root.get(&from) else { return Ok(()) };
    let (node, mode) = (Node::File(*file), meta.mode);
    root.put_if_absent(place, node, mode)
}
