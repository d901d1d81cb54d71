//! The command line: one file a command, each parsing its arguments, calling the library and printing.
//!
//! Exit codes: 0 done, 1 an error (said on standard error), 2 wrong usage, 130 interrupted.

mod build;
mod context;
mod flash;
mod host;
mod lock;
mod test;

use std::process::ExitCode;

use clap::Parser;

use crate::deliver::flash::FlashError;
use crate::ui::Ui;
use context::Context;

/// A whole chat server as one pinned, reproducible, tested disk image.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 80)]
struct Cli {
    #[command(flatten)]
    context: context::Options,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Lock(lock::Args),
    Build(build::Args),
    Test(test::Args),
    Flash(flash::Args),
    Host(host::Args),
}

/// What a command fails with; its message and those of its sources are shown to the user.
type CommandError = Box<dyn std::error::Error + Send + Sync>;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let ui = Ui::new();
    let context = || Context::new(cli.context, &ui);
    let result = match cli.command {
        Command::Lock(args) => context().and_then(|context| lock::run(&args, &context)),
        Command::Build(args) => context().and_then(|context| build::run(&args, &context)),
        Command::Test(args) => context().and_then(|context| test::run(&args, &context)),
        Command::Flash(args) => context().and_then(|context| flash::run(&args, &context)),
        // Neither an appliance nor the store is needed.
        Command::Host(args) => host::run(&args, &ui),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let interrupted = crate::interrupt::requested();
            match error.downcast_ref::<FlashError>() {
                // It knows what the disks are like now.
                Some(error) if interrupted => ui.note(error.to_string()),
                None if interrupted => {
                    ui.note("interrupted; nothing was changed, the next run goes on from here");
                }
                _ => ui.error(error.as_ref()),
            }
            ExitCode::from(if interrupted { 130 } else { 1 })
        }
    }
}
