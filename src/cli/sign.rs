//! `chatimg sign`.

use std::path::PathBuf;

use super::CommandError;
use super::context::Context;
use super::key::KeyOption;
use crate::evidence;
use crate::image::inventory;

/// Sign an image, so that others can verify where it is from
///
/// Reads all of it first: what is damaged is not signed. Writes beside it SHA256SUMS of all its files and SHA256SUMS.minisig, which
/// sha256sum and minisign check without chatimg; provenance.dsse.json, a signed statement of what the image was made from; and
/// update.json, which boxes are told (`chatimg key sign` makes the root.img that goes with it).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chatimg sign
  chatimg sign 7d0e1ea6e87c3b5d --key /media/stick/owner.key")]
pub struct Args {
    /// Its id, or the beginning of it, or its folder [default: the newest]
    image: Option<PathBuf>,
    #[command(flatten)]
    key: KeyOption,
}

pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let dir = context.image_dir(args.image.as_deref())?;
    let _hold = inventory::hold(&dir);
    let key = args.key.read()?;
    let signed = evidence::sign(&dir, &key)?;
    let (id, key) = (&signed.id, key.public());
    context.ui.say(format!("signed image {id} with key {}: {}", key.number(), dir.display()));
    for file in signed.files {
        context.ui.say(format!("  {file}"));
    }
    context.ui.note(format!("anybody verifies it with `chatimg verify --key {key}`"));
    Ok(())
}
