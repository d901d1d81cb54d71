//! `chatimg plan`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::CommandError;
use super::context::Context;
use super::key::KeyOption;
use super::remote::Way;
use super::update::read;
use crate::deliver::preview::{self, Download, Facts, Preview, REMOTE};
use crate::deliver::update::{Event, Offer, Offered, Remote, Source, Transfer, UpdateError};
use crate::image::MANIFEST;
use crate::ui::Transfers;

/// Say what an image would change on a box; nothing is changed
///
/// Also how much of it would be sent. Without a box it is compared with the image that was built before it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chatimg plan
  chatimg plan chat.example.org")]
pub struct Args {
    /// The box, as `chatimg update` takes it
    #[arg(value_name = "[USER@]HOST")]
    host: Option<String>,
    #[command(flatten)]
    way: Way,
    /// Take this image instead of the newest: its id, or the beginning of it, or its folder
    #[arg(long, value_name = "ID|DIR")]
    image: Option<PathBuf>,
    /// All of it, as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    key: KeyOption,
}

/// How long a box may take to tell of itself.
const PATIENCE: Duration = Duration::from_secs(300);

pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let dir = context.image_dir(args.image.as_deref())?;
    let source = Source::open(&dir)?;
    let own = own_files(context)?;
    let to = Facts::read(&dir, &own)?;
    let preview = match &args.host {
        Some(host) => {
            let remote = args.way.to(host, context)?;
            with_box(args, &remote, &source, (&to, &own), context)?
        }
        None => without_box(&source, (&to, &own), context)?,
    };
    if args.json {
        context.ui.say(serde_json::to_string(&preview)?);
    } else {
        preview::lines(&preview).iter().for_each(|line| context.ui.say(line));
    }
    if args.host.is_none() && !args.json {
        context.ui.note("what a box would be sent, and the space it has: `chatimg plan HOST`");
    }
    Ok(())
}

/// Paths on the box of all files that the overlays have.
fn own_files(context: &Context<'_>) -> Result<BTreeSet<String>, CommandError> {
    if !context.appliance.exists() {
        return Ok(BTreeSet::new());
    }
    let overlays = context.plan()?.overlays;
    let files = overlays.iter().map(|overlay| crate::appliance::own_files(&overlay.dir));
    let files = files.collect::<Result<Vec<_>, _>>();
    let files = files.map_err(|error| format!("listing the overlays' files: {error}"))?;
    Ok(files.into_iter().flatten().collect())
}

fn with_box(
    args: &Args,
    remote: &Remote,
    source: &Source,
    (to, own): (&Facts, &BTreeSet<String>),
    context: &Context<'_>,
) -> Result<Preview, CommandError> {
    let words = remote.ask("cat /proc/cmdline", PATIENCE).map_err(UpdateError::from)?;
    let id = words.split_whitespace().find_map(|word| word.strip_prefix("chatimg.id="));
    let id = id.ok_or_else(|| {
        format!("{} is no box of chatimg: its kernel was given no chatimg.id", remote.host)
    })?;
    let told = Facts::told(&remote.ask(REMOTE, PATIENCE).map_err(UpdateError::from)?, id);
    let known = context.images().join(id);
    let by_manifest = known.join(MANIFEST).is_file();
    let from = if by_manifest { Facts::read(&known, own)? } else { told };
    let mut preview = Preview::new(&from, to, by_manifest);
    if id == source.description.id {
        context.ui.note(format!("{} runs this image already", remote.host));
        return Ok(preview);
    }
    match negotiated(args, remote, source, context) {
        Ok(offered) => {
            preview.download = Some(download(&offered, source, context)?);
            preview.space = offered.space;
        }
        // All else is worth saying nevertheless.
        Err(error) => context.ui.warn(format!("what would be sent is not known: {error}")),
    }
    Ok(preview)
}

/// What the box would lack, as it says itself.
fn negotiated(
    args: &Args,
    remote: &Remote,
    source: &Source,
    context: &Context<'_>,
) -> Result<Offered, CommandError> {
    let key = args.key.read()?;
    let chunks = read(source, context)?;
    let images = &context.images();
    let description = &source.description;
    let offer = Offer { description, chunks: &chunks, key: &key, older: true, images };
    Ok(Transfer::offer(remote, &offer, true)?.offered().clone())
}

fn without_box(
    source: &Source,
    (to, own): (&Facts, &BTreeSet<String>),
    context: &Context<'_>,
) -> Result<Preview, CommandError> {
    let Some(dir) = before(&context.images(), source) else {
        return Err(
            "there is no other image to compare with; name a box: `chatimg plan HOST`".into()
        );
    };
    let mut preview = Preview::new(&Facts::read(&dir, own)?, to, true);
    let old = Source::open(&dir)?;
    let offered = Offered::without_box(&old, &read(&old, context)?, &read(source, context)?);
    let offered = offered.map_err(|error| format!("reading {}: {error}", dir.display()))?;
    preview.download = Some(download(&offered, source, context)?);
    Ok(preview)
}

/// The newest other image of the same appliance that was made before this one.
fn before(images: &Path, source: &Source) -> Option<PathBuf> {
    let time = |dir: &Path| dir.join(MANIFEST).metadata().ok()?.modified().ok();
    let own = source.root().path().parent().and_then(time);
    let found = images.read_dir().ok()?.flatten().map(|entry| entry.path());
    let found = found.filter(|dir| !dir.is_symlink() && time(dir) < own);
    let mut found: Vec<_> = found.filter_map(|dir| Some((time(&dir)?, dir))).collect();
    found.sort();
    let other = |dir: &PathBuf| {
        let same = |other: Source| {
            other.description.appliance == source.description.appliance
                && other.description.id != source.description.id
        };
        Source::open(dir).is_ok_and(same)
    };
    found.into_iter().rev().map(|(_, dir)| dir).find(other)
}

fn download(
    offered: &Offered,
    source: &Source,
    context: &Context<'_>,
) -> Result<Download, CommandError> {
    let transfers = Transfers::new(context.ui, ["image".to_owned()]);
    let sent = offered.download(source.root(), &|event| {
        if let Event::Sending { done, total } = event {
            transfers.progress(0, "packing", done, total);
        }
    });
    transfers.close();
    let sent =
        sent.map_err(|error| format!("reading {}: {error}", source.root().path().display()))?;
    Ok(Download { lacking: offered.size(), sent, image: source.description.root.size })
}
