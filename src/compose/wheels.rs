//! Python environments: locked wheels, installed into a venv as PEP 427 and the installer specification of
//! PyPA (packaging.python.org, "Binary distribution format", "Recording installed projects") have it.
//!
//! ```text
//! INTO/pyvenv.cfg  INTO/bin/python3 -> /usr/bin/python3  INTO/bin/SCRIPT
//! INTO/lib/python3.13/site-packages/...  with *.dist-info
//! ```
//!
//! Byte code comes at the end, of what is left then ([`super::finish`]).

pub(crate) mod archive;

use std::io::BufReader;

use crate::appliance::PythonEnv;
use crate::digest::{Digest, Hasher};
use crate::lock::Wheel;
use crate::parallel::try_map;
use crate::store::{PackWriter, StepError, Store, StoreError};
use crate::tree::{Entry, Meta, Node, PathError, Tree, TreeError, TreePath};
use archive::{Archive, Contents};

/// The interpreter of the image.
const PYTHON: &str = "python3.13";

/// Where wheels are and trees go.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) store: &'a Store,
    /// What files without a time get, in seconds since 1970.
    pub(super) epoch: i64,
}

/// A wheel that cannot be installed.
#[derive(Debug, thiserror::Error)]
pub enum WheelError {
    /// The wheel is damaged or hostile.
    #[error("wheel {wheel}: {member}: {why}")]
    Bad {
        /// File name.
        wheel: String,
        /// Member of the archive, or what is missing.
        member: String,
        /// What is wrong.
        why: String,
    },
    /// Not fetched.
    #[error("wheel {wheel} is not in the store; run 'chatimg build' again")]
    Missing {
        /// File name.
        wheel: String,
    },
    /// Two wheels have the same file.
    #[error("Python environment {env}: {source}")]
    Clash {
        /// The environment.
        env: String,
        /// Where.
        source: TreeError,
    },
    /// The user stopped it.
    #[error(transparent)]
    Interrupted(#[from] crate::interrupt::Interrupted),
    /// The store's failure.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All of one environment.
pub(super) fn install(
    place: Place<'_>,
    env: &PythonEnv,
    wheels: &[Wheel],
) -> Result<Tree, WheelError> {
    let into = env.into.trim_matches('/');
    let clash = |source| WheelError::Clash { env: env.name.clone(), source };
    let mut tree = skeleton(place, into)?;
    for added in all(place, env, wheels, into)? {
        for (path, entry) in added.iter() {
            let dir = entry.node == Node::Dir;
            if !(dir && tree.get(path.as_str()).is_some_and(|old| old.node == Node::Dir)) {
                tree.insert(path.clone(), entry.clone()).map_err(clash)?;
            }
        }
    }
    Ok(tree)
}

/// Each wheel's tree, several made at a time, the largest first.
fn all(
    place: Place<'_>,
    env: &PythonEnv,
    wheels: &[Wheel],
    into: &str,
) -> Result<Vec<Tree>, WheelError> {
    let mut wheels: Vec<_> = wheels.iter().filter(|wheel| wheel.env == env.name).collect();
    wheels.sort_by_key(|wheel| std::cmp::Reverse(wheel.size));
    try_map(&wheels, |wheel| one(place, wheel, into))
}

fn skeleton(place: Place<'_>, into: &str) -> Result<Tree, WheelError> {
    let version = PYTHON.trim_start_matches("python");
    let config = format!(
        "home = /usr/bin\ninclude-system-site-packages = true\nversion = {version}\n\
         executable = /usr/bin/{PYTHON}\n"
    );
    let mut key = Hasher::step("venv");
    key.field(into).field(place.epoch.to_le_bytes());
    made(place.store, key.finish(), |pack| {
        let mut out = Target { tree: Tree::new(), pack, wheel: "venv", epoch: place.epoch };
        out.file(&format!("{into}/pyvenv.cfg"), 0o644, config.as_bytes())?;
        for name in ["python", "python3", PYTHON] {
            let to = Node::Symlink(format!("/usr/bin/{PYTHON}"));
            out.put(&format!("{into}/bin/{name}"), 0o777, to)?;
        }
        Ok(out.tree)
    })
}

fn one(place: Place<'_>, wheel: &Wheel, into: &str) -> Result<Tree, WheelError> {
    let mut key = Hasher::step("wheel");
    key.field(wheel.digest.as_bytes()).field(into).field(place.epoch.to_le_bytes());
    made(place.store, key.finish(), |pack| {
        let missing = || WheelError::Missing { wheel: wheel.file.clone() };
        let file = place.store.blob_file(&wheel.digest)?.ok_or_else(missing)?;
        let archive = Archive::read(wheel, BufReader::new(file), pack)?;
        let out = Target { tree: Tree::new(), pack, wheel: &wheel.file, epoch: place.epoch };
        unpack(&archive, into, out)
    })
}

fn made(
    store: &Store,
    key: Digest,
    make: impl FnOnce(&mut PackWriter) -> Result<Tree, WheelError>,
) -> Result<Tree, WheelError> {
    store.tree(key, make).map_err(StepError::into_inner)
}

struct Target<'a> {
    tree: Tree,
    pack: &'a mut PackWriter,
    wheel: &'a str,
    epoch: i64,
}

impl Target<'_> {
    fn put(&mut self, path: &str, mode: u16, node: Node) -> Result<(), WheelError> {
        let bad = |why: String| WheelError::Bad {
            wheel: self.wheel.to_owned(),
            member: path.to_owned(),
            why,
        };
        let path: TreePath = path.parse().map_err(|error: PathError| bad(error.to_string()))?;
        if let Some(parent) = path.parent() {
            let parent = parent.parse().map_err(|error: PathError| bad(error.to_string()))?;
            self.tree.make_dirs(&parent, self.epoch).map_err(|error| bad(error.to_string()))?;
        }
        let entry = Entry { meta: Meta::root(mode, self.epoch), node };
        self.tree.insert(path.clone(), entry).map_err(|error| bad(error.to_string()))
    }

    fn file(&mut self, path: &str, mode: u16, contents: &[u8]) -> Result<(), WheelError> {
        let node = Node::File(self.pack.append(contents)?);
        self.put(path, mode, node)
    }
}

fn unpack(archive: &Archive<'_>, into: &str, mut out: Target<'_>) -> Result<Tree, WheelError> {
    let site = format!("{into}/lib/{PYTHON}/site-packages");
    let data = archive.dist_info.strip_suffix(".dist-info").unwrap_or_default();
    let data = format!("{data}.data/");
    for (member, contents) in &archive.files {
        let (path, script) = match member.strip_prefix(&data) {
            None => (format!("{site}/{member}"), false),
            Some(rest) => match rest.split_once('/') {
                Some(("purelib" | "platlib", rest)) => (format!("{site}/{rest}"), false),
                Some(("scripts", rest)) => (format!("{into}/bin/{rest}"), true),
                Some(("data", rest)) => (format!("{into}/{rest}"), false),
                _ => return Err(archive.bad(member, "no installation scheme has this folder")),
            },
        };
        match contents {
            Contents::Text(text) if script => {
                out.file(&path, 0o755, &own_interpreter(text, into))?;
            }
            Contents::Text(text) => out.file(&path, 0o644, text)?,
            Contents::Packed(file) => {
                out.put(&path, if script { 0o755 } else { 0o644 }, Node::File(*file))?;
            }
        }
    }
    out.file(&format!("{site}/{}/INSTALLER", archive.dist_info), 0o644, b"chatimg\n")?;
    for (name, script) in entry_points(archive, into)? {
        out.file(&format!("{into}/bin/{name}"), 0o755, script.as_bytes())?;
    }
    Ok(out.tree)
}

/// A script's `#!python` line names the environment's interpreter.
fn own_interpreter(contents: &[u8], into: &str) -> Vec<u8> {
    match contents.strip_prefix(b"#!python") {
        Some(rest) => {
            let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            [format!("#!/{into}/bin/python3").as_bytes(), &rest[end..]].concat()
        }
        None => contents.to_vec(),
    }
}

/// `[console_scripts]` of entry_points.txt as programs.
fn entry_points(archive: &Archive<'_>, into: &str) -> Result<Vec<(String, String)>, WheelError> {
    let text = archive.info("entry_points.txt").unwrap_or_default();
    let mut section = "";
    let mut scripts = Vec::new();
    for line in
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
        } else if section == "console_scripts" {
            let parsed = line.split_once('=').and_then(|(name, target)| {
                let target = target.split('[').next()?.trim();
                let (module, function) = target.split_once(':')?;
                Some((name.trim(), module.trim(), function.trim()))
            });
            let valid = |text: &str| {
                !text.is_empty()
                    && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '-'))
            };
            let (name, module, function) = parsed
                .filter(|(name, module, function)| valid(name) && valid(module) && valid(function))
                .ok_or_else(|| archive.bad("entry_points.txt", format!("bad line {line:?}")))?;
            let first = function.split('.').next().unwrap_or(function);
            scripts.push((
                name.to_owned(),
                format!(
                    "#!/{into}/bin/python3\nimport sys\nfrom {module} import {first}\n\n\
                     if __name__ == \"__main__\":\n    sys.exit({function}())\n"
                ),
            ));
        }
    }
    Ok(scripts)
}

#[cfg(test)]
#[path = "wheels_tests.rs"]
mod tests;
