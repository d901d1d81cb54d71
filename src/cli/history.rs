//! `chatimg history`.

use super::CommandError;
use super::context::Context;
use super::remote::{Target, passed};

/// Say which images a box has run, and why it left them
///
/// That is what `sudo chatimg-admin history` says there.
///
/// Exits with what that exits with; 255 if there is no connection.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  chatimg history chat.example.org")]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let json = if args.json { " --json" } else { "" };
    let command = format!("sudo -n chatimg-admin history{json}");
    passed(args.target.remote(context)?.pass(&command, false)?)
}
