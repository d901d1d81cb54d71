//! `chatimg lock`.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::CommandError;
use super::context::Context;
use crate::lock::deb::{UpdateSet, aged};
use crate::lock::{Lock, Online, resolve};
use crate::ui::Phases;
use crate::whole::{Access, Whole};

/// Pin every input to an exact version, in appliance.lock
///
/// Everything that the appliance asks for is resolved by what the archives list. What is locked already stays as it is, unless the archives no longer list it; what is new is added, what is no longer
/// asked for goes. Everything that changes is shown.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chatimg lock
  chatimg lock --update          # everything
  chatimg lock --update nginx")]
pub struct Args {
    /// Move these inputs to the newest versions that fit; all of them if none is named
    #[arg(long, value_name = "NAME", num_args = 0..)]
    update: Option<Vec<String>>,
}

pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let plan = context.plan()?;
    let path = context.lock_path();
    let previous = read(&path)?;
    let update = match &args.update {
        None => UpdateSet::None,
        Some(names) if names.is_empty() => UpdateSet::All,
        Some(names) => UpdateSet::Names(names.iter().cloned().collect::<BTreeSet<_>>()),
    };
    let (http, sources) = context.net()?;
    let phases = Mutex::new(Phases::new(context.ui));
    let shown = || phases.lock().unwrap_or_else(PoisonError::into_inner);
    shown().begin("resolving");
    let note = |address: &str| shown().detail(address);
    let config = context.config();
    let keyring = (context.trust)()?;
    let online = Online {
        keyring: &keyring,
        store: &context.store,
        http: &http,
        sources: &sources,
        config: &config,
        note: &note,
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    let now = i64::try_from(now)?;
    let lock = resolve(&online, &plan.request, previous.as_ref(), &update, now)?;
    drop(phases);
    aged(&lock, now).iter().for_each(|warning| context.ui.warn(warning));
    context.keep_uses("lock", true);
    let empty = Lock::default();
    let changes = previous.as_ref().unwrap_or(&empty).changes(&lock);
    if previous.is_some() {
        changes.iter().for_each(|change| context.ui.say(change.to_string()));
    }
    let text = lock.to_toml();
    if previous.is_some_and(|previous| previous.to_toml() == text) {
        context.ui.say(format!("{}: nothing changed", path.display()));
        return Ok(());
    }
    let failed = |error| format!("writing {}: {error}", path.display());
    Whole::beside(&path, Access::Umask).write(text.as_bytes()).map_err(failed)?;
    let (debs, wheels) = (lock.debs.len(), lock.wheels.len());
    let rest = lock.npm.len() + lock.urls.len();
    context.ui.say(format!(
        "{}: {debs} Debian packages, {wheels} wheels, {rest} other inputs; {} changed",
        path.display(),
        changes.len()
    ));
    Ok(())
}

/// The lock, if there is one.
pub fn read(path: &Path) -> Result<Option<Lock>, CommandError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(Lock::parse(&text, &path.display().to_string())?)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("reading {}: {error}", path.display()).into()),
    }
}
