//! The checked result of reading an appliance: nothing in it can be wrong any more, but for what only
//! the archives know (whether a package exists).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::digest::Digest;
use crate::lock::Request;

/// An appliance, ready to be locked and composed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Names the appliance; the disk's GUIDs come from a hash of it.
    pub name: String,
    /// The server's name, the part after the colon of every user: `chat.example`.
    pub domain: String,
    /// The hardware it is for.
    pub target: Target,
    /// Who administers it.
    pub admin: AdminUser,
    /// Overlays, each after those it requires; ties in name order.
    pub overlays: Vec<Overlay>,
    /// Strings that the image may not hold.
    pub canaries: Vec<String>,
    /// Everything to be fetched: all overlays' packages and inputs, the extra packages, the tools.
    pub request: Request,
}

/// The hardware.
#[derive(Clone, Debug)]
pub struct Target {
    /// CPU cores.
    pub cores: u32,
    /// Bytes.
    pub memory: u64,
    /// Features beyond x86-64-v2, as /proc/cpuinfo names them (`avx`, `avx2`).
    pub cpu_features: BTreeSet<String>,
    /// Firmwares it must boot on.
    pub firmware: BTreeSet<Firmware>,
    /// Its disks.
    pub disks: Disks,
    /// Size of one root slot, bytes.
    pub slot_size: u64,
    /// Size of the swap file on the data partition, bytes; 0 for none.
    pub swap_size: u64,
}

/// How many disks, and how they are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disks {
    /// One.
    Single,
    /// Two that hold the same (RAID1); either may die.
    Mirror,
}

impl Disks {
    /// Their number.
    pub fn count(self) -> u32 {
        match self {
            Self::Single => 1,
            Self::Mirror => 2,
        }
    }

    /// What the user writes for `raid`.
    pub fn raid(self) -> &'static str {
        match self {
            Self::Single => "none",
            Self::Mirror => "mirror",
        }
    }
}

/// A PC's firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Firmware {
    /// Legacy BIOS.
    Bios,
    /// UEFI.
    Uefi,
}

impl Firmware {
    /// As the user writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bios => "bios",
            Self::Uefi => "uefi",
        }
    }
}

/// The administrator: keys only, sudo without a password.
#[derive(Clone, Debug)]
pub struct AdminUser {
    /// Login name.
    pub name: String,
    /// OpenSSH public keys, one a string. May be empty (then `build` warns).
    pub authorized_keys: Vec<String>,
}

/// An option's value.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(untagged)]
pub enum Value {
    /// `true`, `false`.
    Bool(bool),
    /// A whole number; sizes ("2 GiB") and durations ("90 d") too, in bytes and seconds.
    Int(i64),
    /// Text.
    String(String),
    /// A list of texts.
    List(Vec<String>),
}

/// One overlay with its options settled. Text fields have had their templates rendered.
#[derive(Clone, Debug)]
pub struct Overlay {
    /// The folder's name.
    pub name: String,
    /// The folder.
    pub dir: PathBuf,
    /// Overlays it needs.
    pub requires: Vec<String>,
    /// Debian packages.
    pub packages: BTreeSet<String>,
    /// Python environments.
    pub python: Vec<PythonEnv>,
    /// npm packages and files by their address.
    pub inputs: Vec<Input>,
    /// Web files made of npm packages.
    pub bundles: Vec<Bundle>,
    /// System users, made at build time.
    pub users: Vec<User>,
    /// systemd units to enable.
    pub enable: Vec<String>,
    /// systemd units to mask.
    pub mask: Vec<String>,
    /// Absolute paths of what packages bring and the box does not need; `*` stands for anything.
    pub remove_files: Vec<String>,
    /// Secrets that are none, as everybody has them.
    pub published: Vec<Published>,
    /// Ports it listens on.
    pub ports: Vec<Port>,
    /// Directories (or files) that live on the data partition.
    pub state: Vec<StateDir>,
    /// Made on first boot.
    pub secrets: Vec<Secret>,
    /// Owner and mode of files that differ from root's 0644 (0755 if executable here).
    pub files: Vec<FileRule>,
    /// CPU features it cannot do without.
    pub cpu_features: BTreeSet<String>,
    /// Settled options.
    pub options: BTreeMap<String, Value>,
    /// How to tell that it works.
    pub health: Vec<HealthCheck>,
    /// Programs whose data have a format.
    pub formats: Vec<Format>,
}

/// An input that is put into the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Which of the lock's lists it is in.
    pub kind: InputKind,
    /// Its name there.
    pub name: String,
    /// Absolute path on the box: of the file, or of the folder that an npm package or an archive is unpacked into.
    pub into: String,
}

/// Kinds of [`Input`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputKind {
    /// An npm package; what it depends on is locked with it, but not put anywhere.
    Npm,
    /// A file by its address.
    Url,
    /// A .tar.gz by its address, to be unpacked.
    Archive,
}

/// Scripts, styles and what they name, made one file for each entry by esbuild.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The folder of the overlay that the sources are in.
    pub name: String,
    /// npm inputs that the sources may import.
    pub npm: Vec<String>,
    /// Scripts and styles of the folder to begin with; each becomes a file with a hash in its name.
    pub entries: Vec<String>,
    /// Entries that keep their names.
    pub keep_names: Vec<String>,
    /// Files of the folder that are taken as they are, but for the names of entries in double quotes.
    pub pages: Vec<String>,
    /// Endings of files that are not read, but put beside, and named by their address.
    pub assets: Vec<String>,
    /// Modules that are never needed in a browser, and left out.
    pub external: Vec<String>,
    /// Absolute path of the folder on the box.
    pub into: String,
}

/// A Python environment (venv) to be filled with locked wheels.
#[derive(Clone, Debug)]
pub struct PythonEnv {
    /// Input name, unique in the appliance.
    pub name: String,
    /// Absolute path on the box: `/opt/synapse`.
    pub into: String,
    /// PEP 508 requirements.
    pub requirements: BTreeSet<String>,
}

/// A system user and its group of the same name and id.
#[derive(Clone, Debug)]
pub struct User {
    /// Login name.
    pub name: String,
    /// User and group id, fixed, so that state on the data partition keeps its owner.
    pub id: u32,
    /// Home directory.
    pub home: String,
    /// Login shell.
    pub shell: String,
    /// Supplementary groups.
    pub groups: Vec<String>,
    /// GECOS.
    pub comment: String,
}

/// Transport protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// As overlays and nftables name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A port, or some that follow each other, that an overlay listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The first.
    pub number: u16,
    /// The last: `number` again if it is one only.
    pub to: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// What it is for.
    pub purpose: String,
    /// Whether the firewall lets others in; if not, the box itself uses it.
    pub open: bool,
}

impl Port {
    /// `443`, or `49152-49407`: as nftables has it.
    pub fn range(&self) -> String {
        if self.to == self.number {
            self.number.to_string()
        } else {
            format!("{}-{}", self.number, self.to)
        }
    }

    /// What both would use.
    pub(super) fn overlap(&self, other: &Self) -> Option<Self> {
        let (number, to) = (self.number.max(other.number), self.to.min(other.to));
        let both = self.protocol == other.protocol && number <= to;
        both.then(|| Self { number, to, ..self.clone() })
    }
}

/// A directory on the data partition, bound into place before systemd starts.
#[derive(Clone, Debug)]
pub struct StateDir {
    /// Absolute path on the box: `/var/lib/postgresql`.
    pub path: String,
    /// Owner, by name.
    pub owner: String,
    /// Group, by name.
    pub group: String,
    /// Permission bits.
    pub mode: u16,
    /// Whether it goes back with its image; with all that lies in it.
    pub rollback: bool,
}

/// Something made on first boot if it is missing, and never part of the image.
#[derive(Clone, Debug)]
pub struct Secret {
    /// Absolute path on the box, inside a state directory.
    pub path: String,
    /// Owner, by name.
    pub owner: String,
    /// Group, by name.
    pub group: String,
    /// Permission bits.
    pub mode: u16,
    /// Shell command that writes it to `$OUT` (a file in a folder of its own, beside which it may
    /// leave companions such as `$OUT.pub`).
    pub generate: String,
}

/// Keys of a package's tests and the like: they look like secrets, and everybody has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Absolute path on the box; `*` stands for anything.
    pub path: String,
    /// Who publishes it, and what it is for.
    pub why: String,
    /// The file's digest; an overlay's own files need it.
    pub digest: Option<Digest>,
}

/// Owner and mode of files in `files/`.
#[derive(Clone, Debug)]
pub struct FileRule {
    /// Absolute path on the box.
    pub path: String,
    /// Owner, by name.
    pub owner: String,
    /// Group, by name.
    pub group: String,
    /// Permission bits.
    pub mode: u16,
}

/// A program whose data older versions of it may not be able to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// What it is called, the same for ever.
    pub name: String,
    /// The wheel or Debian package whose version counts.
    pub package: String,
    /// The oldest version that reads what this one writes: dotted numbers.
    pub safe_back_to: String,
}

/// A named check that a box runs to tell that a service works.
#[derive(Clone, Debug)]
pub struct HealthCheck {
    /// Name, unique in the overlay.
    pub name: String,
    /// What to check.
    pub check: Check,
    /// Seconds to wait for it at most.
    pub timeout: u64,
}

/// The kinds of check.
#[derive(Clone, Debug)]
pub enum Check {
    /// The systemd unit is active.
    Unit(String),
    /// A TCP connection to this `host:port` is accepted.
    Tcp(String),
    /// This URL answers 200, seen from the box itself.
    Http(String),
    /// This shell command exits 0.
    Command(String),
}

impl Plan {
    /// All ports that are open to others, `NUMBER/PROTOCOL` or `FIRST-LAST/PROTOCOL`.
    pub fn open_ports(&self) -> BTreeSet<String> {
        let ports = self.overlays.iter().flat_map(|overlay| &overlay.ports);
        let name = |port: &Port| format!("{}/{}", port.range(), port.protocol.name());
        ports.filter(|port| port.open).map(name).collect()
    }

    /// Where the overlay `ssh` has sshd listen, if the appliance has that overlay.
    pub fn ssh_port(&self) -> Option<u16> {
        let overlay = self.overlays.iter().find(|overlay| overlay.name == "ssh")?;
        match overlay.options.get("port")? {
            Value::Int(port) => u16::try_from(*port).ok(),
            _ => None,
        }
    }

    /// A text that differs when any part of the plan differs, but for the folders it was read from.
    pub fn identity(&self) -> String {
        let mut plan = self.clone();
        plan.overlays.iter_mut().for_each(|overlay| overlay.dir = PathBuf::new());
        format!("{plan:?}")
    }
}
