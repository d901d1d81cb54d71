//! `chatimg archive`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use indicatif::HumanBytes;

use super::context::Context;
use super::{CommandError, Exit};
use crate::archive::{self, Archive, Lacking, Project, inputs};
use crate::lock::{Group, unanswered};
use crate::store::Amount;
use crate::ui::{Phases, Ui};

/// Keep all that the lock names, to build from it years later
///
/// Writes every input of appliance.lock into a folder, with the project (appliance.toml, lock, overlays/, qemu-tests/) and chatimg itself, and
/// only what is not there yet; several locks and projects may share it. What is there is compared with its digests, and mended. The
/// folder serves as it is, also from a web server: `archive` below [sources] in ~/.config/chatimg/config.toml, or CHATIMG_ARCHIVE, is its
/// path or address. docs/archive.md has more.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chatimg archive /media/stick/chat
  chatimg archive --check /media/stick/chat
  CHATIMG_ARCHIVE=/media/stick/chat chatimg build")]
pub struct Args {
    /// The archive's folder
    pub(super) dir: PathBuf,
    /// Only read all of it, and say what is damaged or missing; exits with 1 then. Needs no project
    #[arg(long)]
    pub(super) check: bool,
    /// Leave out the project and chatimg itself: inputs and lock only
    #[arg(long, conflicts_with = "check")]
    inputs_only: bool,
}

pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let (plan, lock) = (context.plan()?, context.lock()?);
    let missing = unanswered(&lock, &plan.request);
    if !missing.is_empty() {
        let lock = context.lock_path();
        return Err(format!(
            "{} does not answer what the appliance asks for, so nothing could be built from it; it lacks:\n  {}\nrun `chatimg lock`",
            lock.display(),
            missing.join("\n  ")
        )
        .into());
    }
    let mut archive = Archive::open(&args.dir)?;
    let inputs = inputs(&lock);
    let lacking =
        shown(context.ui, "reading the archive", |progress| archive.lacking(&inputs, progress))?;
    let image = context.build(&plan, &lock, |build| {
        let digests: BTreeSet<_> = lacking.iter().map(|it| it.input.digest).collect();
        let mut wanted = crate::fetch::wanted(&lock, &[Group::Image, Group::Build, Group::Vm]);
        wanted.retain(|input| digests.contains(&input.digest));
        if !wanted.is_empty() {
            context.fetch_these(build, &wanted)?;
        }
        build.known()
    })?;
    let copied = shown(context.ui, "writing the archive", |progress| {
        archive.copy(&context.store, &lacking, progress)
    })?;
    let project = Project { appliance: &context.appliance, image: image.as_deref() };
    let project = Some(&project).filter(|_| !args.inputs_only);
    let besides = archive.enter(&plan.name, &lock, &inputs, project)?;
    said(context.ui, &args.dir, (&inputs, &lacking), (copied, besides), &archive);
    Ok(())
}

/// Says what was done.
fn said(
    ui: &Ui,
    dir: &Path,
    (inputs, lacking): (&[archive::Input], &[Lacking]),
    (copied, besides): (Amount, Amount),
    archive: &Archive,
) {
    for mended in lacking.iter().filter(|it| it.damaged) {
        ui.note(format!("{} was damaged, and was written anew", mended.input.label()));
    }
    let there = inputs.len() - lacking.len();
    let mut words = match (copied.count, besides.count) {
        (0, 0) => "nothing to write".to_owned(),
        (0, _) => format!("wrote project and index, {}", HumanBytes(besides.bytes)),
        _ => format!(
            "wrote {} inputs, {}, and project and index, {}",
            copied.count,
            HumanBytes(copied.bytes),
            HumanBytes(besides.bytes)
        ),
    };
    if there > 0 {
        words += &format!("; {there} inputs were there and are whole");
    }
    ui.say(format!("archive {}: {words}", dir.display()));
    let (locks, all) = archive.totals();
    ui.say(format!("it serves {}: {} inputs, {}", count(locks), all.count, HumanBytes(all.bytes)));
}

fn count(locks: usize) -> String {
    if locks == 1 { "1 lock".to_owned() } else { format!("{locks} locks") }
}

/// `--check`.
pub fn check(dir: &Path, ui: &Ui) -> Result<(), CommandError> {
    crate::interrupt::listen()?;
    let checked = shown(ui, "reading the archive", |progress| archive::check(dir, progress))?;
    checked.troubles.iter().for_each(|trouble| ui.say(trouble.to_string()));
    for lock in &checked.unread {
        ui.note(format!(
            "locks/{lock}.lock is of another version of chatimg, or damaged: what it needs is told by the index alone"
        ));
    }
    for file in &checked.unknown {
        ui.note(format!("{file} is none of the archive's; it was not looked into"));
    }
    let read = format!(
        "archive {}: {} files of {}, {} read",
        dir.display(),
        checked.files,
        count(checked.locks),
        HumanBytes(checked.bytes)
    );
    if checked.troubles.is_empty() {
        ui.say(format!("{read}: all are there and whole"));
        return Ok(());
    }
    ui.say(format!(
        "{read}: {} damaged or missing; `chatimg archive {}`, run in a project that needs them, writes them anew",
        checked.troubles.len(),
        dir.display()
    ));
    Err(Box::new(Exit(1)))
}

/// Runs one step with its progress shown.
fn shown<T, E>(
    ui: &Ui,
    step: &str,
    work: impl FnOnce(&(dyn Fn(u64, u64) + Sync)) -> Result<T, E>,
) -> Result<T, E> {
    let phases = Mutex::new(Phases::new(ui));
    let phases = || phases.lock().unwrap_or_else(PoisonError::into_inner);
    phases().begin(step);
    work(&|done, total| phases().progress(done, total))
}
