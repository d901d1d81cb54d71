//! Locked .debs to a tree, as dpkg would install them on an empty disk, without running their scripts.
//!
//! Order: base-files first (its links merge `/bin` into `/usr/bin`), then by name. Real dpkg goes by
//! dependencies; no result of ours depends on the order, but for directories that several packages ship
//! with different owners or modes, where the first wins in both. Scripts' effects come in rounds, so that
//! what one refers to is there: diversions, unpacking, users, everything else, units and alternatives.

use std::sync::atomic::AtomicBool;

use super::declarations::Declarations;
use super::dpkg_db::State;
use super::import::{self, Package};
use super::root::Root;
use super::users::Accounts;
use super::{actions, alternatives, dpkg_db, merge, triggers, units};
use crate::debian::deb::DebError;
use crate::debian::scripts::{Action, Stage, Unknown, evaluate, split};
use crate::digest::{Digest, Hasher};
use crate::lock::Deb;
use crate::store::{PackWriter, StepError, Store, StoreError};
use crate::tree::{PathError, Tree, TreeError};

/// A step of the way, for whoever shows progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A package is in the store as a tree.
    Imported {
        /// Its name.
        package: String,
        /// How many are, this one included.
        done: usize,
        /// How many there are.
        total: usize,
    },
    /// Scripts of packages are run, as nobody knows what they do.
    Running {
        /// Whose.
        packages: Vec<String>,
    },
    /// That is done.
    Ran,
}

/// Why packages cannot be made a tree.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// The blob was never fetched.
    #[error(
        "package {package}: its .deb ({digest}) is not in the store; run the build again to fetch it"
    )]
    MissingBlob {
        /// The package.
        package: String,
        /// Its locked digest.
        digest: Digest,
    },
    /// The .deb is refused.
    #[error("importing package {package}: {source}")]
    Deb {
        /// The package.
        package: String,
        /// Why.
        source: DebError,
    },
    /// The package's own data make no sense.
    #[error("package {package}: {why}")]
    Package {
        /// The package.
        package: String,
        /// What is wrong.
        why: String,
    },
    /// Two packages ship one file, and neither replaces the other.
    #[error(
        "{path} is in both {first} and {second}, and neither says that it replaces the other; \
         remove one of the two packages"
    )]
    Conflict {
        /// The file.
        path: String,
        /// The package that has it already.
        first: String,
        /// The package that brings it again.
        second: String,
    },
    /// Maintainer scripts that the model does not understand, where none may be run.
    #[error("{}", refusal(.0))]
    Scripts(Vec<ScriptProblem>),
    /// They cannot be run, or what they make cannot be taken.
    #[error(transparent)]
    Run(#[from] super::scripts::RunError),
    /// A system that they can be run in cannot be made.
    #[error("making a system to run scripts in: {0}")]
    Finish(#[source] Box<super::finish::FinishError>),
    /// An effect of a script that cannot be had.
    #[error("{what}: {why}")]
    Action {
        /// Path, unit or name.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// The user stopped it. What was imported so far is kept.
    #[error(transparent)]
    Interrupted(#[from] crate::interrupt::Interrupted),
    /// A path that no tree can have.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A change that the tree refuses.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The store's failure.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is not understood of one script, and how to declare it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "package {package}: its {script} does something that chatimg has no model of:\n{}\n\
     {}Read the script, then say in overlays/debian/{package}.toml what it does on a fresh system, under\n\
     \x20 [[script]]\n\
     \x20 name = \"{script}\"\n\
     \x20 sha256 = [\"{digest}\"]",
    listing(lines),
    if *changed { "It is declared, but with other digests: the script has changed.\n" } else { "" }
)]
pub struct ScriptProblem {
    /// The package.
    pub package: String,
    /// `preinst` or `postinst`.
    pub script: &'static str,
    /// The lines in question.
    pub lines: Vec<Unknown>,
    /// Of the hand-written part: what a declaration pins.
    pub digest: Digest,
    /// Whether there is a declaration for another digest.
    pub changed: bool,
}

fn refusal(problems: &[ScriptProblem]) -> String {
    let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
    format!("{}\nOr build without --strict: they are run in a sandbox then.", problems.join("\n"))
}

fn listing(lines: &[Unknown]) -> String {
    let lines = lines.iter().map(|line| format!("  line {}: {}", line.line, line.text));
    lines.collect::<Vec<_>>().join("\n")
}

impl ComposeError {
    pub(super) fn action(what: &str, why: impl Into<String>) -> Self {
        Self::Action { what: what.to_owned(), why: why.into() }
    }
}

/// Installs packages into an empty tree. The result is kept in the store; each package's own tree is too.
///
/// Where scripts are not understood, dpkg's `status` says what is left to do: such a package is not configured, has a trigger
/// pending, or (its preinst must come before its files) is not there at all. [`super::scripts`] does that.
///
/// # Errors
/// See [`ComposeError`].
pub fn install(
    store: &Store,
    debs: &[Deb],
    declarations: &Declarations,
    epoch: i64,
    events: &(dyn Fn(Event) + Sync),
) -> Result<Tree, ComposeError> {
    let result = store.tree(key(debs, declarations, epoch), |pack| {
        let packages = import::all(store, debs, events)?;
        compose(store, packages, declarations, epoch, pack)
    });
    result.map_err(StepError::into_inner)
}

/// What no program run by [`crate::tools`] reads, below `usr/share/`: a third of all files, each of which would be made on
/// the disk.
const UNREAD: [&str; 7] =
    ["bash-completion", "doc", "info", "lintian", "locale", "man", "zoneinfo"];

/// Unpacks packages over each other without configuring them, and without what only people read: enough for programs run
/// by [`crate::tools`].
///
/// # Errors
/// See [`ComposeError`].
pub fn unpack(
    store: &Store,
    debs: &[Deb],
    epoch: i64,
    events: &(dyn Fn(Event) + Sync),
) -> Result<Tree, ComposeError> {
    let mut key = Hasher::step("unpack-packages");
    key.field(epoch.to_le_bytes());
    add_debs(&mut key, debs);
    let result = store.tree(key.finish(), |_| {
        let mut packages = import::all(store, debs, events)?;
        sort(&mut packages);
        let mut tree = merge::merge(&packages.iter().collect::<Vec<_>>(), &[], epoch)?;
        tree.remove_where(|path, _| {
            let below = path.strip_prefix("usr/share/").and_then(|rest| rest.split_once('/'));
            below.is_some_and(|(folder, _)| UNREAD.contains(&folder))
        });
        Ok(tree)
    });
    result.map_err(StepError::into_inner)
}

/// Brings packages into the store as [`install`] finds them there, until there is `enough`.
///
/// # Errors
/// A package is damaged.
pub fn ahead(
    store: &Store,
    debs: &[Deb],
    declarations: &Declarations,
    epoch: i64,
    enough: &AtomicBool,
) -> Result<(), ComposeError> {
    match store.stored_document(&key(debs, declarations, epoch))? {
        Some(_) => Ok(()),
        None => import::ahead(store, debs, enough),
    }
}

/// base-files first, then by name.
fn sort(packages: &mut [Package]) {
    packages
        .sort_by(|a, b| (a.name != "base-files", &a.name).cmp(&(b.name != "base-files", &b.name)));
}

fn key(debs: &[Deb], declarations: &Declarations, epoch: i64) -> Digest {
    let mut hasher = Hasher::step("install-packages");
    hasher.field(epoch.to_le_bytes()).field(declarations.digest().as_bytes());
    add_debs(&mut hasher, debs);
    hasher.finish()
}

/// A result is of the packages as the lock names them, so that a wrong lock is refused every time.
fn add_debs(key: &mut Hasher, debs: &[Deb]) {
    let mut debs: Vec<_> = debs.iter().collect();
    debs.sort_unstable_by_key(|deb| deb.digest);
    for deb in debs {
        key.field(deb.digest.as_bytes());
        key.field(&deb.name).field(&deb.version).field(&deb.arch);
    }
}

/// What the scripts of one package do.
struct Scripted<'a> {
    package: &'a Package,
    actions: Vec<Action>,
    state: State,
}

/// All that is not understood of the packages' scripts is an error.
pub(super) fn refuse_unknown(
    store: &Store,
    debs: &[Deb],
    declarations: &Declarations,
) -> Result<(), ComposeError> {
    let mut packages = import::all(store, debs, &|_| ())?;
    sort(&mut packages);
    let mut problems = Vec::new();
    for package in &packages {
        for stage in stages(store, package, &packages)? {
            let read = read_script(store, package, stage, declarations)?;
            problems.extend(read.err());
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(ComposeError::Scripts(problems)) }
}

fn compose(
    store: &Store,
    mut packages: Vec<Package>,
    declarations: &Declarations,
    epoch: i64,
    pack: &mut PackWriter,
) -> Result<Tree, ComposeError> {
    sort(&mut packages);
    let scripted = packages.iter();
    let scripted = scripted.map(|package| read_scripts(store, package, &packages, declarations));
    let mut scripted = scripted.collect::<Result<Vec<_>, _>>()?;
    loop {
        scripted.retain(|scripted| scripted.state != State::Absent);
        let Failure { package, error } = match attempt(store, &scripted, declarations, epoch, pack)?
        {
            Ok(tree) => return Ok(tree),
            Err(failure) => failure,
        };
        // A script may need what another one makes that is not understood (cron: the group of cron-daemon-common).
        let failed = scripted.iter_mut().find(|scripted| scripted.package.name == package);
        match failed {
            Some(Scripted { actions, state, .. }) if *state == State::Installed => {
                (*actions, *state) = (Vec::new(), State::Unpacked);
            }
            _ => return Err(error),
        }
    }
}

/// A package whose scripts cannot be followed.
struct Failure {
    package: String,
    error: ComposeError,
}

fn attempt(
    store: &Store,
    scripted: &[Scripted<'_>],
    declarations: &Declarations,
    epoch: i64,
    pack: &mut PackWriter,
) -> Result<Result<Tree, Failure>, ComposeError> {
    let packages: Vec<_> = scripted.iter().map(|scripted| scripted.package).collect();
    let diversions = diversions(scripted);
    let tree = merge::merge(&packages, &diversions, epoch)?;
    let accounts = Accounts::from_masters(&tree, store, declarations.ids())?;
    let mut root = Root { tree, store, pack, epoch, accounts };

    for round in [actions::account, actions::file, units::apply] {
        if let Err(failure) = apply(&mut root, scripted, round)? {
            return Ok(Err(failure));
        }
    }
    alternatives::install(&mut root, all(scripted))?;
    actions::shells(&mut root, all(scripted))?;
    actions::ucf_database(&mut root, &scripted_pairs(scripted))?;
    root.write_accounts()?;
    let states: Vec<_> = scripted.iter().map(|it| (it.package, &it.state)).collect();
    dpkg_db::write(&mut root, &states, &diversions, all(scripted))?;
    root.tree.check_links()?;
    Ok(Ok(root.tree))
}

fn all<'a>(scripted: &'a [Scripted<'_>]) -> impl Iterator<Item = &'a Action> {
    scripted.iter().flat_map(|scripted| &scripted.actions)
}

fn scripted_pairs<'a>(scripted: &'a [Scripted<'_>]) -> Vec<(&'a str, &'a Action)> {
    let pairs = scripted.iter().flat_map(|scripted| {
        scripted.actions.iter().map(|action| (scripted.package.name.as_str(), action))
    });
    pairs.collect()
}

fn apply(
    root: &mut Root<'_>,
    scripted: &[Scripted<'_>],
    apply: impl Fn(&mut Root<'_>, &Action) -> Result<(), ComposeError>,
) -> Result<Result<(), Failure>, ComposeError> {
    for Scripted { package, actions, .. } in scripted {
        for action in actions {
            match apply(root, action) {
                Ok(()) => {}
                Err(ComposeError::Store(error)) => return Err(ComposeError::Store(error)),
                Err(error) => {
                    let package = package.name.clone();
                    let why = format!("following its scripts: {error}");
                    let error = ComposeError::Package { package: package.clone(), why };
                    return Ok(Err(Failure { package, error }));
                }
            }
        }
    }
    Ok(Ok(()))
}

fn diversions(scripted: &[Scripted<'_>]) -> Vec<merge::Diversion> {
    let diversions = scripted.iter().flat_map(|Scripted { package, actions, .. }| {
        actions.iter().filter_map(|action| match action {
            Action::Divert { path, to } => Some(merge::Diversion {
                path: path.clone(),
                to: to.clone(),
                package: package.name.clone(),
            }),
            _ => None,
        })
    });
    diversions.collect()
}

fn read_scripts<'a>(
    store: &Store,
    package: &'a Package,
    packages: &[Package],
    declarations: &Declarations,
) -> Result<Scripted<'a>, ComposeError> {
    let (mut actions, mut state) = (Vec::new(), State::Installed);
    for stage in stages(store, package, packages)? {
        match (read_script(store, package, stage, declarations)?, stage) {
            (Ok(more), Stage::Preinst | Stage::Postinst) => actions.extend(more),
            // What a trigger makes is made of everybody's files: a cache, which finishing makes.
            (Ok(_), Stage::Triggered) => {}
            (Err(_), Stage::Preinst) => {
                return Ok(Scripted { package, actions: Vec::new(), state: State::Absent });
            }
            (Err(_), Stage::Postinst) => state = State::Unpacked,
            (Err(_), Stage::Triggered) => {
                if state == State::Installed {
                    state = State::Triggered(triggers::pending(store, package, packages)?);
                }
            }
        }
    }
    Ok(Scripted { package, actions, state })
}

/// The calls of a package's scripts that matter on a fresh system.
fn stages(
    store: &Store,
    package: &Package,
    packages: &[Package],
) -> Result<Vec<Stage>, ComposeError> {
    let mut stages = vec![Stage::Preinst, Stage::Postinst];
    if !triggers::pending(store, package, packages)?.is_empty() {
        stages.push(Stage::Triggered);
    }
    Ok(stages)
}

/// What one script does: by its declaration and its generated fragments, or by reading all of it; nothing if there is none.
fn read_script(
    store: &Store,
    package: &Package,
    stage: Stage,
    declarations: &Declarations,
) -> Result<Result<Vec<Action>, ScriptProblem>, ComposeError> {
    match package.control_text(store, stage.name())? {
        Some(text) => read_text(&package.name, stage, &text, declarations),
        None => Ok(Ok(Vec::new())),
    }
}

fn read_text(
    package: &str,
    stage: Stage,
    text: &str,
    declarations: &Declarations,
) -> Result<Result<Vec<Action>, ScriptProblem>, ComposeError> {
    let parts = split(text);
    let (declaration, varying) = declarations
        .find(package, stage)
        .map_err(|why| ComposeError::Package { package: package.to_owned(), why })?;
    let digest = parts.digest(varying.as_deref());
    let problem = |lines, changed| {
        let package = package.to_owned();
        Ok(Err(ScriptProblem { package, script: stage.name(), lines, digest, changed }))
    };
    let changed = declaration.is_some();
    if let Some(declaration) = declaration.filter(|found| found.digests.contains(&digest)) {
        let mut actions = declaration.actions;
        for fragment in &parts.fragments {
            match evaluate(package, stage, &fragment.text, fragment.line) {
                Ok(more) => actions.extend(more),
                Err(lines) => return problem(lines, false),
            }
        }
        return Ok(Ok(actions));
    }
    // A declaration for another version of the script says that reading it is not enough.
    match evaluate(package, stage, text, 1) {
        Ok(actions) if !changed => Ok(Ok(actions)),
        Ok(_) => problem(Vec::new(), changed),
        Err(lines) => problem(lines, changed),
    }
}

#[cfg(test)]
#[path = "packages_tests.rs"]
mod tests;
