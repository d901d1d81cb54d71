//! What overlays have taken out of the image (`remove-files`), as mkosi's `RemoveFiles=` does. dpkg's lists still name
//! it, as with dpkg's own path-exclude.

use super::pattern::fits;
use super::system::SystemError;
use crate::appliance::{Overlay, Plan};
use crate::tree::Tree;

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
    let paths = tree.iter().map(|(path, _)| path.as_str());
    let doomed: Vec<_> = paths.filter(|path| fits(inside, path)).map(str::to_owned).collect();
    if doomed.is_empty() {
        let why = format!(
            "remove-files names \"{pattern}\", and there is nothing of that name in the image; correct it or take it out"
        );
        return Err(SystemError::source(&overlay.dir.join("overlay.toml"), &why));
    }
    Ok(doomed)
}
