//! `chatimg host`.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use super::CommandError;
use crate::host::Settings;
use crate::ui::Ui;

/// Check what is set for one box: name, network, keys, secrets
///
/// docs/host.md describes the file, and docs/host.example.toml is one to start from.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chatimg host check host.toml
  chatimg host encode | ssh admin@chat.example.org sudo chatimg-admin settings load -")]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Say all that is wrong with the file; nothing is written
    Check {
        /// The settings of one box
        #[arg(default_value = "host.toml")]
        file: PathBuf,
    },
    /// Write the settings, secrets among them, to standard output, as `sudo chatimg-admin settings load -` on
    /// the box reads them
    Encode {
        /// The settings of one box
        #[arg(default_value = "host.toml")]
        file: PathBuf,
    },
}

pub fn run(args: &Args, ui: &Ui) -> Result<(), CommandError> {
    match &args.verb {
        Verb::Check { file } => {
            let settings = load(file, ui)?;
            let secrets: Vec<&str> = settings.secret_names().collect();
            let secrets = match secrets.as_slice() {
                [] => "no secrets".to_owned(),
                names => format!("with secrets: {}", names.join(", ")),
            };
            ui.say(format!("{} is right, {secrets}", file.display()));
            Ok(())
        }
        Verb::Encode { file } => {
            let mut output = std::io::stdout().lock();
            if output.is_terminal() {
                return Err("this would show the secrets on the terminal; lead it into \
                            `ssh ADMIN@BOX sudo chatimg-admin settings load -`"
                    .into());
            }
            output.write_all(&load(file, ui)?.encode())?;
            Ok(output.flush()?)
        }
    }
}

/// Reads the settings; warns of what is hardly meant.
pub(super) fn load(file: &Path, ui: &Ui) -> Result<Settings, CommandError> {
    let settings = Settings::load(file)?;
    settings.warnings().iter().for_each(|warning| ui.warn(warning.to_string()));
    Ok(settings)
}
