//! The command line: one file a command, each parsing its arguments, calling the library and printing.
//!
//! Exit codes: 0 done, 1 an error (said on standard error), 2 wrong usage, 3 the box went back to its old image, 4 what
//! became of the box is not known, 130 interrupted. `status` and `history` have those of the box, and ssh's 255.

mod build;
mod context;
mod flash;
mod history;
mod host;
mod key;
mod lock;
mod plan;
mod remote;
mod rollback;
mod status;
mod test;
mod update;

use std::process::ExitCode;

use clap::Parser;

use crate::deliver::flash::FlashError;
use crate::deliver::update::UpdateError;
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
    Plan(plan::Args),
    Update(update::Args),
    Rollback(rollback::Args),
    Status(status::Args),
    History(history::Args),
    Host(host::Args),
    Key(key::Args),
}

/// What a command fails with; its message and those of its sources are shown to the user.
type CommandError = Box<dyn std::error::Error + Send + Sync>;

/// The program ends with this code; whoever is to blame has said why.
#[derive(Debug, thiserror::Error)]
#[error("exit status {0}")]
struct Exit(u8);

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
        Command::Plan(args) => context().and_then(|context| plan::run(&args, &context)),
        Command::Update(args) => context().and_then(|context| update::run(&args, &context)),
        Command::Rollback(args) => context().and_then(|context| rollback::run(&args, &context)),
        Command::Status(args) => context().and_then(|context| status::run(&args, &context)),
        Command::History(args) => context().and_then(|context| history::run(&args, &context)),
        // Neither an appliance nor the store is needed.
        Command::Host(args) => host::run(&args, &ui),
        Command::Key(args) => key::run(&args, &ui),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error, &ui),
    }
}

/// Tells the user; what the program exits with.
fn failed(error: &CommandError, ui: &Ui) -> ExitCode {
    if let Some(Exit(code)) = error.downcast_ref() {
        return ExitCode::from(*code);
    }
    let update = error.downcast_ref::<UpdateError>();
    let code = update.map_or(1, UpdateError::exit_code);
    let interrupted = crate::interrupt::requested();
    match error.downcast_ref::<FlashError>() {
        // It knows what the disks are like now, or what the box does.
        Some(error) if interrupted => ui.note(error.to_string()),
        None if interrupted && code == 1 => {
            ui.note("interrupted; nothing was changed, the next run goes on from here");
        }
        _ => ui.error(error.as_ref()),
    }
    ExitCode::from(if interrupted { 130 } else { code })
}
