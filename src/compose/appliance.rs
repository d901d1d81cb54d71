//! The whole root file system of an appliance.

use std::sync::atomic::AtomicBool;

use super::bundle::BundleError;
use super::claims::{Claims, Clash};
use super::finish::{self, Finish, FinishError};
use super::formats::{FormatError, formats};
use super::packages::{self, ComposeError, Event};
use super::secrets::{self, SecretError};
use super::system::{self, SystemError};
use super::wheels::{self, WheelError};
use super::{Declarations, bundle, inputs as extra, overlay, remove, scripts, strip::strip};
use crate::appliance::{Bundle, Overlay, Plan};
use crate::digest::{Digest, Hasher};
use crate::interrupt;
use crate::lock::{Group, Lock};
use crate::sandbox::Confinement;
use crate::store::{StepError, Store, StoreError};
use crate::tools::Tools;
use crate::tree::{Tree, TreeError};

/// An appliance cannot be composed.
#[derive(Debug, thiserror::Error)]
pub enum ApplianceError {
    /// Its packages cannot be installed.
    #[error(transparent)]
    Packages(#[from] ComposeError),
    /// A Python environment cannot be made.
    #[error(transparent)]
    Wheels(#[from] WheelError),
    /// Web files cannot be made.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Two parts of overlays have the same file.
    #[error(transparent)]
    Clash(#[from] Clash),
    /// An overlay is wrong.
    #[error(transparent)]
    System(#[from] SystemError),
    /// The format of a program's data is declared wrongly.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A finishing step failed.
    #[error("finishing the root file system: {0}")]
    Finish(#[from] FinishError),
    /// It would hold a secret.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Two parts do not fit together.
    #[error("putting the root file system together: {0}")]
    Tree(#[from] TreeError),
    /// The store's failure.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What composing needs.
pub struct Inputs<'a> {
    /// Where blobs are and results go.
    pub store: &'a Store,
    /// What is asked for.
    pub plan: &'a Plan,
    /// Every input by digest; all in the store.
    pub lock: &'a Lock,
    /// The build group's programs.
    pub tools: &'a Tools,
    /// What scripts do that cannot be read.
    pub declarations: &'a Declarations,
    /// Told what is being done.
    pub events: &'a (dyn Fn(Event) + Sync),
}

/// Composes the root file system.
///
/// # Errors
/// See [`ApplianceError`].
pub fn compose(inputs: &Inputs<'_>) -> Result<Tree, ApplianceError> {
    let Inputs { store, plan, lock, tools, .. } = *inputs;
    let context = Finish { store, tools, epoch: lock.epoch };
    // Neither needs the other, and each has moments that leave a processor free.
    let (packages, parts) = std::thread::scope(|scope| {
        let parts = scope.spawn(|| parts(inputs));
        (configured(inputs), parts.join().expect("it does not panic"))
    });
    let (packages, parts) = (packages?, parts?);
    let mut claims = Claims::new(&packages);
    let mut tree = system(inputs, &packages, &mut claims)?;
    for Part { overlay, what, name, tree: part } in &parts {
        claims.part(overlay, (what, name), part)?;
        tree.overlay(part)?;
    }
    interrupt::check().map_err(ComposeError::from)?;
    remove::remove(plan, &mut tree)?;
    let environments: Vec<_> = plan.overlays.iter().flat_map(|overlay| &overlay.python).collect();
    let before = tree.clone();
    let code = std::thread::scope(|scope| {
        let code = scope.spawn(|| finish::environments(context, &before, &environments));
        finish::plain_modules(context, &mut tree)?;
        code.join().expect("it does not panic")
    })?;
    tree.overlay(&code)?;
    finish::finish(context, &mut tree)?;
    strip(&mut tree);
    tree.clamp_times(lock.epoch);
    tree.check_links()?;
    without_secrets(inputs, &tree)?;
    Ok(tree)
}

/// What an overlay has made.
struct Part<'a> {
    overlay: &'a Overlay,
    what: &'static str,
    name: &'a str,
    tree: Tree,
}

/// Python environments, then bundles, in the order of the overlays.
fn parts<'a>(inputs: &Inputs<'a>) -> Result<Vec<Part<'a>>, ApplianceError> {
    let Inputs { store, plan, lock, tools, .. } = *inputs;
    let place = wheels::Place { store, epoch: lock.epoch };
    let context = Finish { store, tools, epoch: lock.epoch };
    let mut parts = Vec::new();
    for overlay in &plan.overlays {
        for env in &overlay.python {
            interrupt::check().map_err(ComposeError::from)?;
            let (what, name) = ("Python environment", env.name.as_str());
            let tree = wheels::install(place, env, &lock.wheels)?;
            parts.push(Part { overlay, what, name, tree });
        }
    }
    for overlay in &plan.overlays {
        for wanted in &overlay.bundles {
            interrupt::check().map_err(ComposeError::from)?;
            let (what, name) = ("bundle", wanted.name.as_str());
            let tree = bundle::make(context, plan, overlay, wanted, lock, None)?;
            parts.push(Part { overlay, what, name, tree });
        }
    }
    Ok(parts)
}

/// Refuses a tree that holds a secret; [`compose`] has done so.
///
/// # Errors
/// [`SecretError::Found`], with their places.
pub fn without_secrets(inputs: &Inputs<'_>, tree: &Tree) -> Result<(), SecretError> {
    let Inputs { store, plan, lock, declarations, .. } = *inputs;
    let debs = lock.debs_of(Group::Image);
    let published = declarations.published(debs.iter().map(|deb| deb.name.as_str()));
    secrets::refuse(store, tree, plan, &published)
}

/// The packages as dpkg would leave them, caches included, and nothing of chatimg's own: what the parity test
/// compares with a real installation.
///
/// # Errors
/// See [`ApplianceError`].
pub fn installed(inputs: &Inputs<'_>) -> Result<Tree, ApplianceError> {
    let Inputs { store, lock, tools, .. } = *inputs;
    let mut tree = configured(inputs)?;
    finish::finish(Finish { store, tools, epoch: lock.epoch }, &mut tree)?;
    Ok(tree)
}

/// All packages installed, with what their scripts do.
fn configured(inputs: &Inputs<'_>) -> Result<Tree, ComposeError> {
    let Inputs { store, lock, tools, declarations, events, .. } = *inputs;
    let context = Finish { store, tools, epoch: lock.epoch };
    let debs = lock.debs_of(Group::Image);
    let tree = packages::install(store, &debs, declarations, lock.epoch, events)?;
    scripts::run(context, tree, &debs, declarations, events)
}

/// Brings the image's packages into the store, before there are tools, until there is `enough`.
///
/// # Errors
/// A package is damaged.
pub fn ahead(
    store: &Store,
    lock: &Lock,
    declarations: &Declarations,
    enough: &AtomicBool,
) -> Result<(), ComposeError> {
    packages::ahead(store, &lock.debs_of(Group::Image), declarations, lock.epoch, enough)
}

/// Refuses an appliance whose packages have scripts that would have to be run.
///
/// # Errors
/// [`ComposeError::Scripts`], with all of them.
pub fn understood(
    store: &Store,
    lock: &Lock,
    declarations: &Declarations,
) -> Result<(), ComposeError> {
    packages::refuse_unknown(store, &lock.debs_of(Group::Image), declarations)
}

/// The files of one bundle, whatever else there is, with esbuild shut in so. `compose` takes the best that the host allows,
/// and this shows that it does not matter.
///
/// # Errors
/// See [`BundleError`].
pub fn bundled(
    inputs: &Inputs<'_>,
    (overlay, wanted): (&Overlay, &Bundle),
    confinement: Confinement,
) -> Result<Tree, BundleError> {
    let Inputs { store, plan, lock, tools, .. } = *inputs;
    let context = Finish { store, tools, epoch: lock.epoch };
    bundle::make(context, plan, overlay, wanted, lock, Some(confinement))
}

/// A digest of everything of the plan and its overlays' files that shapes the root file system, folders' names
/// on this machine left out.
///
/// # Errors
/// A file of an overlay cannot be read or rendered.
pub fn identity(plan: &Plan) -> Result<Digest, SystemError> {
    let mut key = Hasher::new();
    key.field(plan.identity());
    for overlay in &plan.overlays {
        let files = overlay::read(plan, overlay, "files")?;
        files.iter().for_each(|source| source.identify(&mut key));
        bundle::identify(plan, overlay, &mut key)?;
    }
    Ok(key.finish())
}

/// The tree of a tools closure: its packages unpacked over each other, nothing configured, what only people read left out.
///
/// # Errors
/// A package is damaged, or two of them have the same file.
pub fn tools_tree(
    store: &Store,
    lock: &Lock,
    group: Group,
    events: &(dyn Fn(Event) + Sync),
) -> Result<Tree, ComposeError> {
    packages::unpack(store, &lock.debs_of(group), lock.epoch, events)
}

/// Overlays over packages, kept under the digest of the plan and of all their files.
fn system(
    inputs: &Inputs<'_>,
    packages: &Tree,
    claims: &mut Claims<'_>,
) -> Result<Tree, ApplianceError> {
    let Inputs { store, plan, lock, .. } = *inputs;
    let sources = plan.overlays.iter().map(|overlay| overlay::read(plan, overlay, "files"));
    let sources = sources.collect::<Result<Vec<_>, _>>()?;
    let parts = plan.overlays.iter().map(|overlay| extra::all(store, overlay, lock));
    let parts = parts.collect::<Result<Vec<_>, _>>()?;
    for ((overlay, sources), parts) in plan.overlays.iter().zip(&sources).zip(&parts) {
        for (input, tree) in parts {
            claims.part(overlay, ("input", &input.name), tree)?;
        }
        claims.files(overlay, sources.iter().map(overlay::Source::path))?;
    }
    let mut key = Hasher::step("system");
    key.field(lock.epoch.to_le_bytes());
    key.field(packages.id().as_bytes()).field(plan.identity());
    sources.iter().flatten().for_each(|source| source.identify(&mut key));
    for (_, tree) in parts.iter().flatten() {
        key.field(tree.id().as_bytes());
    }
    let files = store.tree(key.finish(), |pack| {
        system::files(store, pack, packages, plan, lock.epoch, &parts, sources)
    });
    let files = files.map_err(StepError::into_inner)?;
    let formats = formats(plan, lock)?;
    let mut key = Hasher::step("settle");
    key.field(lock.epoch.to_le_bytes()).field(format!("{formats:?}"));
    key.field(files.id().as_bytes()).field(plan.identity());
    let about = system::About { plan, epoch: lock.epoch, formats: &formats };
    let settled = store.tree(key.finish(), |pack| system::settle(store, pack, &files, about));
    Ok(settled.map_err(StepError::into_inner)?)
}
