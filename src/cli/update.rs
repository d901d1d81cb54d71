//! `chatimg update`.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use indicatif::{HumanBytes, HumanDuration};

use super::CommandError;
use super::context::Context;
use super::key::KeyOption;
use super::remote::Target;
pub use crate::deliver::update::Switch as Job;
use crate::deliver::update::chunks::Chunks;
use crate::deliver::update::{
    self, Event, Guard, History, Offer, Offered, Outcome, Remote, Sent, Source, Transfer,
    UpdateError,
};
use crate::image::inventory;
use crate::ui::{Phases, Transfers};

/// Send an image to a box, which keeps it or comes back by itself
///
/// Only what the box lacks is sent, into the slot that does not run. Then its services stop, a snapshot of their data is
/// taken, and it restarts. It keeps the new image if that passes its own checks and this program can log in anew;
/// until then nobody else can reach it, so nothing that is written is lost if it goes back. docs/update.md has all of it.
///
/// Exits with 0 when the box keeps the image, 1 if it is as it was, 3 if it went back, 4 if that is not known.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chatimg update chat.example.org
  chatimg update --unattended --at 03:30 chat.example.org")]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Take this image instead of the newest: its id, or the beginning of it, or its folder
    #[arg(long, value_name = "ID|DIR")]
    image: Option<PathBuf>,
    /// Restart at this time, as date(1) reads it: "03:30", "tomorrow 4:00"; needs --unattended
    #[arg(long, value_name = "TIME", conflicts_with = "stage")]
    at: Option<String>,
    /// Let the box's own checks alone decide, without a login from here
    #[arg(long)]
    unattended: bool,
    /// Take an image that is made of older inputs than the one that runs
    #[arg(long)]
    older: bool,
    /// Only send it; the next `chatimg update` has nothing left to send
    #[arg(long)]
    stage: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    key: KeyOption,
}

pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let at = args.at.as_deref().map(|time| planned(time, args.unattended)).transpose()?;
    let remote = args.target.remote(context)?;
    let dir = context.image_dir(args.image.as_deref())?;
    let _hold = inventory::hold(&dir);
    let source = Source::open(&dir)?;
    let key = args.key.read()?;
    let chunks = read(&source, context)?;
    let description = &source.description;
    let images = &context.images();
    let offer = Offer { description, chunks: &chunks, key: &key, older: args.older, images };
    // Having a box look at what it has takes it a while; nobody is asked, so it does so once.
    let asked = !args.yes && !args.stage;
    if asked && !context.ui.can_ask() {
        return Err(format!(
            "there is nobody to ask whether {} may restart; add --yes if it may, or --stage to only send the image",
            remote.host
        )
        .into());
    }
    if asked {
        tell(&remote, &offer, Transfer::offer(&remote, &offer, true)?.offered(), context);
        confirm(args, at, &remote, context)?;
    }
    let start = Instant::now();
    let mut transfer = Transfer::offer(&remote, &offer, false)?;
    if !asked {
        tell(&remote, &offer, transfer.offered(), context);
    }
    let sent = send(&mut transfer, &source, context)?;
    let id = &description.id;
    let what = format!("{}, in {:.0} s", amount(sent), start.elapsed().as_secs_f64());
    if args.stage {
        let slot = &transfer.offered().slot;
        context.ui.say(format!("image {id} is in slot {slot} of {}: {what}", remote.host));
        return Ok(());
    }
    let before = History::read(&remote).map_err(UpdateError::from)?;
    let guard = if args.unattended { Guard::Gate } else { Guard::Login };
    let mut phases = Phases::new(context.ui);
    phases.begin("stopping services, taking the snapshot");
    update::switch(&mut transfer, guard, at.unwrap_or(0), &|_| ())?;
    drop(phases);
    if let Some(time) = args.at.as_ref().filter(|_| at.is_some()) {
        let host = &remote.host;
        context.ui.say(format!("{host} will restart into image {id} at {time}; it was {what}"));
        return Ok(());
    }
    drop(transfer);
    let confirm = !args.unattended;
    let outcome = wait(&Job { remote: &remote, before: &before, to: Some(id), confirm }, context)?;
    context.ui.say(format!("{}; {what}", done(&remote, &outcome)));
    Ok(())
}

/// When the box is to restart; seconds since 1970.
fn planned(time: &str, unattended: bool) -> Result<u64, CommandError> {
    if !unattended {
        return Err("with --at, nobody logs in to confirm the new image when it has started; add --unattended, and the \
                    box's own checks decide"
            .into());
    }
    let output = Command::new("date").arg(format!("--date={time}")).arg("+%s").output();
    let output = output.map_err(|error| format!("reading the time \"{time}\": date: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let Some(at) = said.trim().parse::<u64>().ok().filter(|_| output.status.success()) else {
        return Err(
            format!("\"{time}\" is no time; write \"03:30\" or \"2026-12-24 03:30\"").into()
        );
    };
    if SystemTime::UNIX_EPOCH + Duration::from_secs(at) <= SystemTime::now() {
        let advice = "say the day: \"tomorrow 03:30\"";
        return Err(format!("the time \"{time}\" is over already; {advice}").into());
    }
    Ok(at)
}

/// Cuts the image up, and shows how far that is.
pub fn read(source: &Source, context: &Context<'_>) -> Result<Chunks, UpdateError> {
    let (total, done) = (source.description.root.size, std::sync::atomic::AtomicU64::new(0));
    let transfers = Transfers::new(context.ui, ["image".to_owned()]);
    let chunks = source.chunks(&|bytes| {
        let done = done.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed) + bytes;
        transfers.progress(0, "reading", done, total);
    });
    transfers.close();
    chunks
}

/// Says what will happen.
fn tell(remote: &Remote, offer: &Offer<'_>, offered: &Offered, context: &Context<'_>) {
    let (host, id) = (&remote.host, &offer.description.id);
    let (lacking, all) = (HumanBytes(offered.size()), HumanBytes(offer.description.root.size));
    let running = &offered.running;
    if let Some(warning) = &offered.warning {
        context.ui.warn(warning);
    }
    context.ui.note(format!(
        "{host}: image {running} -> {id}; it lacks {lacking} of {all}, which are sent compressed"
    ));
}

/// Asks whether it may happen.
fn confirm(
    args: &Args,
    at: Option<u64>,
    remote: &Remote,
    context: &Context<'_>,
) -> Result<(), CommandError> {
    let host = &remote.host;
    let question = match (&args.at, at) {
        (Some(time), Some(_)) => format!("Have {host} restart into it at {time}? [y/N]"),
        _ => format!("Restart {host} into it now? [y/N]"),
    };
    match context.ui.ask(&question)?.as_deref() {
        Some("y" | "Y" | "yes") => Ok(()),
        Some(_) => Err(format!("nothing was sent, and {host} is as it was").into()),
        None => Err(format!("nobody answers; nothing was sent, and {host} is as it was").into()),
    }
}

fn send(
    transfer: &mut Transfer<'_>,
    source: &Source,
    context: &Context<'_>,
) -> Result<Sent, UpdateError> {
    let transfers = Transfers::new(context.ui, [format!("image {}", source.description.id)]);
    let sent = transfer.send(source, &|event| match event {
        Event::Sending { done, total } => transfers.progress(0, "sending", done, total),
        Event::Writing { done, total } => transfers.progress(0, "writing", done, total),
        Event::Reading { .. } | Event::Down | Event::Back => {}
    });
    transfers.close();
    sent
}

/// Waits for the box's verdict on an image that it tries.
pub fn wait(job: &Job<'_>, context: &Context<'_>) -> Result<Outcome, UpdateError> {
    let phases = std::cell::RefCell::new(Phases::new(context.ui));
    let host = &job.remote.host;
    phases.borrow_mut().begin(&format!("{host} restarts"));
    update::verdict(job, &|event| {
        if event == Event::Back {
            phases.borrow_mut().begin(&format!("{host} tries the image"));
        }
    })
}

/// The end, in words.
pub fn done(remote: &Remote, outcome: &Outcome) -> String {
    let down = outcome.down.map(|down| {
        let down = Duration::from_secs_f64(down.clamp(0.0, 1e6).round());
        format!(", and was down for {}", HumanDuration(down))
    });
    let Outcome { from, to, .. } = outcome;
    format!("{} runs image {to} instead of {from}{}", remote.host, down.unwrap_or_default())
}

fn amount(sent: Sent) -> String {
    format!("{} sent", HumanBytes(sent.bytes))
}
