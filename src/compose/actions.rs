//! Carries out what scripts do, but for what has a module of its own.

use std::collections::BTreeSet;

use md5::{Digest as _, Md5};

use super::packages::ComposeError;
use super::root::Root;
use super::users::{Maker, NewUser};
use super::{initscripts, tmpfiles};
use crate::debian::scripts::{Action, Place, nologin};
use crate::tree::{Meta, Node, TreePath};

/// The round that makes users and groups.
pub(super) fn account(root: &mut Root<'_>, action: &Action) -> Result<(), ComposeError> {
    match action {
        Action::Sysusers(files) => files.iter().try_for_each(|file| sysusers(root, file)),
        Action::Group(name) => {
            root.accounts.add_group(name, None, Maker::Adduser);
            Ok(())
        }
        Action::User(user) => root.accounts.add_user(&NewUser {
            name: &user.name,
            uid: None,
            group: user.group.as_deref(),
            comment: &user.comment,
            home: &user.home,
            shell: &user.shell,
            maker: Maker::Adduser,
        }),
        _ => Ok(()),
    }
}

/// The round after that: files, their owners and modes.
pub(super) fn file(root: &mut Root<'_>, action: &Action) -> Result<(), ComposeError> {
    match action {
        Action::Member { user, group } => root.accounts.add_member(user, group),
        Action::Tmpfiles(files) => files.iter().try_for_each(|file| tmpfiles::create(root, file)),
        Action::Dir(place) => root.put_if_absent(place, Node::Dir, 0o755),
        Action::File { path, owner, group, mode, text } => {
            let (path, owner) = (path.clone(), owner.clone());
            let place = &Place { path, owner, group: group.clone(), mode: mode.clone() };
            let node = Node::File(root.pack.append(text.as_bytes())?);
            root.put_if_absent(place, node, 0o644)
        }
        Action::Copy { from, to } => copy(root, from, to),
        Action::Ucf { from, to } => {
            let bytes = shipped(root, from)?;
            root.write(to, &bytes, 0o644)
        }
        Action::Link { path, to } => root.link(path, to),
        Action::Mode(place) | Action::Statoverride(place) => root.set(place),
        Action::Remove(path) => {
            let path = root.real(path)?;
            root.tree.remove(path.as_str());
            Ok(())
        }
        Action::InitScript(name) => initscripts::defaults(root, name),
        Action::Listing { of, to, header } => listing(root, of, to, header),
        _ => Ok(()),
    }
}

fn shipped(root: &Root<'_>, path: &str) -> Result<Vec<u8>, ComposeError> {
    let missing = || ComposeError::action(path, "the package no longer ships this file");
    root.bytes(path)?.ok_or_else(missing)
}

/// `cp -p`, unless the copy is there.
fn copy(root: &mut Root<'_>, from: &str, to: &str) -> Result<(), ComposeError> {
    if root.get(to).is_some() {
        return Ok(());
    }
    let (file, meta) = root.tree.file(from)?;
    let (node, meta) = (Node::File(*file), meta.clone());
    root.put(to, meta, node)
}

fn listing(root: &mut Root<'_>, of: &str, to: &str, header: &str) -> Result<(), ComposeError> {
    let folder: TreePath = of.parse()?;
    let below = root.tree.below(folder.as_str());
    let files = below.filter(|(_, entry)| matches!(entry.node, Node::File(_)));
    let prefix = folder.as_str().len() + 1;
    let names: BTreeSet<_> = files.map(|(path, _)| &path.as_str()[prefix..]).collect();
    let lines: String = names.iter().map(|name| format!("{name}\n")).collect();
    root.write(to, format!("{header}{lines}").as_bytes(), 0o644)
}

/// One file of `/usr/lib/sysusers.d`; see sysusers.d(5).
fn sysusers(root: &mut Root<'_>, file: &str) -> Result<(), ComposeError> {
    let path = format!("/usr/lib/sysusers.d/{file}");
    let text = root.text(&path)?;
    let text =
        text.ok_or_else(|| ComposeError::action(&path, "a script names this missing file"))?;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fields = split_quoted(line);
        let field = |index: usize| {
            fields.get(index).map(String::as_str).filter(|field| !matches!(*field, "-" | ""))
        };
        let bad = || ComposeError::action(&path, format!("unknown line {line:?}"));
        let (kind, name) = field(0).zip(field(1)).ok_or_else(bad)?;
        match kind {
            "g" => {
                let gid = field(2).map(|id| id.parse().map_err(|_| bad())).transpose()?;
                root.accounts.add_group(name, gid, Maker::Sysusers(false));
            }
            "u" | "u!" => {
                let (uid, group) = match field(2) {
                    Some(id) => id.split_once(':').map_or((id, None), |(u, g)| (u, Some(g))),
                    None => ("-", None),
                };
                let uid = if uid == "-" { None } else { Some(uid.parse().map_err(|_| bad())?) };
                root.accounts.add_user(&NewUser {
                    name,
                    uid,
                    group,
                    comment: field(3).unwrap_or_default(),
                    home: field(4).unwrap_or("/"),
                    shell: field(5).unwrap_or(&nologin()),
                    maker: Maker::Sysusers(kind == "u!"),
                })?;
            }
            "m" => root.accounts.add_member(name, field(2).ok_or_else(bad)?)?,
            "r" => {}
            _ => return Err(bad()),
        }
    }
    Ok(())
}

/// Fields split by space; one in double quotes may hold spaces.
pub(super) fn split_quoted(line: &str) -> Vec<String> {
    let (mut fields, mut field, mut quoted, mut any) = (Vec::new(), String::new(), false, false);
    for c in line.chars() {
        match c {
            '"' => (quoted, any) = (!quoted, true),
            c if c.is_whitespace() && !quoted => {
                if any {
                    fields.push(std::mem::take(&mut field));
                }
                any = false;
            }
            c => {
                field.push(c);
                any = true;
            }
        }
    }
    if any {
        fields.push(field);
    }
    fields
}

/// What update-shells makes of `/usr/share/debianutils/shells`, `shells.d`, and what add-shell added.
pub(super) fn shells<'a>(
    root: &mut Root<'_>,
    actions: impl Iterator<Item = &'a Action>,
) -> Result<(), ComposeError> {
    let (mut wanted, mut added) = (false, Vec::new());
    for action in actions {
        if let Action::Shells(shells) = action {
            wanted = true;
            added.extend(shells.iter().cloned());
        }
    }
    let Some(template) = root.text("/usr/share/debianutils/shells")?.filter(|_| wanted) else {
        return Ok(());
    };
    let mut texts = vec![template.clone()];
    for name in root.files_in("/usr/share/debianutils/shells.d").keys() {
        texts.extend(root.text(&format!("/usr/share/debianutils/shells.d/{name}"))?);
    }
    let mut shells: Vec<String> = Vec::new();
    let mut add = |lines: &mut dyn Iterator<Item = &str>| {
        for line in lines {
            let shell = line.split('#').next().unwrap_or_default();
            if !shell.is_empty() {
                let real = format!("/{}", root.real(shell)?);
                for shell in [shell.to_owned(), real] {
                    if !shells.contains(&shell) {
                        shells.push(shell);
                    }
                }
            }
        }
        Ok::<_, ComposeError>(shells.len())
    };
    let shipped = add(&mut texts.iter().flat_map(|text| text.lines()))?;
    add(&mut added.iter().map(String::as_str))?;
    let listed: Vec<_> = template.lines().collect();
    let lines = |shells: &mut dyn Iterator<Item = &String>| {
        shells.map(|shell| format!("{shell}\n")).collect::<String>()
    };
    let new = lines(&mut shells.iter().filter(|shell| !listed.contains(&shell.as_str())));
    root.write("/etc/shells", format!("{template}{new}").as_bytes(), 0o644)?;
    // What add-shell added is the machine's, not a package's.
    let state = lines(&mut shells[..shipped].iter());
    root.write("/var/lib/shells.state", state.as_bytes(), 0o644)
}

/// What ucf remembers of the files it installed.
pub(super) fn ucf_database(
    root: &mut Root<'_>,
    actions: &[(&str, &Action)],
) -> Result<(), ComposeError> {
    let (mut hashes, mut registry) = (String::new(), String::new());
    for (package, action) in actions {
        let Action::Ucf { from, to } = action else { continue };
        let bytes = shipped(root, from)?;
        hashes.push_str(&format!("{}  {to}\n", md5_hex(&bytes)));
        registry.push_str(&format!("{package} \t {to}\n"));
        let cache = format!("/var/lib/ucf/cache/{}", to.replace('/', ":"));
        root.write(&cache, &bytes, 0o644)?;
    }
    if root.exists("/var/lib/ucf") {
        root.write("/var/lib/ucf/hashfile", hashes.as_bytes(), 0o644)?;
        root.write("/var/lib/ucf/registry", registry.as_bytes(), 0o644)?;
    }
    Ok(())
}

/// The MD5 that dpkg and ucf recognise unchanged configuration files by.
pub(super) fn md5_hex(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A root-owned directory.
pub(super) fn make_dirs(root: &mut Root<'_>, path: &str) -> Result<(), ComposeError> {
    let path = root.real(path)?;
    if root.tree.get(path.as_str()).is_none() {
        if let Some(parent) = path.parent() {
            root.tree.make_dirs(&parent.parse()?, root.epoch)?;
        }
        let entry = crate::tree::Entry { meta: Meta::root(0o755, root.epoch), node: Node::Dir };
        root.tree.insert(path, entry)?;
    }
    Ok(())
}

/// For [`crate::fuzzing`].
pub(crate) fn fuzz(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    split_quoted(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_fields_hold_spaces() {
        assert_eq!(split_quoted("u x - \"a b\"  /h"), ["u", "x", "-", "a b", "/h"]);
        assert_eq!(split_quoted("a \"\" b"), ["a", "", "b"]);
    }

    #[test]
    fn md5_is_md5() {
        assert_eq!(md5_hex(b"abc"), "900150983cd24fb0d6963f7d28e17f72");
    }
}
