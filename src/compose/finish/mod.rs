//! Finishing: the caches and generated files that a system needs and no package ships.
//!
//! Each step is a pure function from a part of the tree (and the tools) to the files it adds; its result is
//! kept under the digest of exactly that part, so it only runs again when something it reads changed.

mod bytecode;
mod certificates;
pub(crate) mod hwdb;
pub(crate) mod ld_cache;
mod marshal;
mod modules;
pub(crate) mod pam;
mod systemd;

pub(super) use bytecode::environments;
pub(super) use modules::plain as plain_modules;

use std::io;
use std::path::Path;

use crate::digest::{Digest, Hasher};
use crate::parallel::try_map;
use crate::store::{PackWriter, StepError, Store, StoreError};
use crate::tools::{ToolError, Tools};
use crate::tree::{Entry, ExportError, Meta, Node, PathError, Tree, TreeError};

/// A finishing step failed.
#[derive(Debug, thiserror::Error)]
pub enum FinishError {
    /// The user stopped it.
    #[error(transparent)]
    Interrupted(#[from] crate::interrupt::Interrupted),
    /// What it reads is not as it must be.
    #[error("{path}: {why}")]
    Input {
        /// Path in the tree.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// Its result does not fit into the tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// It gave a name that cannot be in a tree.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A program failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// A folder for a program could not be written.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A program's result could not be read.
    #[error("reading what {program} made: {source}")]
    Read {
        /// The program.
        program: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The store's failure.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What every step has at hand.
#[derive(Clone, Copy)]
pub(super) struct Finish<'a> {
    pub(super) store: &'a Store,
    pub(super) tools: &'a Tools,
    pub(super) epoch: i64,
}

/// Adds everything, several steps at a time.
pub(super) fn finish(context: Finish<'_>, tree: &mut Tree) -> Result<(), FinishError> {
    type Step = fn(Finish<'_>, &Tree) -> Result<Tree, FinishError>;
    // The slow ones first, so that the threads end together.
    let steps: [Step; 8] = [
        bytecode::debian,
        modules::index,
        bytecode::chatimg,
        systemd::hardware,
        systemd::catalog,
        certificates::bundle,
        ld_cache::write,
        pam::configure,
    ];
    for added in try_map(&steps, |step| step(context, tree))? {
        tree.overlay(&added)?;
    }
    Ok(())
}

impl Finish<'_> {
    /// The result of one step: kept, or made now from `input`, all that it may read.
    fn step(
        &self,
        name: &str,
        input: &Tree,
        make: impl FnOnce(&mut Output<'_>) -> Result<(), FinishError>,
    ) -> Result<Tree, FinishError> {
        let mut key = Hasher::step(name);
        key.field(self.tools.id().as_bytes());
        key.field(self.epoch.to_le_bytes()).field(input.id().as_bytes());
        self.keyed(key.finish(), make)
    }

    /// The same under a key of the caller's making.
    fn keyed(
        &self,
        key: Digest,
        make: impl FnOnce(&mut Output<'_>) -> Result<(), FinishError>,
    ) -> Result<Tree, FinishError> {
        let result = self.store.tree(key, |pack| {
            let mut output = Output { tree: Tree::new(), pack, epoch: self.epoch };
            make(&mut output)?;
            Ok(output.tree)
        });
        result.map_err(StepError::into_inner)
    }

    /// The text of a file of the tree.
    fn text(&self, tree: &Tree, path: &str) -> Result<String, FinishError> {
        let bytes = self.store.read(tree.file(path)?.0)?;
        String::from_utf8(bytes).map_err(|_| FinishError::Input {
            path: path.to_owned(),
            why: "it is not UTF-8".to_owned(),
        })
    }
}

/// What a step adds.
struct Output<'a> {
    tree: Tree,
    pack: &'a mut PackWriter,
    epoch: i64,
}

impl Output<'_> {
    fn file(&mut self, path: &str, mode: u16, contents: &[u8]) -> Result<(), FinishError> {
        let node = Node::File(self.pack.append(contents)?);
        self.put(path, mode, node)
    }

    fn link(&mut self, path: &str, to: &str) -> Result<(), FinishError> {
        self.put(path, 0o777, Node::Symlink(to.to_owned()))
    }

    fn put(&mut self, path: &str, mode: u16, node: Node) -> Result<(), FinishError> {
        let path: crate::tree::TreePath = path.parse()?;
        if let Some(parent) = path.parent() {
            self.tree.make_dirs(&parent.parse()?, self.epoch)?;
        }
        let entry = Entry { meta: Meta::root(mode, self.epoch), node };
        Ok(self.tree.insert(path, entry)?)
    }

    /// Adds a file that a program left in a folder of the host.
    fn take(
        &mut self,
        path: &str,
        mode: u16,
        from: &Path,
        program: &'static str,
    ) -> Result<(), FinishError> {
        let bytes = std::fs::read(from).map_err(|source| FinishError::Read { program, source })?;
        self.file(path, mode, &bytes)
    }
}
