//! A .deb as a tree, with its contents in the store: nothing is ever extracted to a file system.
//!
//! ```text
//! control/...   the members of control.tar (control, conffiles, md5sums, postinst ...)
//! data/...      the members of data.tar
//! list          the names of data.tar in its order, as dpkg keeps them in info/PACKAGE.list
//! ```

use std::io::{self, Read};

use super::archive::Members;
use super::unpack::{self, Source, UnpackError};
use crate::store::{PackWriter, StoreError};
use crate::tree::{Entry, Meta, Node, Tree};

/// A file that is no proper Debian package.
#[derive(Debug, thiserror::Error)]
pub enum DebError {
    /// The bytes cannot be read, or are not those that were locked.
    #[error("reading the package: {0}")]
    Read(io::Error),
    /// A part of the file is not as deb(5) has it.
    #[error("{part}: {why}")]
    Bad {
        /// Member or layer.
        part: String,
        /// What is wrong with it.
        why: String,
    },
    /// An entry of one of its tar archives is refused.
    #[error("{part}: {source}")]
    Entry {
        /// `control.tar` or `data.tar`.
        part: &'static str,
        /// The refusal.
        source: UnpackError,
    },
    /// The store's failure.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reads a whole .deb; its file contents go to `pack`.
///
/// # Errors
/// It is damaged or contains what a package may not: see [`unpack`].
pub fn import(reader: impl Read, pack: &mut PackWriter) -> Result<Tree, DebError> {
    let mut tree = Tree::new();
    let mut members = Members::open(reader)?;
    for (part, folder) in [("control.tar", "control"), ("data.tar", "data")] {
        let member = members.next(part)?;
        let names = member.unpack(|reader| {
            unpack::unpack(reader, folder, Source::Package, &mut tree, pack).map_err(|error| {
                match error {
                    UnpackError::Store(error) => DebError::Store(error),
                    source => DebError::Entry { part, source },
                }
            })
        })?;
        if folder == "control" {
            check_control(&tree)?;
        } else {
            let list: String = names.iter().map(|name| format!("{name}\n")).collect();
            let node = Node::File(pack.append(list.as_bytes())?);
            let entry = Entry { meta: Meta::root(0o644, 0), node };
            tree.insert("list".parse().expect("a path"), entry).expect("the top level has no list");
        }
    }
    members.finish()?;
    Ok(tree)
}

/// Reads a .deb's control file, and no more of it than that takes.
///
/// # Errors
/// It is damaged before that, or has none.
pub fn control(reader: impl Read) -> Result<String, DebError> {
    let none =
        || DebError::Bad { part: "control.tar".to_owned(), why: "it has no control".to_owned() };
    Members::open(reader)?.next("control.tar")?.unpack(|reader| {
        let mut text = None;
        for entry in tar::Archive::new(reader).entries().map_err(DebError::Read)? {
            let mut entry = entry.map_err(DebError::Read)?;
            if matches!(&*entry.path_bytes(), b"./control" | b"control") {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).map_err(DebError::Read)?;
                text = Some(String::from_utf8_lossy(&bytes).into_owned());
            }
        }
        text.ok_or_else(none)
    })
}

/// control.tar holds plain files only: a script is not read from where dpkg would not find it.
fn check_control(tree: &Tree) -> Result<(), DebError> {
    let plain = |node: &Node| matches!(node, Node::File(_) | Node::HardLink(_));
    match tree.below("control").find(|(_, entry)| !plain(&entry.node)) {
        Some((path, _)) => {
            let why = format!("{path} is no plain file");
            Err(DebError::Bad { part: "control.tar".to_owned(), why })
        }
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "deb_tests.rs"]
mod tests;
