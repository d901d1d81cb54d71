//! `chatimg diff`.

use std::path::{Path, PathBuf};

use super::CommandError;
use super::context::Context;
use crate::compare::{self, Difference};
use crate::image;

/// Say what differs between two images
///
/// Packages, configuration with its text, units, users, open ports, files and size. An image is named by its folder, by its id or
/// the first digits of that, or as `current`. What an update to a box would change, and whether it could go back: `chatimg plan`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chatimg diff 3150 current
  chatimg diff 3150 current --html diff.html")]
pub struct Args {
    /// The old image: its id, or the beginning of it, or its folder
    from: String,
    /// The new one
    to: String,
    /// All of it, as JSON
    #[arg(long, conflicts_with = "html")]
    json: bool,
    /// Write all of it to this file, a page for a browser
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let images = context.images();
    let [from, to] = [&args.from, &args.to].map(|name| image::named(&images, Path::new(name)));
    let difference = Difference::between(&from?, &to?)?;
    if args.json {
        context.ui.say(serde_json::to_string(&difference)?);
        return Ok(());
    }
    if let Some(file) = &args.html {
        let page = compare::page(&difference)?;
        return std::fs::write(file, page)
            .map_err(|error| format!("writing {}: {error}", file.display()).into());
    }
    compare::lines(&difference).iter().for_each(|line| context.ui.say(line));
    Ok(())
}
