//! The whole way: from a plan and its lock to an image, one step after the other.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::appliance::Plan;
use crate::compose::{self, ApplianceError, ComposeError, DeclarationError, Declarations};
use crate::digest::{Digest, Hasher};
use crate::fetch::{self, FetchError, Http, Sources, Wanted};
use crate::image::grub::{self, MkimageFiles, Platform, mkimage_args};
use crate::image::{self, BuiltImage, GrubParts, ImageError, ImageSpec};
use crate::interrupt;
use crate::lock::{Group, Lock, unanswered};
use crate::sbom;
use crate::store::{StepError, Store, StoreError};
use crate::tools::{ToolError, Tools};
use crate::tree::{Entry, Meta, Node, PathError, Tree, TreeError};

const COMPOSING: &str = "composing the root file system";

/// There is no image.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The lock is not of this appliance.
    #[error(
        "{} does not answer what the appliance asks for; it lacks:{}\n\
         run `chatimg lock`, which resolves what is missing and leaves the rest as it is",
        path.display(), list(missing)
    )]
    Unanswered {
        /// The lock.
        path: PathBuf,
        /// What it lacks.
        missing: Vec<String>,
    },
    /// Inputs cannot be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// What scripts do is declared wrongly.
    #[error(transparent)]
    Declarations(#[from] DeclarationError),
    /// The tools closure cannot be put together.
    #[error("putting the tools together: {0}")]
    ToolsTree(#[source] ComposeError),
    /// A tool fails.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The root file system cannot be composed.
    #[error(transparent)]
    Compose(#[from] ApplianceError),
    /// GRUB's parts are not where they should be.
    #[error("making the boot loader: {0}")]
    Grub(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The image cannot be written.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The store's failure.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The user stopped it.
    #[error(transparent)]
    Interrupted(#[from] crate::interrupt::Interrupted),
}

fn list(missing: &[String]) -> String {
    missing.iter().map(|what| format!("\n  {what}")).collect()
}

/// What happens, for whoever shows it.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A step of the whole way begins.
    Step(&'static str),
    /// An image of the same id was there, but had been changed since its build; it has this name now.
    Changed(PathBuf),
    /// So many of so many packages are unpacked.
    Packages {
        /// Packages done.
        done: usize,
        /// Packages in all.
        total: usize,
    },
    /// Scripts of these packages are run.
    Scripts(Vec<String>),
    /// So much of the root slot is written.
    Root {
        /// Bytes done.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
}

/// An appliance with its lock, and where things are.
#[derive(Clone, Copy)]
pub struct Build<'a> {
    /// What is asked for.
    pub plan: &'a Plan,
    /// What it is made from.
    pub lock: &'a Lock,
    /// The lock's file, for messages.
    pub lock_path: &'a Path,
    /// Where fetched and made things are.
    pub store: &'a Store,
    /// `overlays/debian/`: what maintainer scripts do.
    pub declarations: &'a Path,
    /// `images/`.
    pub images: &'a Path,
    /// Whether scripts of packages that are neither understood nor declared are refused.
    pub strict: bool,
    /// Told what happens.
    pub events: &'a (dyn Fn(Event) + Sync),
}

/// Where inputs come from.
#[derive(Clone, Copy)]
pub struct Net<'a> {
    /// Asks.
    pub http: &'a Http,
    /// Whom to ask.
    pub sources: &'a Sources,
    /// Told about downloads.
    pub events: &'a (dyn Fn(fetch::Event<'_>) + Sync),
}

impl Build<'_> {
    /// The image: found, if nothing changed since it was made, or made now.
    ///
    /// # Errors
    /// See [`BuildError`]; `images/current` is as it was then.
    pub fn run(&self, net: &dyn Fn() -> Result<(), BuildError>) -> Result<BuiltImage, BuildError> {
        self.answered()?;
        compose::formats(self.plan, self.lock).map_err(ApplianceError::from)?;
        let declarations = Declarations::load(self.declarations)?;
        if self.strict {
            net()?;
            let understood = compose::understood(self.store, self.lock, &declarations);
            understood.map_err(ApplianceError::from)?;
        }
        let key = self.key(&declarations)?;
        if let Some(id) = self.store.stored_document(&key)?
            && let Some(found) = image::find(self.images, id.trim())?
        {
            return Ok(found);
        }
        net()?;
        let built = self.make(&declarations)?;
        if self.key(&declarations)? != key {
            return Ok(built); // An overlay was edited meanwhile: nobody knows which state went in.
        }
        let keep = self.store.document(key, || Ok::<_, StoreError>(built.id.clone()));
        if keep.map_err(StepError::into_inner)? != built.id {
            // An image of the same inputs under another id: the stored note is of no use.
            self.store.forget(&key)?;
        }
        Ok(built)
    }

    /// The id of the image that was built of all this, if one was.
    ///
    /// # Errors
    /// What it is made of cannot be read.
    pub fn known(&self) -> Result<Option<String>, BuildError> {
        let declarations = Declarations::load(self.declarations)?;
        let id = self.store.stored_document(&self.key(&declarations)?)?;
        Ok(id.map(|id| id.trim().to_owned()))
    }

    /// Fetches of `wanted` what the store lacks.
    ///
    /// # Errors
    /// An input does not come.
    pub fn fetch(&self, net: Net<'_>, wanted: &[Wanted]) -> Result<(), BuildError> {
        let Net { http, sources, events } = net;
        let sources = fetch::ask_pip(self.store, http, sources.clone(), self.lock)?;
        let cancel = crate::interrupt::flag();
        Ok(fetch::fetch_all(self.store, http, &sources, wanted, events, &cancel)?)
    }

    /// The programs of a tools closure, ready to run.
    ///
    /// # Errors
    /// It cannot be put together.
    pub fn tools(&self, group: Group) -> Result<(Tools, Tree), BuildError> {
        (self.events)(Event::Step("unpacking the tools"));
        let tree = compose::tools_tree(self.store, self.lock, group, &|event| self.package(event))
            .map_err(BuildError::ToolsTree)?;
        Ok((Tools::unpack(self.store, &tree, self.lock.epoch)?, tree))
    }

    /// The build group's programs; and while there is a processor left, the image's packages come into the store.
    fn tools_and_packages(&self, declarations: &Declarations) -> Result<(Tools, Tree), BuildError> {
        let Self { store, lock, .. } = *self;
        let enough = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let packages = scope.spawn(|| compose::ahead(store, lock, declarations, &enough));
            let tools = self.tools(Group::Build);
            enough.store(true, Ordering::Relaxed);
            packages.join().expect("it does not panic").map_err(ApplianceError::from)?;
            tools
        })
    }

    fn package(&self, event: compose::Event) {
        (self.events)(match event {
            compose::Event::Imported { done, total, .. } => Event::Packages { done, total },
            compose::Event::Running { packages } => Event::Scripts(packages),
            compose::Event::Ran => Event::Step(COMPOSING),
        });
    }

    /// The lock must be of exactly this request.
    fn answered(&self) -> Result<(), BuildError> {
        match unanswered(self.lock, &self.plan.request) {
            missing if missing.is_empty() => Ok(()),
            missing => Err(BuildError::Unanswered { path: self.lock_path.to_owned(), missing }),
        }
    }

    /// Everything that the image depends on.
    fn key(&self, declarations: &Declarations) -> Result<Digest, BuildError> {
        let mut key = Hasher::step("build");
        key.field(self.lock.to_toml());
        key.field(declarations.digest().as_bytes());
        key.field(compose::identity(self.plan).map_err(ApplianceError::from)?.as_bytes());
        Ok(key.finish())
    }

    /// The image once more, into `images`, with a store that holds nothing but the fetched inputs.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn again(&self, images: &Path) -> Result<BuiltImage, BuildError> {
        self.answered()?;
        let scratch = self.store.scratch()?;
        let clean = Store::open(scratch.path())?;
        let groups = [Group::Image, Group::Build];
        for input in fetch::wanted(self.lock, &groups) {
            self.store.lend_blob(&clean, &input.digest)?;
        }
        let build = Build { store: &clean, images, ..*self };
        build.make(&Declarations::load(self.declarations)?)
    }

    /// An image in `dir` that is this one but for the files of a folder, which take the place of its own; of a mirror without
    /// the disks that an update does not read. Tests update to it.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn variant(&self, files: &Path, dir: &Path) -> Result<BuiltImage, BuildError> {
        let built = self.image(&Declarations::load(self.declarations)?, dir, Some(files))?;
        for disk in built.disks().into_iter().skip(1) {
            std::fs::remove_file(&disk).map_err(ImageError::io("removing", &disk))?;
        }
        Ok(built)
    }

    fn make(&self, declarations: &Declarations) -> Result<BuiltImage, BuildError> {
        self.image(declarations, self.images, None)
    }

    fn image(
        &self,
        declarations: &Declarations,
        images: &Path,
        files: Option<&Path>,
    ) -> Result<BuiltImage, BuildError> {
        let Self { store, plan, lock, .. } = *self;
        let formats = compose::formats(plan, lock).map_err(ApplianceError::from)?;
        let (tools, tools_tree) = self.tools_and_packages(declarations)?;
        interrupt::check()?;
        (self.events)(Event::Step(COMPOSING));
        let events = &|event| self.package(event);
        let inputs = compose::Inputs { store, plan, lock, tools: &tools, declarations, events };
        let mut root = compose::compose(&inputs)?;
        if let Some(files) = files {
            root = compose::with_files(store, &root, files, lock.epoch)?;
        }
        interrupt::check()?;
        let grub = grub_parts(store, &tools)?;
        let beside = sbom::documents(store, &plan.name, lock, &root)?;
        let spec = ImageSpec {
            name: &plan.name,
            epoch: lock.epoch,
            slot_size: plan.target.slot_size,
            disks: plan.target.disks,
            root: &root,
            tools: &tools_tree,
            grub: &grub,
            lock,
            formats: &formats,
            ports: &plan.open_ports(),
            plan: compose::identity(plan).map_err(ApplianceError::from)?,
            beside: &beside,
        };
        let events = |event| {
            (self.events)(match event {
                image::Event::Step(step) => Event::Step(step),
                image::Event::Changed(path) => Event::Changed(path),
                image::Event::Root { done, total } => Event::Root { done, total },
            });
        };
        Ok(image::build(store, &spec, images, &events)?)
    }
}

/// Both of GRUB's images, made once for each tools closure.
fn grub_parts(store: &Store, tools: &Tools) -> Result<GrubParts, BuildError> {
    let mut key = Hasher::step("grub");
    key.field(tools.id().as_bytes());
    let made = store.tree(key.finish(), |pack| {
        let mut tree = Tree::new();
        let scratch = store.scratch()?;
        let memdisk = scratch.path().join("memdisk.tar");
        std::fs::write(&memdisk, grub::memdisk()).map_err(|error| grub_error(&memdisk, error))?;
        let boot = tools.path("usr/lib/grub/i386-pc/boot.img");
        let boot = std::fs::read(&boot).map_err(|error| grub_error(&boot, error))?;
        let mut parts = vec![("boot.img", boot)];
        for (name, platform) in [("core.img", Platform::Bios), ("efi", Platform::Uefi)] {
            let output = scratch.path().join(name);
            let modules = tools.path(&format!("usr/lib/grub/{}", platform.name()));
            let sbat = Some(tools.path("usr/share/grub/sbat.csv")).filter(|sbat| sbat.is_file());
            let text = |path: &Path| path.to_string_lossy().into_owned();
            let sbat = sbat.as_deref().map(text);
            let files = MkimageFiles {
                modules: &text(&modules),
                memdisk: &text(&memdisk),
                sbat: sbat.as_deref(),
                output: &text(&output),
            };
            let args = mkimage_args(platform, files);
            tools.run("usr/bin/grub-mkimage", args, scratch.path(), b"")?;
            let bytes = std::fs::read(&output).map_err(|error| grub_error(&output, error))?;
            parts.push((name, bytes));
        }
        for (name, bytes) in parts {
            let entry =
                Entry { meta: Meta::root(0o644, 0), node: Node::File(pack.append(&bytes)?) };
            let path = name.parse().map_err(|error: PathError| BuildError::Grub(error.into()))?;
            tree.insert(path, entry).map_err(|error: TreeError| BuildError::Grub(error.into()))?;
        }
        Ok(tree)
    });
    let tree = made.map_err(StepError::<BuildError>::into_inner)?;
    let read = |name| {
        let (file, _) = tree.file(name).map_err(|error| BuildError::Grub(error.into()))?;
        Ok::<_, BuildError>(store.read(file)?)
    };
    Ok(GrubParts { boot_img: read("boot.img")?, core_img: read("core.img")?, efi: read("efi")? })
}

fn grub_error(path: &Path, error: std::io::Error) -> BuildError {
    BuildError::Grub(format!("{}: {error}", path.display()).into())
}
