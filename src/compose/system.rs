//! From installed packages to the appliance's system: overlays' files, users, units, and what the box reads
//! at boot (`docs/architecture.md`, "What compose leaves in the tree").

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::accounts;
use super::formats::Formats;
use super::inputs;
use super::overlay;
use super::packages::ComposeError;
use super::root::Root;
use super::units;
use super::users::Accounts;
use crate::appliance::{Check, Input, Plan};
use crate::debian::scripts::Action;
use crate::store::{PackWriter, Store, StoreError};
use crate::tree::{Entry, Meta, Node, PathError, Tree, TreeError, TreePath};

/// Where compose leaves what the box reads.
const BOX: &str = "usr/lib/chatimg";

/// An overlay cannot be put into the tree.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// A source file cannot be read.
    #[error("reading {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A source file cannot be used.
    #[error("{}: {why}", path.display())]
    Source {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A template is wrong.
    #[error(transparent)]
    Template(#[from] crate::diagnostic::Diagnostic),
    /// An npm package or a file by its address cannot be put into the tree.
    #[error("input {name}: {why}")]
    Input {
        /// Its name.
        name: String,
        /// Why not.
        why: String,
    },
    /// Something names a user or group that there is not.
    #[error("there is no {what} '{name}'; declare it in [[users]] of an overlay")]
    Unknown {
        /// `user` or `group`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// A user of an overlay, or the administrator, is called as one that a package brings.
    #[error(
        "a package brings the {what} '{name}'; give the overlay's user, or admin.name, another name"
    )]
    Taken {
        /// `user` or `group`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// A unit cannot be enabled.
    #[error("overlay {overlay}: enabling {unit}: {source}")]
    Enable {
        /// Whose.
        overlay: String,
        /// Which.
        unit: String,
        /// Why not.
        source: Box<ComposeError>,
    },
    /// It does not fit into the tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A path cannot be in a tree.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The store's failure.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SystemError {
    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }

    pub(super) fn source(path: &Path, why: &str) -> Self {
        Self::Source { path: path.to_owned(), why: why.to_owned() }
    }
}

/// The tree under construction.
pub(super) struct SystemRoot<'a> {
    pub(super) tree: Tree,
    pub(super) store: &'a Store,
    pub(super) pack: &'a mut PackWriter,
    pub(super) epoch: i64,
    ids: accounts::Ids,
}

/// The overlays' files, read and rendered: all of the host's that goes into the result.
pub(super) type Sources = Vec<Vec<overlay::Source>>;

/// Adds accounts and the overlays' files to the tree of installed packages.
pub(super) fn files(
    store: &Store,
    pack: &mut PackWriter,
    packages: &Tree,
    plan: &Plan,
    epoch: i64,
    parts: &[Vec<(&Input, Tree)>],
    sources: Sources,
) -> Result<Tree, SystemError> {
    let mut tree = packages.clone();
    let ids = accounts::add(store, pack, &mut tree, plan, epoch)?;
    let mut root = SystemRoot { tree, store, pack, epoch, ids };
    for ((overlay, sources), parts) in plan.overlays.iter().zip(sources).zip(parts) {
        inputs::put(&mut root, parts)?;
        overlay::put(&mut root, overlay, sources)?;
    }
    Ok(root.tree)
}

/// What the box is told of its image.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) plan: &'a Plan,
    pub(super) epoch: i64,
    pub(super) formats: &'a Formats,
}

/// Adds what the box reads, and enables units. `files`: what [`files`] made; the units' own text is read from
/// it, so it must be in the store already.
pub(super) fn settle(
    store: &Store,
    pack: &mut PackWriter,
    files: &Tree,
    about: About<'_>,
) -> Result<Tree, SystemError> {
    let About { plan, epoch, .. } = about;
    let ids = accounts::ids(store, files)?;
    let mut root = SystemRoot { tree: files.clone(), store, pack, epoch, ids };
    units(&mut root, plan)?;
    authorized_keys(&mut root, plan)?;
    local_time(&mut root)?;
    state(&mut root, plan)?;
    rollback(&mut root, plan)?;
    secrets(&mut root, plan)?;
    ports(&mut root, plan)?;
    health(&mut root, plan)?;
    image(&mut root, about)?;
    Ok(root.tree)
}

impl<'a> SystemRoot<'a> {
    /// A tree in which everything is root's.
    pub(super) fn of(tree: Tree, store: &'a Store, pack: &'a mut PackWriter, epoch: i64) -> Self {
        let ids = accounts::Ids::default();
        Self { tree, store, pack, epoch, ids }
    }

    pub(super) fn meta(&self, mode: u16) -> Meta {
        Meta::root(mode, self.epoch)
    }

    /// Numeric owner and group.
    pub(super) fn owner(&self, user: &str, group: &str) -> Result<(u32, u32), SystemError> {
        let unknown = |what, name: &str| SystemError::Unknown { what, name: name.to_owned() };
        let uid = self.ids.users.get(user).ok_or_else(|| unknown("user", user))?;
        let gid = self.ids.groups.get(group).ok_or_else(|| unknown("group", group))?;
        Ok((*uid, *gid))
    }

    /// Makes or replaces an entry; links in the middle of the path are followed, missing parents made.
    pub(super) fn put(&mut self, path: &str, meta: Meta, node: Node) -> Result<(), SystemError> {
        let path = real(&self.tree, path)?;
        if let Some(parent) = path.parent() {
            self.tree.make_dirs(&parent.parse()?, self.epoch)?;
        }
        self.tree.remove_if_link(path.as_str());
        Ok(self.tree.replace(path, Entry { meta, node })?)
    }

    fn file(&mut self, path: &str, mode: u16, contents: &str) -> Result<(), SystemError> {
        let node = Node::File(self.pack.append(contents.as_bytes())?);
        self.put(path, self.meta(mode), node)
    }
}

/// Where what is put at `path` comes to lie: links in the middle of it are followed.
pub(super) fn real(tree: &Tree, path: &str) -> Result<TreePath, PathError> {
    let path: TreePath = path.parse()?;
    match path.parent().and_then(|parent| tree.resolve(parent)) {
        Some(parent) => parent.join(path.name()),
        None => Ok(path),
    }
}

/// Enables and masks units as systemctl does.
fn units(root: &mut SystemRoot<'_>, plan: &Plan) -> Result<(), SystemError> {
    for overlay in &plan.overlays {
        for unit in &overlay.mask {
            let to = Node::Symlink("/dev/null".to_owned());
            root.put(&format!("etc/systemd/system/{unit}"), root.meta(0o777), to)?;
        }
        for unit in &overlay.enable {
            let tree = std::mem::take(&mut root.tree);
            let accounts = Accounts::default();
            let (store, epoch) = (root.store, root.epoch);
            let mut inner = Root { tree, store, pack: &mut *root.pack, epoch, accounts };
            let action = Action::SystemctlEnable(unit.clone());
            let result = units::apply(&mut inner, &action);
            root.tree = inner.tree;
            result.map_err(|source| SystemError::Enable {
                overlay: overlay.name.clone(),
                unit: unit.clone(),
                source: Box::new(source),
            })?;
        }
    }
    Ok(())
}

/// `/etc/ssh/authorized_keys/ADMIN`: read as root, so that no home directory is needed to log in.
fn authorized_keys(root: &mut SystemRoot<'_>, plan: &Plan) -> Result<(), SystemError> {
    let keys: String = plan.admin.authorized_keys.iter().map(|key| format!("{key}\n")).collect();
    root.file(&format!("etc/ssh/authorized_keys/{}", plan.admin.name), 0o644, &keys)
}

/// `/etc/localtime` leads to what the host settings choose (`chatimg_host/apply.py`). By way of the time zone
/// database, for programs take the zone's name from the link; where the last link leads nowhere yet, it is UTC.
fn local_time(root: &mut SystemRoot<'_>) -> Result<(), SystemError> {
    let zone = "usr/share/zoneinfo/localtime";
    let links =
        [("etc/localtime", format!("/{zone}")), (zone, "/run/chatimg/localtime".to_owned())];
    for (path, to) in links {
        root.put(path, root.meta(0o777), Node::Symlink(to))?;
    }
    Ok(())
}

/// `MODE UID GID PATH` of all state, parents first; and a place to mount each on.
fn state(root: &mut SystemRoot<'_>, plan: &Plan) -> Result<(), SystemError> {
    let mut lines = BTreeMap::new();
    for state in plan.overlays.iter().flat_map(|overlay| &overlay.state) {
        let (uid, gid) = root.owner(&state.owner, &state.group)?;
        let path = state.path.trim_matches('/');
        lines.insert(path, format!("{:04o} {uid} {gid} /{path}\n", state.mode));
        if root.tree.get(path).is_none() {
            let meta = Meta { uid, gid, ..root.meta(state.mode) };
            root.put(path, meta, Node::Dir)?;
        }
    }
    if root.tree.get("state").is_none() {
        root.put("state", root.meta(0o755), Node::Dir)?;
    }
    let text: String = lines.into_values().collect();
    root.file(&format!("{BOX}/state"), 0o644, &text)
}

/// `state PATH` of what goes back with its image, and `unit NAME` of the services that write there.
fn rollback(root: &mut SystemRoot<'_>, plan: &Plan) -> Result<(), SystemError> {
    let mut paths: Vec<&str> = Vec::new();
    let mut units = BTreeSet::new();
    for overlay in &plan.overlays {
        let back: Vec<_> = overlay.state.iter().filter(|state| state.rollback).collect();
        if !back.is_empty() {
            units.extend(&overlay.enable);
        }
        paths.extend(back.iter().map(|state| state.path.as_str()));
    }
    // What lies in another one goes with it.
    let within = |path: &&str| {
        let mut parents = Path::new(path).ancestors().skip(1);
        parents.any(|parent| paths.iter().any(|path| parent == Path::new(path)))
    };
    let outermost: BTreeSet<_> = paths.iter().filter(|path| !within(path)).collect();
    let mut text: String = outermost.iter().map(|path| format!("state {path}\n")).collect();
    text.extend(units.iter().map(|unit| format!("unit {unit}\n")));
    root.file(&format!("{BOX}/rollback"), 0o644, &text)
}

/// `PROTOCOL NUMBER OVERLAY PURPOSE`, or `FIRST-LAST` for the number, of the ports that the firewall lets others in to.
fn ports(root: &mut SystemRoot<'_>, plan: &Plan) -> Result<(), SystemError> {
    let mut lines = BTreeSet::new();
    for overlay in &plan.overlays {
        for port in overlay.ports.iter().filter(|port| port.open) {
            let (protocol, range, purpose) = (port.protocol.name(), port.range(), &port.purpose);
            lines.insert(format!("{protocol} {range} {} {purpose}\n", overlay.name));
        }
    }
    root.file(&format!("{BOX}/ports"), 0o644, &lines.into_iter().collect::<String>())
}

/// `MODE UID GID PATH<TAB>COMMAND` of all secrets, in the order of the overlays.
fn secrets(root: &mut SystemRoot<'_>, plan: &Plan) -> Result<(), SystemError> {
    let mut text = String::new();
    for secret in plan.overlays.iter().flat_map(|overlay| &overlay.secrets) {
        let (uid, gid) = root.owner(&secret.owner, &secret.group)?;
        let (mode, path, command) = (secret.mode, &secret.path, &secret.generate);
        text.push_str(&format!("{mode:04o} {uid} {gid} {path}\t{command}\n"));
    }
    root.file(&format!("{BOX}/secrets"), 0o644, &text)
}

/// `OVERLAY/NAME TIMEOUT KIND<TAB>ARGUMENT` of all health checks.
fn health(root: &mut SystemRoot<'_>, plan: &Plan) -> Result<(), SystemError> {
    let mut text = String::new();
    for overlay in &plan.overlays {
        for health in &overlay.health {
            let (kind, argument) = match &health.check {
                Check::Unit(argument) => ("unit", argument),
                Check::Tcp(argument) => ("tcp", argument),
                Check::Http(argument) => ("http", argument),
                Check::Command(argument) => ("command", argument),
            };
            let (overlay, name, timeout) = (&overlay.name, &health.name, health.timeout);
            text.push_str(&format!("{overlay}/{name} {timeout} {kind}\t{argument}\n"));
        }
    }
    root.file(&format!("{BOX}/health"), 0o644, &text)
}

/// `image.json`: the image's description (`deliver::update`) without what only the finished image has, and more.
fn image(root: &mut SystemRoot<'_>, about: About<'_>) -> Result<(), SystemError> {
    let About { plan, epoch, formats } = about;
    let overlays: Vec<_> = plan.overlays.iter().map(|overlay| &overlay.name).collect();
    let image = serde_json::json!({
        "name": plan.name,
        "appliance": plan.name,
        "domain": plan.domain,
        "admin": plan.admin.name,
        "overlays": overlays,
        "raid": plan.target.disks.raid(),
        "epoch": epoch,
        "formats": formats,
        "ports": plan.open_ports(),
    });
    root.file(&format!("{BOX}/image.json"), 0o644, &format!("{image:#}\n"))
}
