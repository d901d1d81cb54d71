//! `chatimg man`.

use std::io::Write;
use std::path::PathBuf;

use clap::CommandFactory;

use super::{Cli, CommandError};
use crate::ui::Ui;

/// Write the manual, a page for each command
///
/// Without a folder, the first page goes to standard output.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chatimg man ~/.local/share/man/man1 && man chatimg-build
  chatimg man | man -l -")]
pub struct Args {
    /// The folder for the pages chatimg.1, chatimg-build.1 ...; made if need be
    dir: Option<PathBuf>,
}

#[cfg(test)]
impl Args {
    pub(super) fn to(dir: &std::path::Path) -> Self {
        Self { dir: Some(dir.to_owned()) }
    }
}

pub fn run(args: &Args, ui: &Ui) -> Result<(), CommandError> {
    let Some(dir) = &args.dir else {
        let mut text = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut text)?;
        let mut output = std::io::stdout().lock();
        return Ok(output.write_all(&text).and_then(|()| output.flush())?);
    };
    let failed = |error| format!("writing the manual to {}: {error}", dir.display());
    std::fs::create_dir_all(dir).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), dir).map_err(failed)?;
    ui.say(format!("the manual is in {}; it begins with chatimg.1", dir.display()));
    Ok(())
}
