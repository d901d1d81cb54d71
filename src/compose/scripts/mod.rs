//! Runs the maintainer scripts that the model does not understand: by dpkg itself, on a materialised tree, where nothing of the
//! host is to be seen, and takes what they changed.
//!
//! [`super::packages::install`] has unpacked the packages and said in dpkg's `status` what is left. Everything is done twice, in two
//! fresh folders: what comes out differently is a secret or luck, and no image may hold either.
//!
//! ```text
//! /.chatimg/owners        DEV:INODE to owner and mode of all files, in the format of faked(1): so that scripts see and make files
//!                         of all users, whoever builds
//!          /libfaketime   the clock stands at the lock's epoch
//!          /driver.sh     calls dpkg
//!          /1, /2         what it unpacks and configures first, and then
//!          /bin           before runuser and its kin: whose files these make; before awk: what ucf may not forget
//! ```

mod accounts;
mod capabilities;
mod capture;
mod litter;
mod status;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use self::capture::Contents;
use self::work::{Run, Work, io_at};
use super::Declarations;
use super::finish::{self, Finish};
use super::packages::{ComposeError, Event};
use crate::digest::Hasher;
use crate::lock::Deb;
use crate::parallel::try_map;
use crate::sandbox::SandboxError;
use crate::store::{PackWriter, StepError, StoreError};
use crate::tree::{
    Entry, ExportError, FileRef, Location, Meta, Node, PathError, Tree, TreeError, TreePath,
};

/// Scripts cannot be run, or what they make cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A script failed.
    #[error(
        "running scripts of packages: dpkg says:\n{words}\n\
         say in overlays/debian/PACKAGE.toml what the script does on a fresh system, or leave the package out"
    )]
    Failed {
        /// What dpkg and the scripts said last.
        words: String,
    },
    /// The sandbox cannot be had.
    #[error("running scripts of packages: {0}")]
    Sandbox(#[from] SandboxError),
    /// The two runs differ.
    #[error(
        "the scripts of {} were run twice, and did not make the same:{}\n\
         what is made at random or of the moment may not be in an image; say in overlays/debian/PACKAGE.toml, under \
         [[discard]], which paths are to be left out, and have them made on the box",
        packages.join(", "), differing.iter().map(|line| format!("\n  {line}")).collect::<String>()
    )]
    Differs {
        /// Whose scripts ran.
        packages: Vec<String>,
        /// `/etc/x: contents`
        differing: Vec<String>,
    },
    /// They left something that no image can hold.
    #[error("scripts of packages left /{path}: {why}")]
    Left {
        /// Where.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// A package is not there.
    #[error(
        "running scripts of packages: the .deb of {0} is not in the store; run the build again to fetch it"
    )]
    Absent(String),
    /// The user stopped it.
    #[error(transparent)]
    Interrupted(#[from] crate::interrupt::Interrupted),
    /// The folder cannot be written or read.
    #[error("running scripts of packages: {}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The tree cannot be written out.
    #[error("running scripts of packages: {0}")]
    Export(#[from] ExportError),
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

/// What changed, by path: `None` is gone.
pub(super) type Delta = BTreeMap<TreePath, Option<Entry>>;

/// What is left to do.
#[derive(Debug)]
struct Left<'a> {
    /// Packages of which nothing is there.
    unpack: Vec<&'a Deb>,
    /// Packages whose postinst is to run.
    configure: Vec<String>,
    /// Packages with triggers pending.
    triggers: Vec<String>,
    /// Packages that come before all others, among them some of which nothing is left to do.
    first: BTreeSet<String>,
}

impl Left<'_> {
    /// All names, sorted.
    fn names(&self) -> Vec<String> {
        let unpack = self.unpack.iter().map(|deb| &deb.name);
        let all = unpack.chain(&self.configure).chain(&self.triggers).cloned();
        all.collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// The tree of [`super::packages::install`] with everything done.
///
/// # Errors
/// See [`ComposeError`].
pub(super) fn run(
    context: Finish<'_>,
    tree: Tree,
    debs: &[Deb],
    declarations: &Declarations,
    events: &(dyn Fn(Event) + Sync),
) -> Result<Tree, ComposeError> {
    let Finish { store, tools, epoch } = context;
    let left = status::left(store, &tree, debs)?;
    let names = left.names();
    if names.is_empty() {
        return Ok(tree);
    }
    let mut key = Hasher::step("run-scripts");
    key.field(epoch.to_le_bytes()).field(declarations.digest().as_bytes());
    key.field(tools.id().as_bytes()).field(tree.id().as_bytes());
    for deb in &left.unpack {
        key.field(deb.digest.as_bytes());
    }
    let result = store.tree(key.finish(), |pack| {
        events(Event::Running { packages: names.clone() });
        let mut whole = tree.clone();
        finish::finish(context, &mut whole)
            .map_err(|error| ComposeError::Finish(Box::new(error)))?;
        let later = declarations.later(debs.iter().map(|deb| deb.name.as_str()));
        let work = Work { context, tree: &whole, left: &left, later: &later };
        let (run, mut delta) = twice(&work, &names, declarations, pack)?;
        let status = status::settled(&run, store, &tree)?;
        accounts::settle(&run, &mut delta, declarations.ids(), pack)?;
        let mut tree = tree.clone();
        apply(&mut tree, delta, epoch)?;
        let node = Node::File(pack.append(status.as_bytes())?);
        let meta = Meta::root(0o644, epoch);
        tree.replace(status::PATH.parse().map_err(RunError::from)?, Entry { meta, node })?;
        tree.check_links()?;
        events(Event::Ran);
        Ok::<_, ComposeError>(tree)
    });
    result.map_err(StepError::into_inner)
}

/// Both runs, at the same time; what the first one made goes into the store.
fn twice<'a>(
    work: &Work<'a>,
    names: &[String],
    declarations: &Declarations,
    pack: &mut PackWriter,
) -> Result<(Run<'a>, Delta), RunError> {
    let mut runs = try_map(&[(), ()], |()| work.run())?;
    let discards = declarations.discards(names.iter().map(String::as_str));
    let mut first = runs[0].delta(&mut |Contents { mut file, path, digest, size }| {
        pack.append_known(digest, size, &mut file)?.map_err(io_at(path))
    })?;
    // Of the second one the digests will do.
    let mut second = runs[1].delta(&mut |Contents { digest, size, .. }| {
        Ok(FileRef { digest, size, at: Location { pack: digest, offset: 0 } })
    })?;
    for delta in [&mut first, &mut second] {
        delta.retain(|path, _| {
            path.as_str() != status::PATH && !litter::is_litter(path.as_str(), &discards)
        });
    }
    let differing = differing(&first, &second);
    if !differing.is_empty() {
        return Err(RunError::Differs { packages: names.to_vec(), differing });
    }
    Ok((runs.swap_remove(0), first))
}

fn differing(first: &Delta, second: &Delta) -> Vec<String> {
    let paths: BTreeSet<_> = first.keys().chain(second.keys()).collect();
    let differs = |path: &&TreePath| {
        let what = match (first.get(*path), second.get(*path)) {
            (Some(Some(a)), Some(Some(b))) if a == b => return None,
            (Some(Some(a)), Some(Some(b))) if a.node == b.node => meta(&a.meta, &b.meta),
            (Some(Some(_)), Some(Some(_))) => "contents".to_owned(),
            (Some(None), Some(None)) => return None,
            _ => "made in one of the runs only".to_owned(),
        };
        Some(format!("/{path}: {what}"))
    };
    paths.iter().filter_map(differs).collect()
}

/// What is said of a file besides its contents, and differs.
fn meta(first: &Meta, second: &Meta) -> String {
    let owner = |meta: &Meta| format!("owner {}:{}", meta.uid, meta.gid);
    let all = [
        (owner(first), owner(second)),
        (format!("mode {:04o}", first.mode), format!("mode {:04o}", second.mode)),
        (format!("time {}", first.mtime), format!("time {}", second.mtime)),
        (format!("attributes {:?}", first.xattrs), format!("attributes {:?}", second.xattrs)),
    ];
    let differ = all.into_iter().filter(|(a, b)| a != b).map(|(a, b)| format!("{a} or {b}"));
    differ.collect::<Vec<_>>().join(", ")
}

/// Puts the changes into the tree.
fn apply(tree: &mut Tree, delta: Delta, epoch: i64) -> Result<(), RunError> {
    for (path, change) in delta.iter().rev() {
        let kind = |entry: &Entry| std::mem::discriminant(&entry.node);
        let there = tree.get(path.as_str()).map(kind);
        if change.as_ref().map(kind) != there {
            tree.remove(path.as_str());
        }
    }
    for (path, change) in delta {
        let Some(entry) = change else { continue };
        if let Some(parent) = path.parent() {
            tree.make_dirs(&parent.parse()?, epoch)?;
        }
        tree.replace(path, entry)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
