//! systemd's compiled data: the hardware database and the journal's message catalog.

use std::path::Path;

use super::{Finish, FinishError, Output, hwdb};
use crate::tree::Tree;

/// `/usr/lib/udev/hwdb.bin`.
pub(super) fn hardware(context: Finish<'_>, tree: &Tree) -> Result<Tree, FinishError> {
    const MADE: &str = "usr/lib/udev/hwdb.bin";
    let program = ("usr/bin/systemd-hwdb", &["update", "--usr"][..]);
    let sources = ["usr/lib/udev/hwdb.d/", "etc/udev/hwdb.d/"];
    compiled(context, tree, &sources, program, |output, folder| {
        let made = folder.join(MADE);
        let database = std::fs::read(&made)
            .map_err(|source| FinishError::Read { program: program.0, source })?;
        let database = hwdb::without_folder(&database, &folder.to_string_lossy());
        let unknown = || FinishError::Input {
            path: MADE.to_owned(),
            why: "systemd-hwdb made a database of another format than version 257's".to_owned(),
        };
        output.file(MADE, 0o444, &database.ok_or_else(unknown)?)
    })
}

/// `/var/lib/systemd/catalog/database`.
pub(super) fn catalog(context: Finish<'_>, tree: &Tree) -> Result<Tree, FinishError> {
    const MADE: &str = "var/lib/systemd/catalog/database";
    let program = ("usr/bin/journalctl", &["--update-catalog"][..]);
    let sources = ["usr/lib/systemd/catalog/", "etc/systemd/catalog/"];
    compiled(context, tree, &sources, program, |output, folder| {
        output.take(MADE, 0o644, &folder.join(MADE), program.0)
    })
}

fn compiled(
    context: Finish<'_>,
    tree: &Tree,
    sources: &[&str],
    (program, args): (&'static str, &[&str]),
    take: impl FnOnce(&mut Output<'_>, &Path) -> Result<(), FinishError>,
) -> Result<Tree, FinishError> {
    let input = tree.filter(|path| sources.iter().any(|dir| path.starts_with(dir)));
    if input.is_empty() {
        return Ok(Tree::new());
    }
    context.step(program, &input, |output| {
        let scratch = context.store.scratch()?;
        input.export(context.store, scratch.path())?;
        let root = format!("--root={}", scratch.path().display());
        let args = args.iter().map(|arg| (*arg).to_owned()).chain([root]);
        context.tools.run(program, args, scratch.path(), b"")?;
        take(output, scratch.path())
    })
}
