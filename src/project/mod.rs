//! A new project folder: all that a build needs, out of the program itself, and an `appliance.toml` to begin with.
//!
//! The folder is put together beside its place and moved there when it is right: an interrupted or failed `init` leaves
//! nothing.

mod keys;

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::appliance::{self, LoadError, Plan, Wish};
use crate::failure::IoFailure;
use crate::interrupt::{self, Interrupted};
use crate::lock::{Lock, unanswered};
use crate::whole::parent;

pub use keys::{KeysError, of_user, read as read_keys};

/// A file that every project has: its path, whether it is executable, what is in it.
pub type Part = (&'static str, bool, &'static [u8]);

const CONFIG: &str = "appliance.toml";
const LOCK: &str = "appliance.lock";
const IGNORED: &str = "/images/\n# It may hold secrets.\n/host.toml\n";

/// What became of it.
#[derive(Debug)]
pub struct Made {
    /// What the new appliance.toml says.
    pub plan: Plan,
    /// Whether there is a lock that answers it.
    pub locked: bool,
}

/// There is no new project.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// Something is there already.
    #[error("{} is not empty; name a folder that is, or a new one", .0.display())]
    NotEmpty(PathBuf),
    /// A value cannot be.
    #[error("{option}: {message}\n  help: {help}")]
    Value {
        /// The command line's option.
        option: &'static str,
        /// What is wrong.
        message: String,
        /// What to do.
        help: String,
    },
    /// There is no such stack.
    #[error("there is no stack '{name}'; there are:{}", listed(known))]
    Stack {
        /// What was named.
        name: String,
        /// Names and descriptions.
        known: Vec<(String, String)>,
    },
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoFailure),
    /// What was to be written is wrong.
    #[error("{0}")]
    Load(String),
    /// The user stopped it.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl From<LoadError> for ProjectError {
    fn from(error: LoadError) -> Self {
        Self::Load(error.to_string())
    }
}

fn listed(known: &[(String, String)]) -> String {
    known.iter().map(|(name, description)| format!("\n  {name}: {description}")).collect()
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ProjectError {
    IoFailure::when(doing, path)
}

/// Makes the project in `dir`, which may be there if it is empty.
///
/// # Errors
/// The folder is not empty or cannot be written, or what the user said cannot be; nothing was made then.
pub fn create(dir: &Path, parts: &[Part], wish: &Wish<'_>) -> Result<Made, ProjectError> {
    check(wish)?;
    let there = match fs::read_dir(dir) {
        Ok(mut entries) => match entries.next() {
            None => true,
            Some(_) => return Err(ProjectError::NotEmpty(dir.to_owned())),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            return Err(ProjectError::NotEmpty(dir.to_owned()));
        }
        Err(error) => return Err(failed("reading", dir)(error)),
    };
    let beside = if there { dir } else { parent(dir) };
    let stage = tempfile::Builder::new().prefix(".chatimg-init-").tempdir_in(beside);
    let stage = stage.map_err(failed("making a folder in", beside))?;
    // Inside, as the umask wants it; the other one is for its owner only.
    let new = stage.path().join("project");
    fs::create_dir(&new).map_err(failed("making", &new))?;
    let made = fill(&new, parts, wish).map_err(|error| match error {
        // It tells of files that are gone then.
        ProjectError::Load(text) => {
            ProjectError::Load(text.replace(&*new.to_string_lossy(), &dir.to_string_lossy()))
        }
        error => error,
    })?;
    interrupt::check()?;
    if there {
        take(&new, dir)?;
    } else {
        fs::rename(&new, dir).map_err(failed("making", dir))?;
    }
    Ok(made)
}

/// What can be told to be wrong without a file to point at.
fn check(wish: &Wish<'_>) -> Result<(), ProjectError> {
    let value = |option, checked: Result<(), (String, String)>| {
        checked.map_err(|(message, help)| ProjectError::Value { option, message, help })
    };
    value("--domain", appliance::check_domain(wish.domain))?;
    value("--admin", appliance::check_login(wish.admin))
}

fn fill(dir: &Path, parts: &[Part], wish: &Wish<'_>) -> Result<Made, ProjectError> {
    let mut lock = None;
    for (name, executable, contents) in parts {
        interrupt::check()?;
        match *name {
            LOCK => lock = Some(*contents),
            _ => write(&dir.join(name), *executable, contents)?,
        }
    }
    write(&dir.join(".gitignore"), false, IGNORED.as_bytes())?;
    let overlays = dir.join("overlays");
    let known = appliance::stacks(&overlays)?;
    if !known.iter().any(|(name, _)| name == wish.stack) {
        return Err(ProjectError::Stack { name: wish.stack.to_owned(), known });
    }
    let config = dir.join(CONFIG);
    write(&config, false, appliance::plain(wish).as_bytes())?;
    let text = appliance::commented(&overlays, wish, &appliance::load(&config)?)?;
    fs::write(&config, text).map_err(failed("writing", &config))?;
    let plan = appliance::load(&config)?;
    // That of another stack is of no use: `chatimg lock` makes one.
    let lock = lock.filter(|bytes| answers(bytes, &plan));
    if let Some(bytes) = lock {
        write(&dir.join(LOCK), false, bytes)?;
    }
    Ok(Made { plan, locked: lock.is_some() })
}

fn answers(lock: &[u8], plan: &Plan) -> bool {
    let text = str::from_utf8(lock).ok();
    let lock = text.and_then(|text| Lock::parse(text, LOCK).ok());
    lock.is_some_and(|lock| unanswered(&lock, &plan.request).is_empty())
}

fn write(path: &Path, executable: bool, contents: &[u8]) -> Result<(), ProjectError> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(failed("making", dir))?;
    }
    let mode = if executable { 0o777 } else { 0o666 };
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file: File| file.write_all(contents));
    written.map_err(failed("writing", path))
}

/// Moves all that is in `from` to the empty folder `to`; what was moved goes again if that fails.
fn take(from: &Path, to: &Path) -> Result<(), ProjectError> {
    let mut moved = Vec::new();
    let mut step = || -> io::Result<()> {
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let target = to.join(entry.file_name());
            fs::rename(entry.path(), &target)?;
            moved.push(target);
        }
        Ok(())
    };
    step().map_err(|error| {
        for path in &moved {
            // What cannot be removed either stays; the error tells of the folder.
            _ = fs::remove_dir_all(path).or_else(|_| fs::remove_file(path));
        }
        failed("filling", to)(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WISH: Wish<'_> =
        Wish { stack: "one", domain: "a.example", target: "box", admin: "admin", keys: &[] };
    const STACKS: Part =
        ("overlays/stacks.toml", false, b"[one]\ndescription = \"One\"\noverlays = [\"base\"]\n");

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).expect("list").flatten();
        let mut names: Vec<_> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_lock_of_something_else_is_left_out() {
        let top = tempfile::tempdir().expect("dir");
        let dir = top.path().join("new");
        let base: Part = ("overlays/base/overlay.toml", false, b"description = \"Base\"\n");
        let lock: Part = (LOCK, false, b"version = 1\n");
        let made = create(&dir, &[lock, base, STACKS], &WISH).expect("made");
        assert!(!made.locked && made.plan.domain == "a.example");
        assert_eq!(names(&dir), [".gitignore", CONFIG, "overlays"]);
        assert_eq!(names(top.path()), ["new"]);
    }

    #[test]
    fn of_what_is_wrong_nothing_stays_and_the_message_names_the_folder() {
        let top = tempfile::tempdir().expect("dir");
        let base: Part = ("overlays/base/overlay.toml", false, b"descripton = \"Base\"\n");
        for there in [false, true] {
            let dir = top.path().join("new");
            if there {
                fs::create_dir(&dir).expect("folder");
            }
            let error = create(&dir, &[base, STACKS], &WISH).expect_err("wrong").to_string();
            let place = format!("{}/overlays/base/overlay.toml:1", dir.display());
            assert!(error.contains(&place) && !error.contains("chatimg-init"), "{error}");
            assert_eq!(names(top.path()).len(), usize::from(there));
            assert!(!there || names(&dir).is_empty());
        }
    }
}
