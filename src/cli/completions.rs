//! `chatimg completions`.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, CommandError};

/// Write what a shell needs to complete commands and options
///
/// It goes to standard output, for the file that the shell reads.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chatimg completions bash > ~/.local/share/bash-completion/completions/chatimg
  chatimg completions zsh > ~/.zfunc/_chatimg        # with fpath+=~/.zfunc
  chatimg completions fish > ~/.config/fish/completions/chatimg.fish")]
pub struct Args {
    /// Which shell
    shell: Shell,
}

pub fn run(args: &Args) -> Result<(), CommandError> {
    let mut output = std::io::stdout().lock();
    Ok(output.write_all(text(args.shell).as_bytes()).and_then(|()| output.flush())?)
}

/// What the shell reads.
pub(super) fn text(shell: Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "chatimg", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}
