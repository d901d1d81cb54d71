//! A test: what to do with a booted machine, and what must come of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::drives::Controller;
use super::spec_error::SpecError;
use super::text::shortened;
use super::{spec_check, spec_file};
use crate::appliance::{Change, Disks, Firmware};
use crate::diagnostic::Fault;

/// A test, as its file in `qemu-tests/` says it.
#[derive(Clone, Debug, PartialEq)]
pub struct TestSpec {
    /// The file's name without `.toml`.
    pub name: String,
    /// The folder of its file, and of what it names.
    pub dir: PathBuf,
    /// What it is about, in a sentence.
    pub description: String,
    /// Firmwares to run it on; all of the target's if this is `None`.
    pub firmware: Option<BTreeSet<Firmware>>,
    /// What the target's disks must be joined to; any if this is `None`.
    pub raid: Option<Disks>,
    /// Which boot it runs on.
    pub boot: Boot,
    /// Where to the disks are flashed, if they are not the image's own files.
    pub flash: Option<FlashTo>,
    /// Host settings to flash with.
    pub host: Option<PathBuf>,
    /// Images to update to, by name: each is the image with the files of a folder in the place of its own.
    pub images: BTreeMap<String, PathBuf>,
    /// What is otherwise than in the appliance: the test has an image of its own.
    pub appliance: Option<Change>,
    /// Other boxes that stand beside the test's own: how the appliance of each differs, by name.
    pub guests: BTreeMap<String, Change>,
    /// What the machine's disks hang on.
    pub controller: Controller,
    /// Bytes of the machine's disks, in order; a default for those that are not named.
    pub disks: Vec<u64>,
    /// For all steps together.
    pub timeout: Duration,
    /// Lines of the console with one of these words are no sign of trouble.
    pub console_may_say: Vec<String>,
    /// In order.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What it is called in reports, if it has a name of its own.
    pub name: Option<String>,
    /// How long it may take.
    pub timeout: Duration,
    /// The firmware it is for; any if this is `None`.
    pub firmware: Option<Firmware>,
    /// The box that it acts on: the test's own, if this is `None`.
    pub on: Option<String>,
    /// What it does.
    pub action: Action,
}

/// What a step does. Strings may hold `{{variables}}`.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Waits until these words stand on the console, since the machine was started last.
    WaitConsole(String),
    /// Waits until the administrator can log in.
    WaitSsh,
    /// Runs a command as the administrator.
    Ssh(Ssh),
    /// Runs chatimg itself, on this machine: a command that talks to the box, which is given to it.
    Chatimg(Ssh),
    /// Runs a program that lies beside the test, on this machine.
    Local(Ssh),
    /// Asks the server which ways to log in it offers to whom has no key.
    SshAuthMethods(Vec<String>),
    /// GET.
    Http(Http),
    /// Makes a Matrix user, over ssh.
    Register(Register),
    /// Logs a Matrix user in; later steps act in this session.
    Login(Login),
    /// Makes a room.
    CreateRoom(CreateRoom),
    /// Joins a room.
    Join(Join),
    /// Sends a text message.
    Send(Send),
    /// Waits until a text message arrives.
    Read(Read),
    /// Begins to send messages, one after the other, until [`Action::LoadEnd`].
    Load(MatrixLoad),
    /// Ends that: every message that was acknowledged must be there.
    LoadEnd,
    /// Restarts the system in order, waits for ssh.
    Reboot,
    /// Stops the machine dead, starts it again.
    PowerCut,
    /// Presses the power button, waits until the machine is off.
    PowerOff,
    /// Starts the machine that [`Action::PowerOff`] stopped.
    PowerOn,
    /// Presses the reset button.
    Reset,
    /// Takes the disk of this number out: from a running machine, so that every access to it fails.
    PullDisk(usize),
    /// Puts a disk in, in the place of one that was pulled; a SATA disk only into a machine that is off.
    PlugDisk(PlugDisk),
    /// Exchanges the ports of the two disks of a machine that is off.
    SwapDisks,
    /// Waits.
    Sleep(Duration),
    /// Records all writes and flushes of a machine that is off, from its next start on.
    RecordWrites,
    /// Ends that, and starts what power cuts in it leave on the disks.
    ReplayPowerCuts(ReplayPowerCuts),
}

/// A command on the box, and what must come of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ssh {
    /// For the administrator's login shell.
    pub command: String,
    /// Its standard input: a file beside the test, or one of the tools closure, `tools:usr/bin/pebble`.
    pub stdin: Option<String>,
    /// Exit status.
    pub exit: i32,
    /// All of standard output, but for white space around it.
    pub stdout: Option<String>,
    /// A part of standard output.
    pub contains: Option<String>,
    /// No part of standard output.
    pub lacks: Option<String>,
    /// The variable that standard output goes to.
    pub save: Option<String>,
    /// Whether to try again until it comes out right.
    pub eventually: bool,
}

/// A disk to be put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlugDisk {
    /// Whose place it takes.
    pub number: usize,
    /// A blank one of so many bytes; if this is `None`, the one that was pulled.
    pub blank: Option<u64>,
}

/// A GET from outside, and what must come of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Http {
    /// Any host name; it is the box that is asked.
    pub url: String,
    /// The Matrix user whose access token goes with it.
    pub by: Option<String>,
    /// HTTP status.
    pub status: u16,
    /// JSON pointer (RFC 6901) → value. A string also matches a value that is written so in JSON.
    pub json: BTreeMap<String, Value>,
    /// A part of the body.
    pub contains: Option<String>,
    /// The variable that the body goes to, or the part of it that `save_json` points to.
    pub save: Option<String>,
    /// A JSON pointer.
    pub save_json: Option<String>,
    /// Whether to try again until it comes out right.
    pub eventually: bool,
}

/// A user to be made.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Register {
    /// Name without domain.
    pub user: String,
    /// Password.
    pub password: String,
    /// Whether it may use the admin API.
    #[serde(default)]
    pub admin: bool,
}

/// A login.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Login {
    /// Name without domain.
    pub user: String,
    /// Password.
    pub password: String,
}

/// A room to be made.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CreateRoom {
    /// By whom.
    #[serde(rename = "as")]
    pub by: String,
    /// Users to invite: names without domain, or whole ones (`@name:domain`).
    #[serde(default)]
    pub invite: Vec<String>,
    /// Whether everybody may join it.
    #[serde(default)]
    pub public: bool,
    /// Local part of an alias.
    pub alias: Option<String>,
    /// The variable that the room's id goes to.
    pub save: Option<String>,
}

/// A room to be joined.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Join {
    /// By whom.
    #[serde(rename = "as")]
    pub by: String,
    /// Id or alias.
    pub room: String,
}

/// A message to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Send {
    /// By whom.
    #[serde(rename = "as")]
    pub by: String,
    /// Id.
    pub room: String,
    /// Text.
    pub body: String,
    /// The variable that the event's id goes to.
    pub save: Option<String>,
}

/// Messages to be sent while other steps go on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct MatrixLoad {
    /// By whom.
    #[serde(rename = "as")]
    pub by: String,
    /// Id.
    pub room: String,
}

/// A message to be waited for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Read {
    /// By whom.
    #[serde(rename = "as")]
    pub by: String,
    /// Id.
    pub room: String,
    /// Text, exact.
    pub body: String,
}

/// Which boot of a machine a test runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Boot {
    /// A machine's first one, and nobody comes after it.
    #[default]
    Own,
    /// A machine's first one; it leaves the machine to tests that share it.
    First,
    /// One that other tests may have used, and may use after it: it leaves the box as it found it.
    Shared,
}

/// What `chatimg flash` writes a test's disks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlashTo {
    /// Files, as for a provider.
    Files,
    /// Loop devices that were used before: takes root.
    Loop,
}

/// Power cuts to be replayed: at every flush, with `random` parts of what was not flushed. Each different state of what
/// starts the box that they leave is started until systemd runs, in an image that is whole; `boots` of them to their end.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ReplayPowerCuts {
    /// How many random parts of what was not flushed are looked at, at each flush.
    pub random: usize,
    /// What the random ones come from.
    pub seed: u64,
    /// How many cuts are started until the box has come to rest.
    pub boots: usize,
    /// Names of the test's images: those that the box is to start, one after the other.
    pub course: Vec<String>,
    /// A message that must be there after each of these.
    pub read: Read,
    /// Another one.
    pub only_with: OnlyWith,
}

/// A message of the same room that only the data of one image have.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnlyWith {
    /// The image's name.
    pub image: String,
    /// Its text.
    pub body: String,
}

impl TestSpec {
    /// Whether both can run on one machine, this one before the other one.
    pub fn can_precede(&self, other: &Self) -> bool {
        self.boot != Boot::Own
            && other.boot == Boot::Shared
            && (self.controller, &self.disks) == (other.controller, &other.disks)
    }
}

impl Step {
    /// Its name, or what it does.
    pub fn title(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.action.to_string())
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WaitConsole(words) => write!(f, "wait-console \"{words}\""),
            Self::WaitSsh => f.write_str("wait-ssh"),
            Self::Ssh(ssh) => write!(f, "ssh \"{}\"", shortened(&ssh.command, 60)),
            Self::Chatimg(chatimg) => write!(f, "chatimg {}", shortened(&chatimg.command, 60)),
            Self::Local(local) => write!(f, "local {}", shortened(&local.command, 60)),
            Self::SshAuthMethods(methods) => write!(f, "ssh-auth-methods {}", methods.join(", ")),
            Self::Http(http) => write!(f, "http {}", http.url),
            Self::Register(register) => write!(f, "matrix-register {}", register.user),
            Self::Login(login) => write!(f, "matrix-login {}", login.user),
            Self::CreateRoom(room) => write!(f, "matrix-create-room as {}", room.by),
            Self::Join(join) => write!(f, "matrix-join as {}", join.by),
            Self::Send(send) => write!(f, "matrix-send as {}", send.by),
            Self::Read(read) => write!(f, "matrix-read as {}", read.by),
            Self::Load(load) => write!(f, "matrix-load as {}", load.by),
            Self::LoadEnd => f.write_str("matrix-load-end"),
            Self::Reboot => f.write_str("reboot"),
            Self::PowerCut => f.write_str("power-cut"),
            Self::PowerOff => f.write_str("power-off"),
            Self::PowerOn => f.write_str("power-on"),
            Self::Reset => f.write_str("reset"),
            Self::PullDisk(number) => write!(f, "pull-disk {number}"),
            Self::PlugDisk(PlugDisk { number, blank: None }) => write!(f, "plug-disk {number}"),
            Self::PlugDisk(PlugDisk { number, .. }) => write!(f, "plug-disk {number}, a blank one"),
            Self::SwapDisks => f.write_str("swap-disks"),
            Self::Sleep(_) => f.write_str("sleep"),
            Self::RecordWrites => f.write_str("record-writes"),
            Self::ReplayPowerCuts(_) => f.write_str("replay-power-cuts"),
        }
    }
}

/// Reads a test.
///
/// # Errors
/// It cannot be read, or says something that a test cannot say; the error shows where.
pub fn load_test(path: &Path) -> Result<TestSpec, SpecError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| SpecError::Read { path: path.to_owned(), source })?;
    let mut test = parse(path, &text)?;
    // They lie beside the test.
    test.host = test.host.map(|host| test.dir.join(host));
    test.images.values_mut().for_each(|files| *files = test.dir.join(&files));
    Ok(test)
}

/// Reads the test that is `text`; `path` gives its name.
pub(super) fn parse(path: &Path, text: &str) -> Result<TestSpec, SpecError> {
    let wrong = |fault: Fault| SpecError::Wrong(Box::new(fault.at(path, text)));
    spec_check::check(text).and_then(|()| spec_file::read(path, text)).map_err(wrong)
}

/// For [`crate::fuzzing`].
pub(crate) fn fuzz(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(error) = parse(Path::new("test.toml"), text) {
        _ = error.to_string();
    }
}
