//! Locked .debs to a tree, as dpkg would install them on an empty disk, without running their scripts.
//!
//! Order: base-files first (its links merge `/bin` into `/usr/bin`), then by name. Real dpkg goes by
//! dependencies; no result of ours depends on the order, but for directories that several packages ship
//! with different owners or modes, where the first wins in both. Scripts' effects come in rounds, so that
//! what one refers to is there: diversions, unpacking, users, everything else, units and alternatives.

use super::declarations::Declarations;
use super::import::{self, Package};
use super::root::Root;
use super::users::Accounts;
use super::{actions, alternatives, dpkg_db, merge, units};
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
    /// A maintainer script that the model does not understand.
    #[error("{0}")]
    Script(Box<ScriptProblem>),
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

/// Unpacks packages over each other without configuring them: enough for programs run by [`crate::tools`].
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
        merge::merge(&packages, &[], epoch)
    });
    result.map_err(StepError::into_inner)
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
}

fn compose(
    store: &Store,
    mut packages: Vec<Package>,
    declarations: &Declarations,
    epoch: i64,
    pack: &mut PackWriter,
) -> Result<Tree, ComposeError> {
    sort(&mut packages);
    let scripted = packages.iter().map(|package| read_scripts(store, package, declarations));
    let scripted = scripted.collect::<Result<Vec<_>, _>>()?;
    let diversions = diversions(&scripted);
    let tree = merge::merge(&packages, &diversions, epoch)?;
    let accounts = Accounts::from_masters(&tree, store, declarations.ids())?;
    let mut root = Root { tree, store, pack, epoch, accounts };

    apply(&mut root, &scripted, actions::account)?;
    apply(&mut root, &scripted, actions::file)?;
    apply(&mut root, &scripted, units::apply)?;
    alternatives::install(&mut root, all(&scripted))?;
    actions::shells(&mut root, all(&scripted))?;
    actions::ucf_database(&mut root, &scripted_pairs(&scripted))?;
    root.write_accounts()?;
    dpkg_db::write(&mut root, &packages, &diversions, all(&scripted))?;
    root.tree.check_links()?;
    Ok(root.tree)
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
) -> Result<(), ComposeError> {
    for Scripted { package, actions } in scripted {
        for action in actions {
            apply(root, action).map_err(|error| match error {
                ComposeError::Store(error) => ComposeError::Store(error),
                error => {
                    let why = format!("following its scripts: {error}");
                    ComposeError::Package { package: package.name.clone(), why }
                }
            })?;
        }
    }
    Ok(())
}

fn diversions(scripted: &[Scripted<'_>]) -> Vec<merge::Diversion> {
    let diversions = scripted.iter().flat_map(|Scripted { package, actions }| {
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
    declarations: &Declarations,
) -> Result<Scripted<'a>, ComposeError> {
    let mut actions = Vec::new();
    for stage in [Stage::Preinst, Stage::Postinst] {
        if let Some(text) = package.control_text(store, stage.name())? {
            actions.extend(read_script(&package.name, stage, &text, declarations)?);
        }
    }
    Ok(Scripted { package, actions })
}

/// What one script does: by its declaration and its generated fragments, or by reading all of it.
fn read_script(
    package: &str,
    stage: Stage,
    text: &str,
    declarations: &Declarations,
) -> Result<Vec<Action>, ComposeError> {
    let parts = split(text);
    let (declaration, varying) = declarations
        .find(package, stage)
        .map_err(|why| ComposeError::Package { package: package.to_owned(), why })?;
    let digest = parts.digest(varying.as_deref());
    let problem = |lines, changed| {
        let package = package.to_owned();
        let problem = ScriptProblem { package, script: stage.name(), lines, digest, changed };
        ComposeError::Script(Box::new(problem))
    };
    let changed = declaration.is_some();
    if let Some(declaration) = declaration.filter(|found| found.digests.contains(&digest)) {
        let mut actions = declaration.actions;
        for fragment in &parts.fragments {
            let more = evaluate(package, stage, &fragment.text, fragment.line);
            actions.extend(more.map_err(|lines| problem(lines, false))?);
        }
        return Ok(actions);
    }
    // A declaration for another version of the script says that reading it is not enough.
    match evaluate(package, stage, text, 1) {
        Ok(actions) if !changed => Ok(actions),
        Ok(_) => Err(problem(Vec::new(), changed)),
        Err(lines) => Err(problem(lines, changed)),
    }
}

#[cfg(test)]
#[path = "packages_tests.rs"]
mod tests;
