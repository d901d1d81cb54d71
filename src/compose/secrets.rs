//! Law 3: no secret in the image. A tree that holds a private key or one of the declared secrets is refused.

use std::collections::BTreeSet;

use crate::appliance::Plan;
use crate::digest::Digest;
use crate::store::{Store, StoreError};
use crate::tree::{Node, Tree};

/// Larger files are data, not keys.
const MAX_KEY_FILE: u64 = 64 * 1024;
/// How private keys begin: PEM and OpenSSH (RFC 7468), PuTTY, age.
const MARKS: [&str; 3] = ["PRIVATE KEY-----", "PuTTY-User-Key-File", "AGE-SECRET-KEY-1"];

/// Something secret is in the tree.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// A file holds a private key.
    #[error(
        "/{path} holds a private key, and an image must hold no secret; remove it, or declare it in \
         [[secrets]] of its overlay to have it made on the box"
    )]
    Key {
        /// Where.
        path: String,
    },
    /// A declared secret is there already.
    #[error(
        "/{path} is declared in [[secrets]] to be made on the box, but the image has it already"
    )]
    Declared {
        /// Where.
        path: String,
    },
    /// The store's failure.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Looks at all small files that no package ships.
pub(super) fn refuse(
    store: &Store,
    packages: &Tree,
    tree: &Tree,
    plan: &Plan,
) -> Result<(), SecretError> {
    for secret in plan.overlays.iter().flat_map(|overlay| &overlay.secrets) {
        let path = secret.path.trim_matches('/');
        if tree.get(path).is_some() {
            return Err(SecretError::Declared { path: path.to_owned() });
        }
    }
    // What Debian publishes is no secret: packages ship test keys and programs that know these marks.
    let shipped: BTreeSet<Digest> = digests(packages).map(|(_, digest, _)| digest).collect();
    for (path, digest, file) in digests(tree) {
        let library = path.contains("/site-packages/") || path.contains("/__pycache__/");
        if file.size > MAX_KEY_FILE || library || shipped.contains(&digest) {
            continue;
        }
        let contents = store.read(file)?;
        let text = String::from_utf8_lossy(&contents);
        if MARKS.iter().any(|mark| text.contains(mark)) {
            return Err(SecretError::Key { path: path.to_owned() });
        }
    }
    Ok(())
}

fn digests(tree: &Tree) -> impl Iterator<Item = (&str, Digest, &crate::tree::FileRef)> {
    tree.iter().filter_map(|(path, entry)| match &entry.node {
        Node::File(file) => Some((path.as_str(), file.digest, file)),
        _ => None,
    })
}
