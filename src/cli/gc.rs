//! `chatimg gc`.

use std::path::PathBuf;

use indicatif::HumanBytes;

use super::CommandError;
use super::context::Context;
use crate::care::{self, Freed, Rules};
use crate::store::{Amount, Kind};

/// How many paths a line names.
const NAMED: usize = 3;

/// Free what neither locks nor images need
///
/// In images/: all but the newest image and --keep others, and what tests left more than a day ago. In the store: what no project folder
/// that used it needs for its lock, its images or its last build. Builds may go on meanwhile. Nothing is lost that the next build
/// would not fetch or make again. docs/store.md has the rules.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chatimg gc --dry-run
  chatimg gc --keep 0")]
pub struct Args {
    /// So many images stay besides the newest
    #[arg(long, value_name = "NUMBER", default_value_t = 2)]
    keep: usize,
    /// Also free what only project folders need that are gone now; else that waits 14 days, as their
    /// disk may be away
    #[arg(long)]
    forget_missing: bool,
    /// Only say what would be freed
    #[arg(long, short = 'n')]
    dry_run: bool,
}

pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let rules = Rules {
        project: context.appliance.exists().then(|| context.appliance.clone()),
        keep: args.keep,
        forget_missing: args.forget_missing,
        dry_run: args.dry_run,
    };
    let freed = care::free(&context.store, &rules)?;
    lines(&freed, args.dry_run).iter().for_each(|line| context.ui.say(line));
    if let Some(paths) = some(&freed.store.missing) {
        context.ui.note(format!(
            "not there: {paths}; what only that needs is kept for 14 days, or until `chatimg gc --forget-missing`"
        ));
    }
    if let Some(paths) = some(&freed.store.forgotten) {
        context.ui.note(format!("not there, and counts no more: {paths}"));
    }
    for spared in &freed.spared {
        context.ui.note(format!("{} stays: {}", spared.path.display(), spared.why));
    }
    Ok(())
}

/// The first few of many, `None` of none: tests leave dozens.
fn some(paths: &[PathBuf]) -> Option<String> {
    let named = paths.iter().take(NAMED).map(|path| path.display().to_string());
    let named = named.collect::<Vec<_>>().join(", ");
    match paths.len() {
        0 => None,
        count if count > NAMED => Some(format!("{named} and {} more", count - NAMED)),
        _ => Some(named),
    }
}

/// What to print.
fn lines(freed: &Freed, dry_run: bool) -> Vec<String> {
    let does = if dry_run { "would free" } else { "freed" };
    let mut lines: Vec<_> = freed
        .images
        .iter()
        .map(|image| format!("{does} {}: {}", image.path.display(), HumanBytes(image.on_disk)))
        .collect();
    let store = &freed.store;
    let all = store.freed();
    let mut parts = Vec::new();
    let mut part = |amount: Option<&Amount>, what: &str| {
        if let Some(Amount { count, bytes }) = amount.filter(|amount| amount.count > 0) {
            parts.push(format!("{count} {what} ({})", HumanBytes(*bytes)));
        }
    };
    part(store.freed.get(&Kind::Blob), "fetched inputs");
    part(store.freed.get(&Kind::Result), "results");
    part(store.freed.get(&Kind::Folder), "folders of tools");
    part(Some(&store.rubbish), "leavings");
    let what = if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") };
    lines.push(format!("{does} of the store: {what}"));
    let images: u64 = freed.images.iter().map(|image| image.on_disk).sum();
    lines.push(format!(
        "{does} {} in all; the store had {}, and {} {}",
        HumanBytes(all.bytes + images),
        HumanBytes(store.before.bytes),
        if dry_run { "would have" } else { "has" },
        HumanBytes(store.before.bytes - all.bytes),
    ));
    lines
}
