//! Python environments: locked wheels, installed into a venv as PEP 427 and the installer specification of
//! PyPA (packaging.python.org, "Binary distribution format", "Recording installed projects") have it.
//!
//! ```text
//! INTO/pyvenv.cfg  INTO/bin/python3 -> /usr/bin/python3  INTO/bin/SCRIPT
//! INTO/lib/python3.13/site-packages/...  with __pycache__ and *.dist-info
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read};

use super::finish::{Finish, FinishError, Source, compile};
use crate::appliance::PythonEnv;
use crate::digest::{Digest, Hasher};
use crate::lock::Wheel;
use crate::parallel::try_map;
use crate::store::{PackWriter, StepError, Store, StoreError};
use crate::tree::{Entry, Meta, Node, PathError, Tree, TreeError, TreePath};

/// The interpreter of the image.
const PYTHON: &str = "python3.13";
/// No wheel unpacks to more.
const MAX_BYTES: u64 = 1 << 30;
/// No wheel has more files.
const MAX_FILES: usize = 50_000;

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
    /// Compiling failed.
    #[error(transparent)]
    Compile(#[from] FinishError),
    /// The store's failure.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All of one environment.
pub(super) fn install(
    context: Finish<'_>,
    env: &PythonEnv,
    wheels: &[Wheel],
) -> Result<Tree, WheelError> {
    let into = env.into.trim_matches('/');
    let clash = |source| WheelError::Clash { env: env.name.clone(), source };
    let mut tree = skeleton(context, into)?;
    for added in all(context, env, wheels, into)? {
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
    context: Finish<'_>,
    env: &PythonEnv,
    wheels: &[Wheel],
    into: &str,
) -> Result<Vec<Tree>, WheelError> {
    let mut wheels: Vec<_> = wheels.iter().filter(|wheel| wheel.env == env.name).collect();
    wheels.sort_by_key(|wheel| std::cmp::Reverse(wheel.size));
    try_map(&wheels, |wheel| one(context, wheel, into))
}

fn skeleton(context: Finish<'_>, into: &str) -> Result<Tree, WheelError> {
    let version = PYTHON.trim_start_matches("python");
    let config = format!(
        "home = /usr/bin\ninclude-system-site-packages = true\nversion = {version}\n\
         executable = /usr/bin/{PYTHON}\n"
    );
    let mut key = Hasher::step("venv");
    key.field(into).field(context.epoch.to_le_bytes());
    made(context.store, key.finish(), |pack| {
        let mut out = Target { tree: Tree::new(), pack, wheel: "venv", epoch: context.epoch };
        out.file(&format!("{into}/pyvenv.cfg"), 0o644, config.as_bytes())?;
        for name in ["python", "python3", PYTHON] {
            let to = Node::Symlink(format!("/usr/bin/{PYTHON}"));
            out.put(&format!("{into}/bin/{name}"), 0o777, to)?;
        }
        Ok(out.tree)
    })
}

fn one(context: Finish<'_>, wheel: &Wheel, into: &str) -> Result<Tree, WheelError> {
    let mut key = Hasher::step("wheel");
    key.field(wheel.digest.as_bytes()).field(into);
    key.field(context.tools.id().as_bytes()).field(context.epoch.to_le_bytes());
    made(context.store, key.finish(), |pack| {
        let missing = || WheelError::Missing { wheel: wheel.file.clone() };
        let bytes = context.store.read_blob(&wheel.digest)?.ok_or_else(missing)?;
        let archive = Archive::read(&wheel.file, bytes)?;
        let out = Target { tree: Tree::new(), pack, wheel: &wheel.file, epoch: context.epoch };
        unpack(context, &archive, into, out)
    })
}

fn made(
    store: &Store,
    key: Digest,
    make: impl FnOnce(&mut PackWriter) -> Result<Tree, WheelError>,
) -> Result<Tree, WheelError> {
    store.tree(key, make).map_err(StepError::into_inner)
}

/// A wheel's members, checked against its RECORD.
struct Archive<'a> {
    name: &'a str,
    files: BTreeMap<String, Vec<u8>>,
    dist_info: String,
}

impl<'a> Archive<'a> {
    fn read(name: &'a str, bytes: Vec<u8>) -> Result<Self, WheelError> {
        let bad = |member: &str, why: String| WheelError::Bad {
            wheel: name.to_owned(),
            member: member.to_owned(),
            why,
        };
        let mut zip = zip::ZipArchive::new(Cursor::new(bytes))
            .map_err(|error| bad("the archive", error.to_string()))?;
        if zip.len() > MAX_FILES {
            return Err(bad("the archive", format!("it has over {MAX_FILES} members")));
        }
        let (mut files, mut total) = (BTreeMap::new(), 0);
        for index in 0..zip.len() {
            let member = zip.by_index(index);
            let member = member.map_err(|error| bad("the archive", error.to_string()))?;
            let path = member.name().to_owned();
            if member.is_symlink() {
                return Err(bad(&path, "it is a symbolic link".to_owned()));
            }
            let checked =
                TreePath::from_archive(&path).map_err(|error| bad(&path, error.to_string()))?;
            if member.is_dir() {
                continue;
            }
            if path.contains('\\') || checked.is_none_or(|checked| checked.as_str() != path) {
                return Err(bad(&path, "its name is not a plain relative path".to_owned()));
            }
            let mut contents = Vec::new();
            let mut limited = member.take(MAX_BYTES - total + 1);
            limited.read_to_end(&mut contents).map_err(|error| bad(&path, error.to_string()))?;
            total += contents.len() as u64;
            if total > MAX_BYTES {
                return Err(bad(&path, format!("the wheel unpacks to over {MAX_BYTES} bytes")));
            }
            if files.insert(path.clone(), contents).is_some() {
                return Err(bad(&path, "it is there twice".to_owned()));
            }
        }
        let infos: BTreeSet<_> = files
            .keys()
            .filter_map(|path| Some(path.split_once('/')?.0))
            .filter(|dir| dir.ends_with(".dist-info"))
            .collect();
        let [dist_info] = infos.iter().collect::<Vec<_>>()[..] else {
            return Err(bad("*.dist-info", format!("there are {}, not one", infos.len())));
        };
        let archive = Self { name, dist_info: (*dist_info).to_owned(), files };
        archive.check_record()?;
        Ok(archive)
    }

    fn bad(&self, member: &str, why: impl Into<String>) -> WheelError {
        let (wheel, member) = (self.name.to_owned(), member.to_owned());
        WheelError::Bad { wheel, member, why: why.into() }
    }

    /// A text file of the `.dist-info` folder.
    fn info(&self, name: &str) -> Option<&str> {
        let bytes = self.files.get(&format!("{}/{name}", self.dist_info))?;
        std::str::from_utf8(bytes).ok()
    }

    /// Every file must be in RECORD with its digest, but for RECORD itself and its signatures.
    fn check_record(&self) -> Result<(), WheelError> {
        let record = self.info("RECORD").ok_or_else(|| self.bad("RECORD", "it is missing"))?;
        let mut listed = BTreeMap::new();
        for line in record.lines().filter(|line| !line.is_empty()) {
            let row =
                parse_row(line).ok_or_else(|| self.bad("RECORD", format!("bad row {line:?}")))?;
            listed.insert(row.0, row.1);
        }
        for (path, contents) in &self.files {
            let name = path.strip_prefix(&format!("{}/", self.dist_info)).unwrap_or("");
            if ["RECORD", "RECORD.jws", "RECORD.p7s"].contains(&name) {
                continue;
            }
            let wanted = format!("sha256={}", base64_url(Digest::of(contents).as_bytes()));
            match listed.get(path) {
                None => return Err(self.bad(path, "RECORD does not list it")),
                Some(digest) if *digest != wanted => {
                    return Err(self.bad(path, format!("RECORD has {digest}, it has {wanted}")));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

/// One row of RECORD: path, digest. Paths with a comma or quote are quoted as in CSV.
fn parse_row(line: &str) -> Option<(String, String)> {
    let (path, rest) = if let Some(quoted) = line.strip_prefix('"') {
        let end = quoted.find("\",")?;
        (quoted[..end].replace("\"\"", "\""), &quoted[end + 2..])
    } else {
        let (path, rest) = line.split_once(',')?;
        (path.to_owned(), rest)
    };
    Some((path, rest.split(',').next()?.to_owned()))
}

/// Base64 with `-` and `_`, without padding (RFC 4648, section 5).
fn base64_url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0, |sum: u32, index| {
            sum << 8 | u32::from(chunk.get(index).copied().unwrap_or(0))
        });
        for digit in 0..=chunk.len() {
            out.push(char::from(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize]));
        }
    }
    out
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

fn unpack(
    context: Finish<'_>,
    archive: &Archive<'_>,
    into: &str,
    mut out: Target<'_>,
) -> Result<Tree, WheelError> {
    let site = format!("{into}/lib/{PYTHON}/site-packages");
    let data = format!("{}.data/", archive.dist_info.trim_end_matches(".dist-info"));
    let mut sources = Vec::new();
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
        if script {
            let text = own_interpreter(contents, into);
            out.file(&path, 0o755, &text)?;
        } else {
            out.file(&path, 0o644, contents)?;
        }
        if path.ends_with(".py") && !script {
            sources.push((path, contents));
        }
    }
    out.file(&format!("{site}/{}/INSTALLER", archive.dist_info), 0o644, b"chatimg\n")?;
    for (name, script) in entry_points(archive, into)? {
        out.file(&format!("{into}/bin/{name}"), 0o755, script.as_bytes())?;
    }
    let sources: Vec<_> =
        sources.iter().map(|(path, text)| Source { path, text: (*text).clone() }).collect();
    for (path, code) in compile(context, &sources)? {
        out.file(&path, 0o644, &code)?;
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
