//! Boots an image in QEMU, as a virtual twin of the target, and runs the steps of a test on it.
//!
//! The image is never written: the machine's disk is a larger overlay in the work folder, so that
//! every test is a first boot. The machine reaches no network; the host reaches its ports through
//! free ports of 127.0.0.1. Two machines of one test are joined by a cable of their own. The test's ssh key gets in as the systemd credential
//! `chatimg.authorized_keys`, which only the virtual hardware's owner can give (SMBIOS type 11, see
//! systemd(1)).
//!
//! A test passes when all its steps come out right *and* neither its console nor its journal
//! shows a sign of trouble.

pub(crate) mod console;
mod diagnose;
pub(crate) mod door;
mod drives;
mod failure;
mod guest;
mod host;
mod http;
mod judge;
mod live;
mod load;
mod matrix;
mod power;
mod power_cut;
mod qemu;
mod run;
pub(crate) mod spec;
mod spec_check;
mod spec_error;
mod spec_file;
mod ssh;
mod steps;
mod text;
mod wait;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use door::Names;
pub use drives::Controller;
pub use failure::{StepFailure, TestFailure};
pub use host::Accel;
pub use live::{Live, LiveError, LiveSetup, Off};
pub use spec::{
    Action, Boot, CreateRoom, FlashTo, Http, Join, Login, MatrixLoad, OnlyWith, PlugDisk, Read,
    Register, ReplayPowerCuts, Send, Ssh, Step, TestSpec, load_test,
};
pub use spec_error::SpecError;

use crate::appliance::{Firmware, Target};
use crate::tools::Tools;

/// What a test runs on.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// The image's folder.
    pub image: &'a Path,
    /// The disk images, one for each disk; only read.
    pub disks: &'a [PathBuf],
    /// The `vm` closure: QEMU, its firmwares, OpenSSH's client.
    pub tools: &'a Tools,
    /// The hardware to be imitated.
    pub target: &'a Target,
    /// The server's name.
    pub domain: &'a str,
    /// The administrator's login name.
    pub admin: &'a str,
    /// Where the box's sshd listens.
    pub ssh_port: u16,
    /// The box's open TCP ports; `ssh_port` need not be among them.
    pub ports: &'a [u16],
    /// The firmware to boot with.
    pub firmware: Firmware,
    /// chatimg itself: the program, and options that every command gets.
    pub program: &'a [OsString],
    /// The key that the box takes images of.
    pub key: &'a Path,
    /// The test's images: the folder of each by name.
    pub images: &'a BTreeMap<String, PathBuf>,
    /// The test's other boxes, by name: one at most. The work folder of each is that name in this one's.
    pub others: &'a [(String, Setup<'a>)],
    /// A folder for the scratch disk and the logs, made if need be; of one test at a time.
    pub work: &'a Path,
}

/// What happens while a test runs.
#[derive(Clone, Debug)]
pub enum Event {
    /// Something to know about this run: the machine differs from the target.
    Note(String),
    /// The machine was switched on.
    PowerOn {
        /// How QEMU runs it.
        accel: Accel,
        /// Bytes.
        memory: u64,
        /// The console's log, which can be followed.
        log: PathBuf,
    },
    /// A step begins.
    Step {
        /// From 1.
        number: usize,
        /// How many there are.
        total: usize,
        /// Its name, or what it does.
        title: String,
    },
    /// All steps came out right; this comes after them.
    After(&'static str),
    /// The test is over, however it went.
    End,
}

/// What a passed test found out. Times of a boot are known to the first test on it only.
#[derive(Clone, Debug)]
pub struct Report {
    /// From the first power-on to the kernel's first line.
    pub kernel: Option<Duration>,
    /// From the first power-on to the first login over ssh.
    pub ssh: Option<Duration>,
    /// From the first power-on to the first Matrix message read.
    pub message: Option<Duration>,
    /// The whole test.
    pub whole: Duration,
    /// The console's log.
    pub log: PathBuf,
    /// How QEMU ran the machine.
    pub accel: Accel,
    /// The machine's memory, bytes.
    pub memory: u64,
    /// How the machine differed from the target.
    pub notes: Vec<String>,
}

/// A machine that tests run on, one after the other. Dropping it ends QEMU.
pub struct Session<'a>(run::Run<'a>);

impl<'a> Session<'a> {
    /// Prepares a machine for a test, and for those that can come after it; it is not started yet.
    ///
    /// # Errors
    /// Its disks cannot be made.
    pub fn new(
        first: &'a TestSpec,
        setup: &'a Setup<'a>,
        events: &'a dyn Fn(Event),
    ) -> Result<Self, TestFailure> {
        run::Run::new(first, setup, events).map(Self)
    }

    /// Runs a test's steps: the one that the machine was made for comes first. With the `last` one the machine goes: one
    /// that tests share is switched off in order, which is judged as a part of that test.
    ///
    /// # Errors
    /// A step does not come out right, the console or the journal shows trouble, the machine cannot be run, or the user
    /// interrupts. No other test can run on this machine then.
    pub fn run(&mut self, test: &'a TestSpec, last: bool) -> Result<Report, TestFailure> {
        self.0.test(test, last)
    }
}

#[cfg(test)]
mod tests;
