//! `chatimg store`.

use std::sync::Mutex;

use indicatif::HumanBytes;

use super::context::Context;
use super::{CommandError, Exit};
use crate::store::{Kind, Verified};
use crate::ui::Phases;

/// Look after the store: what was fetched, and what was made of it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chatimg store verify
  chatimg store verify --quiet || mail -s 'chatimg store' root < /dev/null")]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Compare all of it with its digests. What is damaged is named, and moved to the store's folder corrupt/: the
    /// next command that needs it fetches or makes it anew. Exits with 1 then
    Verify {
        /// Say nothing unless something is damaged
        #[arg(long, short)]
        quiet: bool,
    },
}

pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let Verb::Verify { quiet } = args.verb;
    let phases = Mutex::new(Phases::new(context.ui));
    let shown = || phases.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !quiet {
        shown().begin("reading the store");
    }
    let verified = context.store.verify(&|done, total| {
        if !quiet {
            shown().progress(done as u64, total as u64);
        }
    })?;
    drop(phases);
    for damage in &verified.damaged {
        context.ui.say(format!(
            "damaged: {}/{}: {}; moved to {}",
            damage.item.kind.name(),
            damage.item.digest,
            damage.why,
            damage.aside.display()
        ));
    }
    if !quiet {
        context.ui.say(summary(&verified));
    }
    match verified.damaged.is_empty() {
        true => Ok(()),
        false => Err(Box::new(Exit(1))),
    }
}

fn summary(verified: &Verified) -> String {
    let count = |kind| verified.looked_at.get(&kind).copied().unwrap_or_default();
    let unknown = match verified.unknown {
        0 => String::new(),
        number => format!("; of {number} folders an older chatimg recorded nothing"),
    };
    let end = match verified.damaged.len() {
        0 => "all are sound".to_owned(),
        number => format!("{number} damaged, which the next build fetches or makes anew"),
    };
    format!(
        "{} fetched inputs, {} results, {} folders of tools, {} read: {end}{unknown}",
        count(Kind::Blob),
        count(Kind::Result),
        count(Kind::Folder),
        HumanBytes(verified.bytes),
    )
}
