//! dpkg's triggers: what packages are interested in, and what others bring of that. See deb-triggers(5).

use super::import::Package;
use super::packages::ComposeError;
use crate::store::Store;

/// The lines of a package's control file `triggers`: what to do, and the trigger.
pub(super) fn of(store: &Store, package: &Package) -> Result<Vec<(String, String)>, ComposeError> {
    let text = package.control_text(store, "triggers")?.unwrap_or_default();
    let line = |line: &str| {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace().map(str::to_owned);
        Some((words.next()?, words.next()?))
    };
    Ok(text.lines().filter_map(line).collect())
}

/// The triggers of a package that others set off when they are installed: by files, or by saying so.
pub(super) fn pending(
    store: &Store,
    package: &Package,
    packages: &[Package],
) -> Result<Vec<String>, ComposeError> {
    let mut pending = Vec::new();
    for (verb, trigger) in of(store, package)? {
        if !verb.starts_with("interest") {
            continue;
        }
        for other in packages.iter().filter(|other| other.name != package.name) {
            let sets_off = match trigger.strip_prefix('/') {
                Some(path) => brings(other, path),
                None => of(store, other)?
                    .iter()
                    .any(|(verb, name)| verb.starts_with("activate") && *name == trigger),
            };
            if sets_off {
                pending.push(trigger);
                break;
            }
        }
    }
    Ok(pending)
}

/// Whether a package has something at or below a path.
fn brings(package: &Package, path: &str) -> bool {
    let path = format!("data/{path}");
    package.tree.get(&path).is_some_and(|entry| entry.node != crate::tree::Node::Dir)
        || package.tree.below(&path).next().is_some()
}
