//! The command line: one file a command, each parsing its arguments, calling the library and printing.
//!
//! Exit codes: 0 done, 1 an error (said on standard error), 2 wrong usage, 3 the box went back to its old image, 4 what
//! became of the box is not known, 130 interrupted. `status` and `history` have those of the box, and ssh's 255.

mod archive;
mod build;
mod completions;
mod context;
mod diff;
mod flash;
mod gc;
mod history;
mod host;
mod images;
mod init;
mod key;
mod lock;
mod man;
mod plan;
mod remote;
mod rollback;
mod run;
mod sbom;
mod sign;
mod status;
mod store;
mod test;
mod update;
mod verify;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use crate::debian::keyring::{Keyring, KeyringError};
use crate::deliver::flash::FlashError;
use crate::deliver::update::UpdateError;
use crate::project::Part;
use crate::sandbox;
use crate::ui::Ui;
use context::Context;

/// A whole chat server as one pinned, reproducible, tested disk image.
#[derive(Debug, Parser)]
#[command(name = "chatimg", version, max_term_width = 80, after_help = AFTER)]
struct Cli {
    #[command(flatten)]
    context: context::Options,
    #[command(subcommand)]
    command: Command,
}

const AFTER: &str = "\
Examples:
  chatimg init --domain chat.example.org chat && cd chat
  chatimg build && chatimg run

Exit status: 0 done, 1 an error, 2 wrong usage, 130 interrupted; `chatimg update --help` has more.";

/// In the order in which they are needed.
#[derive(Debug, clap::Subcommand)]
enum Command {
    Init(init::Args),
    Lock(lock::Args),
    Build(build::Args),
    Run(run::Args),
    Test(test::Args),
    Verify(verify::Args),
    Sign(sign::Args),
    Sbom(sbom::Args),
    Archive(archive::Args),
    Flash(flash::Args),
    Plan(plan::Args),
    Update(update::Args),
    Rollback(rollback::Args),
    Status(status::Args),
    History(history::Args),
    Images(images::Args),
    Diff(diff::Args),
    Gc(gc::Args),
    Store(store::Args),
    Host(host::Args),
    Key(key::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// What a command fails with; its message and those of its sources are shown to the user.
type CommandError = Box<dyn std::error::Error + Send + Sync>;

/// The program ends with this code; whoever is to blame has said why.
#[derive(Debug, thiserror::Error)]
#[error("exit status {0}")]
struct Exit(u8);

/// Who may sign Debian's indexes.
pub type Trust = fn() -> Result<Keyring, KeyringError>;

/// Runs the command line of this process. `parts`: what `chatimg init` hands out.
pub fn main(parts: &[Part]) -> ExitCode {
    if let Some(code) = sandbox::become_cell() {
        return code;
    }
    sandbox::made_by(Path::new("/proc/self/exe"));
    run(parts, std::env::args_os(), Keyring::debian).into()
}

/// Runs a command line, trusting these keys; gives what the program exits with. There is no way to name other keys than
/// Debian's to the program itself: this is for tests.
pub fn run(parts: &[Part], args: impl Iterator<Item = OsString>, trust: Trust) -> u8 {
    let cli = Cli::parse_from(args);
    let ui = Ui::new();
    let context = || Context::new(cli.context, &ui, trust);
    let result = match cli.command {
        Command::Lock(args) => context().and_then(|context| lock::run(&args, &context)),
        Command::Build(args) => context().and_then(|context| build::run(&args, &context)),
        Command::Run(args) => context().and_then(|context| run::run(&args, &context)),
        Command::Test(args) => context().and_then(|context| test::run(&args, &context)),
        Command::Flash(args) => context().and_then(|context| flash::run(&args, &context)),
        Command::Plan(args) => context().and_then(|context| plan::run(&args, &context)),
        Command::Update(args) => context().and_then(|context| update::run(&args, &context)),
        Command::Rollback(args) => context().and_then(|context| rollback::run(&args, &context)),
        Command::Status(args) => context().and_then(|context| status::run(&args, &context)),
        Command::History(args) => context().and_then(|context| history::run(&args, &context)),
        Command::Images(args) => context().and_then(|context| images::run(&args, &context)),
        Command::Diff(args) => context().and_then(|context| diff::run(&args, &context)),
        Command::Gc(args) => context().and_then(|context| gc::run(&args, &context)),
        Command::Store(args) => context().and_then(|context| store::run(&args, &context)),
        Command::Verify(args) => context().and_then(|context| verify::run(&args, &context)),
        Command::Sign(args) => context().and_then(|context| sign::run(&args, &context)),
        Command::Sbom(args) => context().and_then(|context| sbom::run(&args, &context)),
        Command::Archive(archive::Args { check: true, dir, .. }) => archive::check(&dir, &ui),
        Command::Archive(args) => context().and_then(|context| archive::run(&args, &context)),
        // Neither an appliance nor the store is needed.
        Command::Init(args) => init::run(&args, parts, &ui),
        Command::Host(args) => host::run(&args, &ui),
        Command::Key(args) => key::run(&args, &ui),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args, &ui),
    };
    match result {
        Ok(()) => 0,
        Err(error) => failed(&error, &ui),
    }
}

/// Tells the user; what the program exits with.
fn failed(error: &CommandError, ui: &Ui) -> u8 {
    if let Some(Exit(code)) = error.downcast_ref() {
        return *code;
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
    if interrupted { 130 } else { code }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::*;

    /// All commands of chatimg's own, `chatimg-host-check` too, without those that only have others below them.
    fn commands(command: &clap::Command, name: &str, found: &mut Vec<(String, clap::Command)>) {
        found.push((name.to_owned(), command.clone()));
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            commands(below, &format!("{name}-{}", below.get_name()), found);
        }
    }

    fn all() -> Vec<(String, clap::Command)> {
        let mut cli = Cli::command();
        cli.build();
        let mut found = Vec::new();
        commands(&cli, "chatimg", &mut found);
        found
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn each_command_has_a_summary_and_an_example_that_names_it() {
        for (name, command) in all() {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            // One line each in the list of commands.
            let listed = name.matches('-').count() == 1;
            assert!(!about.is_empty() && (about.len() <= 64 || !listed), "{name}: {about}");
            if name.matches('-').count() > 1 {
                continue; // Its parent's examples show it.
            }
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.starts_with("Example"), "{name}: {help}");
            assert!(help.contains(&format!("  {}", name.replace('-', " "))), "{name}: {help}");
            for below in command.get_subcommands().filter(|_| name != "chatimg") {
                let words = format!("{} {}", name.replace('-', " "), below.get_name());
                assert!(below.get_name() == "help" || help.contains(&words), "{words}: {help}");
            }
        }
    }

    #[test]
    fn help_fits_a_terminal() {
        for (name, mut command) in all() {
            for help in [command.render_help(), command.render_long_help()] {
                let help = help.to_string();
                let long = help.lines().find(|line| line.chars().count() > 100);
                assert_eq!(long, None, "{name}");
            }
        }
    }

    #[test]
    fn each_command_has_a_page_and_is_completed() {
        let dir = tempfile::tempdir().expect("dir");
        man::run(&man::Args::to(dir.path()), &Ui::new()).expect("pages");
        let commands = all();
        for (name, command) in &commands {
            let page = std::fs::read_to_string(dir.path().join(format!("{name}.1")));
            let page = page.unwrap_or_else(|error| panic!("{name}.1: {error}"));
            let plain = page.replace('\\', "");
            let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
            for option in shown.filter_map(|argument| argument.get_long()) {
                assert!(plain.contains(&format!("--{option}")), "{name}.1: {option}");
            }
        }
        assert_eq!(dir.path().read_dir().expect("pages").count(), commands.len());
        for shell in
            [clap_complete::Shell::Bash, clap_complete::Shell::Zsh, clap_complete::Shell::Fish]
        {
            let text = completions::text(shell);
            let words: BTreeSet<&str> =
                text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').collect();
            for (name, command) in &commands {
                assert!(words.contains(command.get_name()), "{shell}: {name}");
                let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
                for option in shown.filter_map(|argument| argument.get_long()) {
                    // fish has them without their dashes.
                    let known = words.contains(format!("--{option}").as_str())
                        || (shell == clap_complete::Shell::Fish && words.contains(option));
                    assert!(known, "{shell}: {name} --{option}");
                }
            }
        }
    }

    #[test]
    fn wrong_usage_is_told_from_failure() {
        for words in [
            &["chatimg"] as &[&str],
            &["chatimg", "biuld"],
            &["chatimg", "build", "--fast"],
            &["chatimg", "init"],
            &["chatimg", "host"],
            &["chatimg", "completions", "dos"],
        ] {
            let error = Cli::try_parse_from(words).expect_err("wrong usage");
            assert_eq!(error.exit_code(), 2, "{words:?}");
        }
    }
}
