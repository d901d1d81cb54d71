//! `chatimg build`.

use super::CommandError;
use super::context::Context;
use crate::lock::Group;
use crate::pipeline::Build;

/// Build the image that the lock describes, into images/
///
/// Fetches what is missing, composes the root file system, writes the disk into images/<id>/, and points images/current at
/// that. Nothing is resolved: exactly what appliance.lock names goes in.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  chatimg build")]
pub struct Args {
    /// Refuse packages with scripts that chatimg neither understands nor finds declared in overlays/debian/, instead of
    /// running them in a sandbox
    #[arg(long)]
    strict: bool,
}

pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let plan = context.plan()?;
    let lock = context.lock()?;
    let image = context.build(&plan, &lock, |build| {
        let build = Build { strict: args.strict, ..*build };
        build.run(&|| context.fetch(&build, &[Group::Image, Group::Build]))
    })?;
    // What finds all made relies on less than what made it.
    context.keep_uses("build", !image.found);
    if plan.admin.authorized_keys.is_empty() {
        context.ui.warn(format!(
            "{}: [admin] authorized-keys is empty, so nobody can log in to the box; the image is good for \
             trying it out only",
            context.appliance.display()
        ));
    }
    let how = if image.found { "unchanged" } else { "built" };
    let disks: Vec<_> = image.disks().iter().map(|disk| disk.display().to_string()).collect();
    context.ui.say(format!("image {} ({how})  {}", image.id, disks.join("  ")));
    Ok(())
}
