//! Overlays' own files into the tree: `files/` is a mirror of `/`, and what ends in `.j2` is a template.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::system::{SystemError, SystemRoot};
use crate::appliance::{FileRule, Overlay, Plan};
use crate::digest::Hasher;
use crate::tree::{Meta, Node};

/// One file of an overlay.
pub(super) struct Source {
    /// In the tree, `.j2` taken off.
    path: String,
    /// What is there.
    kind: Kind,
}

enum Kind {
    File { contents: Vec<u8>, executable: bool },
    Link(String),
}

impl Kind {
    fn entry(self, root: &mut SystemRoot<'_>) -> Result<(Meta, Node), SystemError> {
        let (mode, node) = match self {
            Self::Link(to) => (0o777, Node::Symlink(to)),
            Self::File { contents, executable } => {
                let mode = if executable { 0o755 } else { 0o644 };
                (mode, Node::File(root.pack.append(&contents)?))
            }
        };
        Ok((root.meta(mode), node))
    }
}

impl Source {
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// What is in it, if it is a file.
    pub(super) fn contents(&self) -> Option<&[u8]> {
        match &self.kind {
            Kind::File { contents, .. } => Some(contents),
            Kind::Link(_) => None,
        }
    }

    /// Writes a file of it below a folder of the host, for a program to read. Links are left out.
    pub(super) fn write(&self, dir: &Path) -> std::io::Result<()> {
        let Some(contents) = self.contents() else { return Ok(()) };
        let path = dir.join(&self.path);
        fs::create_dir_all(path.parent().unwrap_or(dir))?;
        fs::write(path, contents)
    }

    /// Puts it into the tree as it is, root's, under its own path or another one.
    pub(super) fn put(
        self,
        root: &mut SystemRoot<'_>,
        path: Option<&str>,
    ) -> Result<(), SystemError> {
        let (meta, node) = self.kind.entry(root)?;
        root.put(path.unwrap_or(&self.path), meta, node)
    }

    /// Adds all of it to a key.
    pub(super) fn identify(&self, key: &mut Hasher) {
        match &self.kind {
            Kind::File { contents, executable } => {
                key.field(&self.path).field([u8::from(*executable)]).field(contents);
            }
            Kind::Link(to) => _ = key.field(&self.path).field("link").field(to),
        }
    }
}

/// Reads all files of a folder of an overlay (`files`, mostly), templates rendered. Nothing of the host but names, contents,
/// the owner's execute bit and link targets gets through.
pub(super) fn read(
    plan: &Plan,
    overlay: &Overlay,
    folder: &str,
) -> Result<Vec<Source>, SystemError> {
    let root = overlay.dir.join(folder);
    let mut sources = Vec::new();
    if root.is_dir() {
        let render = |path: &Path, text: String| {
            Ok(crate::appliance::render_file(plan, overlay, path, &text)?)
        };
        walk(&root, "", &render, &mut sources)?;
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    if let Some(twice) = sources.windows(2).find(|pair| pair[0].path == pair[1].path) {
        let why = "it is there twice, with and without .j2; remove one of the two";
        return Err(SystemError::source(&root.join(&twice[0].path), why));
    }
    Ok(sources)
}

/// The files of a folder without templates.
pub(super) fn read_plain(root: &Path) -> Result<Vec<Source>, SystemError> {
    let mut sources = Vec::new();
    walk(root, "", &|_, text| Ok(text), &mut sources)?;
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

type Render<'a> = &'a dyn Fn(&Path, String) -> Result<String, SystemError>;

fn walk(
    dir: &Path,
    inside: &str,
    render: Render<'_>,
    sources: &mut Vec<Source>,
) -> Result<(), SystemError> {
    for entry in fs::read_dir(dir).map_err(SystemError::read(dir))? {
        let path = entry.map_err(SystemError::read(dir))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        let name = name.ok_or_else(|| SystemError::source(&path, "its name is not UTF-8"))?;
        let inside = if inside.is_empty() { name } else { format!("{inside}/{name}") };
        let kind = fs::symlink_metadata(&path).map_err(SystemError::read(&path))?;
        if kind.is_dir() {
            walk(&path, &inside, render, sources)?;
        } else {
            sources.push(source(&path, inside, &kind, render)?);
        }
    }
    Ok(())
}

fn source(
    path: &PathBuf,
    inside: String,
    kind: &fs::Metadata,
    render: Render<'_>,
) -> Result<Source, SystemError> {
    if kind.is_symlink() {
        let to = fs::read_link(path).map_err(SystemError::read(path))?;
        let to = to.to_str().ok_or_else(|| SystemError::source(path, "its target is not UTF-8"))?;
        return Ok(Source { path: inside, kind: Kind::Link(to.to_owned()) });
    }
    if !kind.is_file() {
        return Err(SystemError::source(
            path,
            "it is neither a file, a folder nor a symbolic link",
        ));
    }
    let executable = kind.permissions().mode() & 0o100 != 0;
    let contents = fs::read(path).map_err(SystemError::read(path))?;
    let Some(target) = inside.strip_suffix(".j2") else {
        return Ok(Source { path: inside, kind: Kind::File { contents, executable } });
    };
    let text = String::from_utf8(contents)
        .map_err(|_| SystemError::source(path, "a template must be UTF-8"))?;
    let contents = render(path, text)?.into_bytes();
    Ok(Source { path: target.to_owned(), kind: Kind::File { contents, executable } })
}

/// Puts the files into the tree, over what is there: who may have what, `Claims` has found.
pub(super) fn put(
    root: &mut SystemRoot<'_>,
    overlay: &Overlay,
    sources: Vec<Source>,
) -> Result<(), SystemError> {
    let rules: BTreeMap<&str, &FileRule> =
        overlay.files.iter().map(|rule| (rule.path.trim_start_matches('/'), rule)).collect();
    for Source { path, kind } in sources {
        let (mut meta, node) = kind.entry(root)?;
        if let Some(rule) = rules.get(path.as_str()) {
            meta.mode = rule.mode;
            (meta.uid, meta.gid) = root.owner(&rule.owner, &rule.group)?;
        }
        root.put(&path, meta, node)?;
    }
    Ok(())
}
