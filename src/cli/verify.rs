//! `chatimg verify`.

use std::path::{Path, PathBuf};

use super::CommandError;
use super::context::Context;
use super::key::KeyOption;
use crate::evidence::{self, Deviation, EvidenceError};
use crate::image::{self, inventory};
use crate::lock::Group;
use crate::minisign::PublicKey;

/// Differences that are shown.
const SHOWN: usize = 50;

/// Check an image's files and signature, and build it again
///
/// First every bit of its files is checked against SHA256SUMS, and these against the owner's signature, if it is signed. Then the image is
/// built once more from appliance.lock, with nothing but the fetched inputs, and compared. That needs the project it was built from, the time
/// of a first build, and as much disk space.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chatimg verify
  chatimg verify --files-only --key RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3 /media/stick/image")]
pub struct Args {
    /// Its id, or the beginning of it, or its folder [default: the newest]
    image: Option<PathBuf>,
    /// The public key to believe: itself (RW...) or its file [default: the owner's own, if the image is signed]
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Check files and signature only; nothing else than the image's folder is needed
    #[arg(long)]
    files_only: bool,
}

pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let current = context.images().join("current");
    let dir = match &args.image {
        // Even if it was changed since: what is wrong with it is to be said.
        None if current.is_dir() => current.canonicalize()?,
        image => context.image_dir(image.as_deref())?,
    };
    let _hold = inventory::hold(&dir);
    let key = args.key.as_deref().map(public_key).transpose()?;
    let verified = match evidence::verify(&dir, key.as_ref()) {
        Err(EvidenceError::NoKey(_)) => {
            let own = KeyOption::default().read().map(|key| key.public());
            evidence::verify(&dir, own.ok().as_ref())?
        }
        verified => verified?,
    };
    let id = &verified.id;
    let by = match &verified.signed_by {
        Some(key) => format!("signed with key {key}"),
        None => "not signed".to_owned(),
    };
    context.ui.say(format!("image {id}: every file is whole ({by})"));
    if args.files_only {
        return Ok(());
    }
    again(&dir, id, context)
}

fn again(dir: &Path, id: &str, context: &Context<'_>) -> Result<(), CommandError> {
    let (plan, lock) = (context.plan()?, context.lock()?);
    let foreign = evidence::foreign_inputs(dir, &image::inputs(&lock))?;
    if !foreign.is_empty() {
        return Err(format!(
            "image {id} was made from another lock than {}; take the appliance.lock that it was built with, or check its files alone \
             with --files-only. They differ by:{}",
            context.lock_path().display(),
            list(&foreign)
        )
        .into());
    }
    let other = evidence::other_builder(dir)?;
    if let Some(other) = &other {
        context.ui.warn(format!(
            "{other} built the image, and this is another one: at least the id will differ"
        ));
    }
    let scratch = inventory::again(&context.images())?;
    let built = context.build(&plan, &lock, |build| {
        context.fetch(build, &[Group::Image, Group::Build])?;
        build.again(scratch.path())
    })?;
    let differences = evidence::compare(dir, &built.dir)?;
    if differences.is_empty() {
        context
            .ui
            .say(format!("image {id}: built again from its lock, it is the same to the last bit"));
        return Ok(());
    }
    let kept = scratch.keep().join(&built.id);
    let lines: Vec<String> = differences.iter().map(Deviation::to_string).collect();
    let trees = lines.len();
    let cause = match other {
        Some(other) => format!("{other} built it; take that one (docs/archive.md)"),
        None => "What differs may be appliance.toml, an overlay or chatimg itself: were they changed since?".to_owned(),
    };
    Err(format!(
        "image {id}: built again from its lock, it differs in {trees} places:{}\nthe new build is in {}, for seven days or until you delete it. {cause}",
        list(&lines),
        kept.display()
    )
    .into())
}

fn list(lines: &[String]) -> String {
    let mut text: String = lines.iter().take(SHOWN).map(|line| format!("\n  {line}")).collect();
    if lines.len() > SHOWN {
        text += &format!("\n  and {} more", lines.len() - SHOWN);
    }
    text
}

/// `RW...`, or a file that holds it.
fn public_key(text: &str) -> Result<PublicKey, CommandError> {
    if let Ok(key) = PublicKey::parse(text) {
        return Ok(key);
    }
    let file = std::fs::read_to_string(text)
        .map_err(|error| format!("reading the public key {text}: {error}"))?;
    PublicKey::parse_file(&file)
        .map_err(|error| format!("reading the public key {text}: {error}").into())
}
