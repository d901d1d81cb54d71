//! `chatimg status`.

use super::CommandError;
use super::context::Context;
use super::remote::{Target, passed};

/// Say how a box is
///
/// That is what `sudo chatimg-admin status` says there.
///
/// Exits with what that exits with; 255 if there is no connection.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  chatimg status chat.example.org")]
pub struct Args {
    #[command(flatten)]
    target: Target,
}

pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    passed(args.target.remote(context)?.pass("sudo -n chatimg-admin status", false)?)
}
