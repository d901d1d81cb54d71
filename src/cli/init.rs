//! `chatimg init`.

use std::path::{Path, PathBuf};

use super::CommandError;
use crate::appliance::Wish;
use crate::project::{self, Part};
use crate::ui::Ui;

/// Make a new project folder, ready to be built
///
/// Nothing is asked and nothing is fetched. The folder gets the overlays, tests and pages of this very chatimg, an
/// appliance.toml with every option and what it is for, and the lock it was tested with, so that `chatimg build` works at
/// once.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chatimg init chat
  chatimg init --domain chat.example.org --authorized-keys ~/.ssh/id_ed25519.pub chat")]
pub struct Args {
    /// The folder; it must be empty, or not there
    dir: PathBuf,
    /// What kind of server it is
    #[arg(long, value_name = "NAME", default_value = "matrix")]
    stack: String,
    /// The server's name, for ever: it is part of every user's and every room's name
    #[arg(long, value_name = "NAME", default_value = EXAMPLE)]
    domain: String,
    /// The administrator's login name
    #[arg(long, value_name = "NAME", default_value = "admin")]
    admin: String,
    /// The public keys that may log in, one a line [default: those in ~/.ssh that ssh offers by
    /// itself, such as id_ed25519.pub]
    #[arg(long, value_name = "FILE")]
    authorized_keys: Option<PathBuf>,
    /// For the smallest machine: one core, 1 GiB of memory, one disk
    #[arg(long)]
    small: bool,
}

/// A domain that nobody has.
const EXAMPLE: &str = "chat.example";

pub fn run(args: &Args, parts: &[Part], ui: &Ui) -> Result<(), CommandError> {
    crate::interrupt::listen()?;
    let (keys, from) = keys(args.authorized_keys.as_deref())?;
    let wish = Wish {
        stack: &args.stack,
        domain: &args.domain,
        target: if args.small { "small" } else { "box" },
        admin: &args.admin,
        keys: &keys,
    };
    let made = project::create(&args.dir, parts, &wish)?;
    let dir = args.dir.display();
    let plan = &made.plan;
    ui.say(format!("made {dir}: a {} server named {}", args.stack, plan.domain));
    ui.say(match from.as_slice() {
        [] => format!("nobody can log in to it yet: name public keys in {dir}/appliance.toml"),
        from => format!("{} can log in with {}", plan.admin.name, listed(from)),
    });
    ui.say("\nnext:");
    if args.dir != Path::new(".") {
        ui.say(format!("  cd {dir}"));
    }
    let edit = if args.domain == EXAMPLE { "the server's name above all" } else { "if you like" };
    ui.say(format!("  $EDITOR appliance.toml    # {edit}; each option is in it"));
    if !made.locked {
        ui.say("  chatimg lock              # resolves every input to an exact version and digest");
    }
    ui.say("  chatimg build             # fetches some 300 MB, and takes 4 GB of disk");
    ui.say("  chatimg run               # starts it on this machine, for a browser");
    Ok(())
}

/// The keys, and the files they are from.
fn keys(file: Option<&Path>) -> Result<(Vec<String>, Vec<PathBuf>), CommandError> {
    if let Some(file) = file {
        return Ok((project::read_keys(file)?, vec![file.to_owned()]));
    }
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let found = home.map(|home| project::of_user(&home)).unwrap_or_default();
    Ok(found.into_iter().map(|(path, key)| (key, path)).unzip())
}

fn listed(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}
