//! `chatimg rollback`.

use super::CommandError;
use super::context::Context;
use super::remote::{Target, passed};
use super::update::{self, Job};
use crate::deliver::update::History;

/// Have a box go back to the image it ran before, which is still on it
///
/// The box tries that image as it does a new one: if it is not good, it comes back to the one that runs now. Exits with 0
/// when it is done, 1 if nothing has changed, 3 if the box came back, 4 if that is not known.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Keep what was written since: the older programs read it
    #[arg(long, conflicts_with = "with_data")]
    keep_data: bool,
    /// Put the data back, too, as they were when the box left that image; messages since then are exported first
    #[arg(long)]
    with_data: bool,
}

pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let remote = args.target.remote(context)?;
    let before = History::read(&remote)?;
    let data = match (args.keep_data, args.with_data) {
        (true, _) => " --keep-data",
        (_, true) => " --with-data",
        _ => "",
    };
    let status = remote.pass(&format!("sudo -n chatimg-admin rollback{data}"))?;
    // The restart breaks the connection: ssh's own failure.
    if !status.success() && status.code() != Some(255) {
        return passed(status);
    }
    let job = Job { remote: &remote, before: &before, to: None, confirm: true };
    let outcome = update::wait(&job, context)?;
    context.ui.say(update::done(&remote, &outcome));
    Ok(())
}
