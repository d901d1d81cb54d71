//! The TOML of a test: the types of its values, once [`super::spec_check`] has found that its keys go together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::drives::Controller;
use super::spec::{
    Action, Boot, CreateRoom, FlashTo, Http, Join, Login, MatrixLoad, PlugDisk, Read, Register,
    ReplayPowerCuts, Send, Ssh, Step, TestSpec,
};
use super::text;
use crate::appliance::{Change, Disks, Firmware};
use crate::diagnostic::Fault;

const TEST_TIMEOUT: Duration = Duration::from_secs(45 * 60);
/// TCG on a loaded machine takes five minutes to boot.
const STEP_TIMEOUT: Duration = Duration::from_secs(10 * 60);

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    description: String,
    firmware: Option<Vec<FirmwareName>>,
    raid: Option<RaidName>,
    #[serde(default)]
    boot: Boot,
    appliance: Option<Change>,
    flash: Option<FlashTo>,
    host: Option<PathBuf>,
    #[serde(default)]
    images: BTreeMap<String, PathBuf>,
    #[serde(default)]
    guests: BTreeMap<String, Change>,
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
    on: Option<String>,
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
    #[serde(rename = "as")]
    by: Option<String>,
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

/// Reads a document that [`super::spec_check::check`] found right.
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
        appliance: file.appliance,
        guests: file.guests,
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
        let on = self.on.clone();
        Step { name, timeout, firmware, on, action: self.action() }
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
            by: self.by,
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
