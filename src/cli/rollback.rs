//! `chatimg rollback`.

use super::CommandError;
use super::context::Context;
use super::remote::{Target, passed};
use super::update::{self, Job};
use crate::deliver::update::{History, UpdateError};

/// Have a box go back to the image it ran before
///
/// That is still on it. The box tries that image as it does a new one: if it is not good, it comes back to the one that runs now. Exits with 0
/// when it is done, 1 if nothing has changed, 3 if the box came back, 4 if that is not known.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chatimg rollback --keep-data chat.example.org
  chatimg rollback --with-data chat.example.org")]
pub struct Args {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    data: Data,
    /// Let the box's own checks alone decide, without a login from here
    #[arg(long)]
    unattended: bool,
    /// With --with-data: do not save what came since, as where the database no longer answers
    #[arg(long, requires = "with_data")]
    no_export: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// What becomes of the data.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Data {
    /// Keep what was written since: the older programs read it
    #[arg(long)]
    keep_data: bool,
    /// Put the data back, too, as they were when the box left that image; messages since then are exported first
    #[arg(long)]
    with_data: bool,
}

pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let remote = args.target.remote(context)?;
    let before = History::read(&remote).map_err(UpdateError::from)?;
    let mut command = "sudo -n chatimg-admin rollback".to_owned();
    for (word, wanted) in [
        (" --keep-data", args.data.keep_data),
        (" --with-data", args.data.with_data),
        (" --no-export", args.no_export),
        (" --unattended", args.unattended),
        (" --yes", args.yes),
    ] {
        command.push_str(if wanted { word } else { "" });
    }
    let status = remote.pass(&command, !args.yes && context.ui.can_ask())?;
    // The restart breaks the connection: ssh's own failure.
    if !status.success() && status.code() != Some(255) {
        return passed(status);
    }
    let job = Job { remote: &remote, before: &before, to: None, confirm: !args.unattended };
    let outcome = update::wait(&job, context)?;
    context.ui.say(update::done(&remote, &outcome));
    Ok(())
}
