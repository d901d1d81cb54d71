//! The TOML of a test: which keys go together (checked on the document, where every key has its
//! place), then the types of their values (checked by serde).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::drives::Controller;
use super::spec::{
    Action, Boot, CreateRoom, FlashTo, Http, Join, Login, MatrixLoad, PlugDisk, Read, Register,
    ReplayPowerCuts, Send, Ssh, Step, TestSpec,
};
use super::text::{self, GIVEN};
use crate::appliance::{Disks, Firmware};
use crate::diagnostic::Fault;

const TOP: [&str; 12] = [
    "description",
    "firmware",
    "raid",
    "boot",
    "flash",
    "host",
    "images",
    "controller",
    "disks",
    "timeout",
    "console-may-say",
    "step",
];
const COMMON: [&str; 3] = ["name", "timeout", "firmware"];
const TEST_TIMEOUT: Duration = Duration::from_secs(45 * 60);
/// TCG on a loaded machine takes five minutes to boot.
const STEP_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// What is said of a command's end.
const COMMAND: &[&str] =
    &["expect-exit", "expect-stdout", "stdout-contains", "stdout-lacks", "save", "eventually"];
const SSH: &[&str] = &[
    "stdin",
    "expect-exit",
    "expect-stdout",
    "stdout-contains",
    "stdout-lacks",
    "save",
    "eventually",
];
/// Every action, with the keys that belong to it alone.
const ACTIONS: [(&str, &[&str]); 26] = [
    ("wait-console", &[]),
    ("wait-ssh", &[]),
    ("ssh", SSH),
    ("chatimg", COMMAND),
    ("local", COMMAND),
    ("ssh-auth-methods", &[]),
    ("http", &["expect-status", "expect-json", "body-contains", "save", "save-json", "eventually"]),
    ("matrix-register", &[]),
    ("matrix-login", &[]),
    ("matrix-create-room", &[]),
    ("matrix-join", &[]),
    ("matrix-send", &[]),
    ("matrix-read", &[]),
    ("matrix-load", &[]),
    ("matrix-load-end", &[]),
    ("reboot", &[]),
    ("power-cut", &[]),
    ("power-off", &[]),
    ("power-on", &[]),
    ("reset", &[]),
    ("pull-disk", &[]),
    ("plug-disk", &["blank"]),
    ("swap-disks", &[]),
    ("sleep", &[]),
    ("record-writes", &[]),
    ("replay-power-cuts", &[]),
];

/// What a test that shares its boot cannot say: nobody else's machine is of that kind.
const OF_ITS_OWN: [&str; 3] = ["flash", "host", "images"];
/// What it cannot do: the machine would be another one afterwards, or none.
const ENDS_A_BOOT: [&str; 10] = [
    "reboot",
    "power-cut",
    "power-on",
    "power-off",
    "reset",
    "pull-disk",
    "plug-disk",
    "swap-disks",
    "record-writes",
    "replay-power-cuts",
];

type Table<'a> = DeTable<'a>;

/// Checks the document's keys and variables.
pub(super) fn check(text: &str) -> Result<(), Fault> {
    let document = DeTable::parse(text).map_err(|error| Fault::from_toml(&error))?;
    let top = document.get_ref();
    for key in top.keys() {
        if !TOP.contains(&&**key.get_ref()) {
            let known = TOP.into_iter();
            return Err(Fault::unknown(key.span(), "key", key.get_ref(), known));
        }
    }
    let steps = top.iter().find(|(key, _)| **key.get_ref() == *"step");
    let Some((key, value)) = steps else {
        return Err(Fault::new(0..0, "the test has no steps").hint("add a [[step]]"));
    };
    let DeValue::Array(steps) = value.get_ref() else {
        return Err(Fault::new(key.span(), "'step' is not a list").hint("write [[step]]"));
    };
    let boot = top.get("boot").map(Spanned::get_ref);
    let shares = matches!(boot, Some(DeValue::String(boot)) if **boot != *"own");
    if shares {
        check_shared(top, &OF_ITS_OWN)?;
    }
    let mut variables: Vec<&str> = GIVEN.into();
    if let Some(DeValue::Table(images)) = top.get("images").map(Spanned::get_ref) {
        for name in images.keys() {
            if GIVEN.contains(&&**name.get_ref()) || !text::is_variable(name.get_ref()) {
                return Err(not_a_variable(name.span(), name.get_ref()));
            }
            variables.push(name.get_ref());
        }
    }
    for step in steps.iter() {
        let DeValue::Table(table) = step.get_ref() else {
            return Err(Fault::new(step.span(), "a step is a table").hint("write [[step]]"));
        };
        check_step(step.span(), table)?;
        if shares {
            check_shared(table, &ENDS_A_BOOT)?;
        }
        check_strings(step, &variables)?;
        saved(table, &mut variables)?;
    }
    Ok(())
}

/// One action, and only keys that belong to it.
fn check_step(span: std::ops::Range<usize>, step: &Table<'_>) -> Result<(), Fault> {
    let names = || ACTIONS.into_iter().map(|(name, _)| name);
    let mut keys: Vec<_> = step.keys().collect();
    keys.sort_by_key(|key| key.span().start);
    let mut found: Option<(&str, &[&str])> = None;
    for key in &keys {
        let Some(action) = ACTIONS.into_iter().find(|(name, _)| name == key.get_ref()) else {
            continue;
        };
        if let Some((first, _)) = found {
            let message = format!("a step does one thing; this one has '{first}' already");
            return Err(Fault::new(key.span(), message).hint("make two steps of it"));
        }
        found = Some(action);
    }
    let known = found.map_or(&[][..], |(_, keys)| keys);
    for key in keys {
        let name = &**key.get_ref();
        let is_action = found.is_some_and(|(action, _)| action == name);
        if is_action || COMMON.contains(&name) || known.contains(&name) {
            continue;
        }
        let owners: Vec<_> =
            ACTIONS.iter().filter(|(_, keys)| keys.contains(&name)).map(|(own, _)| *own).collect();
        return Err(match (found, &owners[..]) {
            (Some((action, _)), [_, ..]) => {
                let message = format!("'{name}' does not go with '{action}'");
                Fault::new(key.span(), message).hint(format!("it goes with {}", owners.join(", ")))
            }
            (None, [_, ..]) => continue,
            (_, []) => {
                let known = names().chain(COMMON).chain(known.iter().copied());
                Fault::unknown(key.span(), "key", name, known)
            }
        });
    }
    match found {
        Some(_) => Ok(()),
        None => {
            let actions = names().collect::<Vec<_>>().join(", ");
            Err(Fault::new(span, "this step does nothing")
                .hint(format!("give it one of {actions}")))
        }
    }
}

/// Nothing that a test which shares its boot cannot have.
fn check_shared(table: &Table<'_>, not: &[&str]) -> Result<(), Fault> {
    let found = table.keys().find(|key| not.contains(&&**key.get_ref()));
    found.map_or(Ok(()), |key| {
        let name = key.get_ref();
        let message = format!("a test that shares its boot cannot have '{name}'");
        Err(Fault::new(key.span(), message).hint("leave 'boot' out: it then boots by itself"))
    })
}

/// Every variable that a string uses is there by then.
fn check_strings(value: &Spanned<DeValue<'_>>, variables: &[&str]) -> Result<(), Fault> {
    match value.get_ref() {
        DeValue::String(text) => match text::names(text).find(|name| !variables.contains(name)) {
            Some(name) => {
                let known = variables.iter().copied();
                Err(Fault::unknown(value.span(), "variable here", name, known))
            }
            None => Ok(()),
        },
        DeValue::Array(items) => items.iter().try_for_each(|item| check_strings(item, variables)),
        DeValue::Table(table) => table.values().try_for_each(|item| check_strings(item, variables)),
        _ => Ok(()),
    }
}

fn not_a_variable(span: std::ops::Range<usize>, name: &str) -> Fault {
    let hint = format!("small letters, digits and _; not {}", GIVEN.join(", "));
    Fault::new(span, format!("'{name}' cannot be a variable's name")).hint(hint)
}

/// Adds the variables that a step saves.
fn saved<'a>(step: &'a Table<'_>, variables: &mut Vec<&'a str>) -> Result<(), Fault> {
    for (key, value) in step.iter() {
        match value.get_ref() {
            DeValue::Table(inner) => saved(inner, variables)?,
            DeValue::String(name) if **key.get_ref() == *"save" => {
                if GIVEN.contains(&&**name) || !text::is_variable(name) {
                    return Err(not_a_variable(value.span(), name));
                }
                variables.push(name);
            }
            _ => (),
        }
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    description: String,
    firmware: Option<Vec<FirmwareName>>,
    raid: Option<RaidName>,
    #[serde(default)]
    boot: Boot,
    flash: Option<FlashTo>,
    host: Option<PathBuf>,
    #[serde(default)]
    images: BTreeMap<String, PathBuf>,
    #[serde(default)]
    controller: Controller,
    #[serde(default)]
    disks: Vec<Size>,
    timeout: Option<Length>,
    #[serde(default)]
    console_may_say: Vec<String>,
    step: Vec<FileStep>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FirmwareName {
    Bios,
    Uefi,
}

impl From<FirmwareName> for Firmware {
    fn from(name: FirmwareName) -> Self {
        match name {
            FirmwareName::Bios => Self::Bios,
            FirmwareName::Uefi => Self::Uefi,
        }
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RaidName {
    None,
    Mirror,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct FileStep {
    name: Option<String>,
    timeout: Option<Length>,
    firmware: Option<FirmwareName>,
    save: Option<String>,
    #[serde(default)]
    eventually: bool,
    wait_console: Option<String>,
    wait_ssh: Option<Yes>,
    ssh: Option<String>,
    stdin: Option<String>,
    #[serde(default)]
    expect_exit: i32,
    expect_stdout: Option<String>,
    stdout_contains: Option<String>,
    stdout_lacks: Option<String>,
    chatimg: Option<String>,
    local: Option<String>,
    ssh_auth_methods: Option<Vec<String>>,
    http: Option<String>,
    expect_status: Option<u16>,
    #[serde(default)]
    expect_json: BTreeMap<String, Value>,
    body_contains: Option<String>,
    save_json: Option<String>,
    matrix_register: Option<Register>,
    matrix_login: Option<Login>,
    matrix_create_room: Option<CreateRoom>,
    matrix_join: Option<Join>,
    matrix_send: Option<Send>,
    matrix_read: Option<Read>,
    matrix_load: Option<MatrixLoad>,
    matrix_load_end: Option<Yes>,
    reboot: Option<Yes>,
    power_cut: Option<Yes>,
    power_off: Option<Yes>,
    power_on: Option<Yes>,
    reset: Option<Yes>,
    pull_disk: Option<usize>,
    plug_disk: Option<usize>,
    blank: Option<Size>,
    swap_disks: Option<Yes>,
    sleep: Option<Length>,
    record_writes: Option<Yes>,
    replay_power_cuts: Option<ReplayPowerCuts>,
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Length(Duration);

impl TryFrom<String> for Length {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no duration: write \"90 s\", \"15 min\", \"1 h\"");
        text::duration(&text).map(Self).ok_or_else(wrong)
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
struct Size(u64);

impl TryFrom<String> for Size {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let gib = text.strip_suffix(" GiB").and_then(|number| number.parse::<u64>().ok());
        let bytes = gib.filter(|gib| *gib > 0).and_then(|gib| gib.checked_mul(1 << 30));
        bytes.map(Self).ok_or_else(|| format!("'{text}' is no disk's size: write \"24 GiB\""))
    }
}

#[derive(Deserialize)]
#[serde(try_from = "bool")]
struct Yes;

impl TryFrom<bool> for Yes {
    type Error = &'static str;

    fn try_from(value: bool) -> Result<Self, &'static str> {
        if value { Ok(Self) } else { Err("only true makes sense here: leave the step out instead") }
    }
}

/// Reads a document that [`check`] found right.
pub(super) fn read(path: &Path, text: &str) -> Result<TestSpec, Fault> {
    let file: File = toml::from_str(text).map_err(|error| Fault::from_toml(&error))?;
    let firmware = file.firmware.map(|names| names.into_iter().map(Firmware::from).collect());
    let steps = file.step.into_iter().map(FileStep::step).collect();
    Ok(TestSpec {
        name: path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into()),
        dir: path.with_file_name(""),
        description: file.description,
        firmware,
        raid: file.raid.map(|name| match name {
            RaidName::None => Disks::Single,
            RaidName::Mirror => Disks::Mirror,
        }),
        boot: file.boot,
        // A box takes updates if flashing has told it whose.
        flash: file
            .flash
            .or((file.host.is_some() || !file.images.is_empty()).then_some(FlashTo::Files)),
        host: file.host,
        images: file.images,
        controller: file.controller,
        disks: file.disks.iter().map(|size| size.0).collect(),
        timeout: file.timeout.map_or(TEST_TIMEOUT, |length| length.0),
        console_may_say: file.console_may_say,
        steps,
    })
}

impl FileStep {
    fn step(self) -> Step {
        let (name, firmware) = (self.name.clone(), self.firmware.map(Firmware::from));
        let timeout = self.timeout.as_ref().map_or(STEP_TIMEOUT, |length| length.0);
        Step { name, timeout, firmware, action: self.action() }
    }

    fn action(self) -> Action {
        let (save, eventually) = (self.save, self.eventually);
        let ssh = |command| Ssh {
            command,
            stdin: self.stdin.clone(),
            exit: self.expect_exit,
            stdout: self.expect_stdout.clone(),
            contains: self.stdout_contains.clone(),
            lacks: self.stdout_lacks.clone(),
            save: save.clone(),
            eventually,
        };
        let http = |url| Http {
            url,
            status: self.expect_status.unwrap_or(200),
            json: self.expect_json,
            contains: self.body_contains,
            save: save.clone(),
            save_json: self.save_json,
            eventually,
        };
        let blank = self.blank.map(|size| size.0);
        let plug = |number| Action::PlugDisk(PlugDisk { number, blank });
        let is = |action| move |Yes| action;
        self.wait_console
            .map(Action::WaitConsole)
            .or(self.wait_ssh.map(is(Action::WaitSsh)))
            .or(self.chatimg.map(&ssh).map(Action::Chatimg))
            .or(self.local.map(&ssh).map(Action::Local))
            .or(self.ssh.map(ssh).map(Action::Ssh))
            .or(self.ssh_auth_methods.map(Action::SshAuthMethods))
            .or(self.http.map(http).map(Action::Http))
            .or(self.matrix_register.map(Action::Register))
            .or(self.matrix_login.map(Action::Login))
            .or(self.matrix_create_room.map(Action::CreateRoom))
            .or(self.matrix_join.map(Action::Join))
            .or(self.matrix_send.map(Action::Send))
            .or(self.matrix_read.map(Action::Read))
            .or(self.matrix_load.map(Action::Load))
            .or(self.matrix_load_end.map(is(Action::LoadEnd)))
            .or(self.reboot.map(is(Action::Reboot)))
            .or(self.power_cut.map(is(Action::PowerCut)))
            .or(self.power_off.map(is(Action::PowerOff)))
            .or(self.power_on.map(is(Action::PowerOn)))
            .or(self.reset.map(is(Action::Reset)))
            .or(self.pull_disk.map(Action::PullDisk))
            .or(self.plug_disk.map(plug))
            .or(self.swap_disks.map(is(Action::SwapDisks)))
            .or(self.sleep.map(|length| Action::Sleep(length.0)))
            .or(self.record_writes.map(is(Action::RecordWrites)))
            .or(self.replay_power_cuts.map(Action::ReplayPowerCuts))
            .expect("check() saw that there is an action")
    }
}
