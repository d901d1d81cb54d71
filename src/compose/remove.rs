//! What overlays have taken out of the image (`remove-files`), as mkosi's `RemoveFiles=` does. dpkg's lists still name
//! it, as with dpkg's own path-exclude.

use super::pattern::fits;
use super::system::SystemError;
use crate::appliance::{Overlay, Plan};
use crate::tree::{Tree, TreePath};

/// Removes it all; a pattern that fits nothing is an error, for what it meant is still in the image.
pub(super) fn remove(plan: &Plan, tree: &mut Tree) -> Result<(), SystemError> {
    let doomed: Vec<_> = plan
        .overlays
        .iter()
        .flat_map(|overlay| overlay.remove_files.iter().map(move |pattern| (overlay, pattern)))
        .map(|(overlay, pattern)| fitting(overlay, pattern, tree))
        .collect::<Result<_, _>>()?;
    tree.remove_all(doomed.iter().flatten().map(String::as_str));
    Ok(())
}

fn fitting(overlay: &Overlay, pattern: &str, tree: &Tree) -> Result<Vec<String>, SystemError> {
    let inside = pattern.trim_start_matches('/');
    // Only what lies where the pattern has no star yet: there are many paths, and many patterns.
    let plain = inside.split('*').next().unwrap_or_default();
    let paths: Box<dyn Iterator<Item = &TreePath>> = match plain.rsplit_once('/') {
        Some((folder, _)) => Box::new(tree.below(folder).map(|(path, _)| path)),
        None => Box::new(tree.iter().map(|(path, _)| path)),
    };
    let paths = paths.map(TreePath::as_str);
    let doomed: Vec<_> = paths.filter(|path| fits(inside, path)).map(str::to_owned).collect();
    if doomed.is_empty() {
        let why = format!(
            "remove-files names \"{pattern}\", and there is nothing of that name in the image; correct it or take it out"
        );
        return Err(SystemError::source(&overlay.dir.join("overlay.toml"), &why));
    }
    Ok(doomed)
}
