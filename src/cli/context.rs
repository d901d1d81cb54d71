//! What every command needs to know: which appliance, which store, which settings.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::{CommandError, Trust};
use crate::appliance::{self, Plan};
use crate::fetch::{Event as FetchEvent, Http, Settings, Sources, Wanted};
use crate::image::{self, inventory};
use crate::lock::{Group, Lock};
use crate::pipeline::{Build, BuildError, Event, Net};
use crate::store::Store;
use crate::tools::Tools;
use crate::ui::{Downloads, Phases, Ui};
use crate::whole::parent;

/// Options of every command.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The appliance's configuration; overlays/, images/ and the lock lie beside it
    #[arg(long, global = true, value_name = "FILE", default_value = "appliance.toml")]
    appliance: PathBuf,
    /// Where fetched and made things are kept [default: ~/.cache/chatimg]
    #[arg(long, global = true, value_name = "DIR", env = "CHATIMG_STORE")]
    store: Option<PathBuf>,
}

/// The options, settled.
#[derive(Debug)]
pub struct Context<'a> {
    /// `appliance.toml`.
    pub appliance: PathBuf,
    /// The open store.
    pub store: Store,
    /// Where to print.
    pub ui: &'a Ui,
    /// Who may sign Debian's indexes.
    pub trust: Trust,
}

/// What a virtual machine is started of.
pub(super) struct Machine {
    /// The newest image.
    pub(super) image: image::BuiltImage,
    /// QEMU, and what goes with it.
    pub(super) tools: Tools,
    /// Whether the image is what the appliance and its lock give now.
    pub(super) is_of_now: bool,
    /// `chatimg gc` leaves the image alone for as long.
    pub(super) hold: inventory::Hold,
}

/// Keeps a second `chatimg COMMAND` off the same folder for as long as the file `name` in it is held. `advice`: what
/// to do with the other one.
pub(super) fn only_one(
    work: &Path,
    name: &str,
    command: &str,
    advice: &str,
) -> Result<File, CommandError> {
    let open = || {
        fs::create_dir_all(work)?;
        File::create(work.join(name))
    };
    let file = open().map_err(|error| format!("opening {}: {error}", work.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => {
            let dir = work.display();
            Err(format!("another `chatimg {command}` works in {dir}; {advice}").into())
        }
    }
}

impl<'a> Context<'a> {
    /// Opens the store and starts to listen for Ctrl-C.
    pub fn new(options: Options, ui: &'a Ui, trust: Trust) -> Result<Self, CommandError> {
        crate::interrupt::listen()?;
        let store = match options.store {
            Some(dir) => dir,
            None => user_dir("XDG_CACHE_HOME", ".cache").ok_or(
                "finding the store: neither HOME nor XDG_CACHE_HOME is set; set CHATIMG_STORE",
            )?,
        };
        Ok(Self { appliance: options.appliance, store: Store::open(&store)?, ui, trust })
    }

    /// The folder of `appliance.toml`.
    pub fn project(&self) -> &Path {
        parent(&self.appliance)
    }

    /// Keeps what this process used of the store for as long as the project is there; see [`Store::keep_uses`].
    pub(super) fn keep_uses(&self, command: &str, anew: bool) {
        if let Err(error) = self.store.keep_uses(&self.appliance, command, anew) {
            // What was asked for is done; all that is lost is time, after the next `chatimg gc`.
            self.ui.warn(format!("noting what this project needs of the store: {error}"));
        }
    }

    /// The newest image and QEMU, for the command `verb`.
    pub(super) fn machine(
        &self,
        plan: &Plan,
        lock: &Lock,
        verb: &str,
    ) -> Result<Machine, CommandError> {
        let image = image::current(&self.images())?
            .ok_or_else(|| format!("there is no image to {verb}; run `chatimg build` first"))?;
        let hold = inventory::hold(&image.dir);
        let (tools, known) = self.build(plan, lock, |build| {
            self.fetch(build, &[Group::Vm])?;
            Ok::<_, BuildError>((build.tools(Group::Vm)?.0, build.known()?))
        })?;
        self.keep_uses("machine", true);
        let is_of_now = known.as_ref() == Some(&image.id);
        Ok(Machine { image, tools, is_of_now, hold })
    }

    /// What the user asks for.
    pub fn plan(&self) -> Result<Plan, CommandError> {
        Ok(appliance::load(&self.appliance)?)
    }

    /// Where the lock is or will be.
    pub fn lock_path(&self) -> PathBuf {
        self.appliance.with_extension("lock")
    }

    /// The lock; there must be one.
    pub fn lock(&self) -> Result<Lock, CommandError> {
        let path = self.lock_path();
        let missing = || format!("{} is missing; run `chatimg lock` to make it", path.display());
        super::lock::read(&path)?.ok_or_else(|| missing().into())
    }

    /// `images/`.
    pub fn images(&self) -> PathBuf {
        self.project().join("images")
    }

    /// The folder of the image that is meant ([`image::named`]); else the newest. What is the newest now, is meant by `current`.
    pub fn image_dir(&self, name: Option<&Path>) -> Result<PathBuf, CommandError> {
        let images = self.images();
        Ok(match name {
            Some(name) => {
                let dir = image::named(&images, name)?;
                match fs::read_link(&dir) {
                    Ok(target) => parent(&dir).join(target),
                    Err(_) => dir,
                }
            }
            None => {
                image::current(&images)?.ok_or("there is no image; run `chatimg build` first")?.dir
            }
        })
    }

    /// The user's own settings file; it may be missing.
    pub fn config(&self) -> PathBuf {
        let dir = user_dir("XDG_CONFIG_HOME", ".config");
        dir.unwrap_or_else(|| PathBuf::from("/etc/chatimg")).join("config.toml")
    }

    /// Who can be asked for inputs, and how.
    pub fn net(&self) -> Result<(Http, Sources), BuildError> {
        let env = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let settings = Settings { config: self.config(), env, root: PathBuf::from("/") };
        let sources = Sources::discover(&settings).map_err(crate::fetch::FetchError::from)?;
        Ok((Http::new().stopped_by(crate::interrupt::flag()), sources))
    }

    /// Runs `work` on the appliance, showing its steps.
    pub fn build<T>(
        &self,
        plan: &Plan,
        lock: &Lock,
        work: impl FnOnce(&Build<'_>) -> Result<T, BuildError>,
    ) -> Result<T, BuildError> {
        let phases = Mutex::new(Phases::new(self.ui));
        let events = |event| {
            let mut phases = phases.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            match event {
                Event::Step(step) => phases.begin(step),
                Event::Changed(path) => self.ui.warn(format!(
                    "the image was changed since its build; what it was is in {} now, which you may delete",
                    path.display()
                )),
                Event::Scripts(packages) => {
                    let (count, names) = (packages.len(), packages.join(", "));
                    let packages = if count == 1 { "package" } else { "packages" };
                    phases.begin(&format!("running scripts of {count} {packages}: {names}"));
                }
                Event::Packages { done, total } => phases.progress(done as u64, total as u64),
                Event::Root { done, total } => phases.progress(done, total),
            }
        };
        let (lock_path, images) = (self.lock_path(), self.images());
        let declarations = self.project().join("overlays/debian");
        work(&Build {
            plan,
            lock,
            lock_path: &lock_path,
            store: &self.store,
            declarations: &declarations,
            images: &images,
            strict: false,
            events: &events,
        })
    }

    /// Fetches what `groups` need, showing progress.
    pub fn fetch(&self, build: &Build<'_>, groups: &[Group]) -> Result<(), BuildError> {
        self.fetch_these(build, &crate::fetch::wanted(build.lock, groups))
    }

    /// Fetches of these inputs what the store lacks, showing progress.
    pub(super) fn fetch_these(
        &self,
        build: &Build<'_>,
        wanted: &[Wanted],
    ) -> Result<(), BuildError> {
        let (http, sources) = self.net()?;
        let missing = wanted.iter().filter(|input| !self.store.has_blob(&input.digest));
        let downloads = Downloads::new(self.ui, missing.map(|input| input.size).sum());
        let events = |event: FetchEvent<'_>| match event {
            FetchEvent::Started { .. } => {}
            FetchEvent::Progress { name, bytes } => downloads.progress(name, bytes),
            FetchEvent::Retrying { name, address, answer } => {
                self.ui.note(format!("{name}: {address}: {answer}; trying on"));
            }
            FetchEvent::Finished { name } => downloads.finished(name),
        };
        let result = build.fetch(Net { http: &http, sources: &sources, events: &events }, wanted);
        downloads.close();
        result
    }
}

/// `chatimg` below a folder of the user: the one the variable names, or the usual one in the home.
pub fn user_dir(variable: &str, usual: &str) -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set(variable).or_else(|| Some(set("HOME")?.join(usual))).map(|dir| dir.join("chatimg"))
}
