//! `chatimg images`.

use std::time::{Duration, SystemTime};

use indicatif::{HumanBytes, HumanDuration};
use time::OffsetDateTime;

use super::CommandError;
use super::context::Context;
use crate::image::inventory::{self, Listed};

/// List the images that were built here, the newest first
///
/// With what each takes on the disk, when it was built, the age of its lock (the newest date of the archives' indexes in it), and the
/// appliance's name. An image `of this lock` is made of the inputs that appliance.lock names now.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chatimg images
  chatimg images --json")]
pub struct Args {
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let images = inventory::list(&context.images())?;
    // A list needs no lock.
    let lock = super::lock::read(&context.lock_path()).ok().flatten();
    let inputs = lock.as_ref().map(inventory::inputs_of);
    if args.json {
        let mut value = serde_json::to_value(&images)?;
        for (image, value) in images.iter().zip(value.as_array_mut().into_iter().flatten()) {
            value["of-this-lock"] = (Some(image.inputs) == inputs).into();
        }
        context.ui.say(value.to_string());
        return Ok(());
    }
    if images.is_empty() {
        context.ui.note("there is no image; `chatimg build` makes one");
    }
    for image in &images {
        context.ui.say(line(image, Some(image.inputs) == inputs));
    }
    let sum = images.iter().map(|image| image.on_disk).sum();
    if images.len() > 1 {
        context.ui.note(format!(
            "{} images take {}; `chatimg gc` removes old ones",
            images.len(),
            HumanBytes(sum)
        ));
    }
    Ok(())
}

fn line(image: &Listed, of_this_lock: bool) -> String {
    let built = SystemTime::UNIX_EPOCH + Duration::from_secs(image.built);
    let age = built
        .elapsed()
        .map_or_else(|_| "in the future".to_owned(), |age| format!("{} ago", HumanDuration(age)));
    let date = OffsetDateTime::from_unix_timestamp(image.epoch).map(|time| time.date().to_string());
    let mut words = format!(
        "{} {}  {:>10}  built {age}  lock of {}{}  {}",
        if image.current { '*' } else { ' ' },
        image.id,
        HumanBytes(image.on_disk).to_string(),
        date.unwrap_or_default(),
        if of_this_lock { ", this lock" } else { "" },
        image.appliance,
    );
    if !image.whole {
        words.push_str("  (changed since it was built)");
    }
    words
}
