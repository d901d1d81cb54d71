//! A machine for a person: no steps, nothing judged, ports that stay the same, and a door for browsers.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::door::{self, Names};
use super::drives::{Controller, Drives};
use super::failure::TestFailure;
use super::host::{Accel, Hardware};
use super::http::Request;
use super::matrix::{address, registration};
use super::qemu::{self, ByHand, CONSOLE, Machine, Make};
use super::ssh::{Client, Output};
use super::steps::greeting;
use super::wait;
use crate::appliance::{Firmware, Target};
use crate::interrupt;
use crate::tools::Tools;

const TICK: Duration = Duration::from_millis(200);
/// Between two looks at a box that starts.
const INTERVAL: Duration = Duration::from_secs(1);
/// For a start: an emulated machine on a busy host takes minutes.
const START: Duration = Duration::from_secs(40 * 60);
/// For one command or request.
const ANSWER: Duration = Duration::from_secs(5 * 60);
/// For switching off.
const STOP: Duration = Duration::from_secs(5 * 60);

/// What is started.
#[derive(Clone, Copy, Debug)]
pub struct LiveSetup<'a> {
    /// The disk images, one for each disk; only read.
    pub disks: &'a [PathBuf],
    /// The `vm` closure.
    pub tools: &'a Tools,
    /// The hardware to be imitated.
    pub target: &'a Target,
    /// The administrator's login name.
    pub admin: &'a str,
    /// Where the box's sshd listens.
    pub ssh_port: u16,
    /// The box's open TCP ports, each with that of 127.0.0.1 to take if it is free.
    pub tcp: &'a BTreeMap<u16, u16>,
    /// The same of UDP.
    pub udp: &'a BTreeMap<u16, u16>,
    /// The firmware to boot with.
    pub firmware: Firmware,
    /// A folder for the disks and logs, made if need be; of one machine at a time.
    pub work: &'a Path,
    /// Whether the disks that are there go on, and stay.
    pub keep: bool,
}

/// The machine does not come up, or does not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// It cannot be run.
    #[error(transparent)]
    Machine(#[from] TestFailure),
    /// The user stopped it.
    #[error(transparent)]
    Interrupted(#[from] interrupt::Interrupted),
    /// It ended by itself.
    #[error("the machine ended ({status}); QEMU said: {words}; its console: {}", log.display())]
    Ended {
        /// How.
        status: ExitStatus,
        /// The end of QEMU's standard error.
        words: String,
        /// The console's log.
        log: PathBuf,
    },
    /// It is not ready in time.
    #[error("waiting for {what}: nothing after {} min ({last}); the console: {}", after.as_secs() / 60, log.display())]
    Late {
        /// What for.
        what: &'static str,
        /// What there was instead.
        last: String,
        /// How long.
        after: Duration,
        /// The console's log.
        log: PathBuf,
    },
    /// A command on it fails.
    #[error("{doing}: {words}")]
    Command {
        /// A gerund.
        doing: &'static str,
        /// What it said.
        words: String,
    },
}

/// A running machine; it is killed when this is dropped.
#[derive(Debug)]
pub struct Live<'a> {
    machine: Machine,
    ssh: Client<'a>,
    ssh_port: u16,
    make: Make<'a>,
    /// Whether the administrator could log in.
    reached: bool,
}

/// How a machine was switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Off {
    /// By its own system.
    InOrder,
    /// It had not started yet, and was killed.
    Starting,
    /// It did not want to, or was not given the time.
    Killed,
}

impl<'a> Live<'a> {
    /// Switches it on.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn start(setup: &LiveSetup<'a>) -> Result<Self, LiveError> {
        let opened = fs::create_dir_all(setup.work).and_then(|()| setup.work.canonicalize());
        let work = opened.map_err(io_failure(format!("making {}", setup.work.display())))?;
        let (ssh, key) = Client::new(setup.tools, work.clone(), setup.admin)?;
        let hand = ByHand { tcp: setup.tcp.clone(), udp: setup.udp.clone(), keep: setup.keep };
        let mut make = Make {
            tools: setup.tools,
            hardware: Hardware::new(setup.target, 1),
            firmware: setup.firmware,
            // All of them are wished for.
            ports: &[],
            ssh_port: setup.ssh_port,
            cable: None,
            work,
            key,
            drives: Drives::default(),
            by_hand: Some(hand),
        };
        qemu::prepare(&make)?;
        make.drives = Drives::create(&make, setup.disks, Controller::Sata, &[])?;
        let machine = Machine::start(&make)?;
        Ok(Self { machine, ssh, ssh_port: setup.ssh_port, make, reached: false })
    }

    /// How it differs from the target, in words.
    pub fn notes(&self) -> &[String] {
        &self.make.hardware.notes
    }

    /// Whether it is emulated.
    pub fn is_emulated(&self) -> bool {
        self.make.hardware.accel == Accel::Tcg
    }

    /// Bytes of its memory.
    pub fn memory(&self) -> u64 {
        self.make.hardware.memory
    }

    /// Port of the box → port of 127.0.0.1.
    pub fn tcp(&self) -> &BTreeMap<u16, u16> {
        &self.machine.ports
    }

    /// The same of UDP.
    pub fn udp(&self) -> &BTreeMap<u16, u16> {
        &self.machine.udp
    }

    /// The console's log.
    pub fn console(&self) -> PathBuf {
        self.make.work.join(CONSOLE)
    }

    /// A configuration by which the user's own ssh finds the box as `box`.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn ssh_config(&self) -> Result<PathBuf, LiveError> {
        let written = self.ssh.configuration(self.machine.ports[&self.ssh_port]);
        Ok(written.map_err(io_failure("writing ssh's configuration".to_owned()))?)
    }

    /// Waits until the administrator can log in.
    ///
    /// # Errors
    /// That does not come about.
    pub fn wait_ssh(&mut self) -> Result<(), LiveError> {
        let port = self.machine.ports[&self.ssh_port];
        self.until("a login over ssh", |live| {
            // A failed login has the server punish this address for a while; so it is asked first.
            if let Err(error) = live.aside(move || greeting(port))? {
                return Ok(Err(error.to_string()));
            }
            let output = live.command("true")?;
            Ok(if output.exit == 0 { Ok(()) } else { Err(output.stderr.trim().to_owned()) })
        })?;
        self.reached = true;
        Ok(())
    }

    /// Waits until the homeserver answers at `host`.
    ///
    /// # Errors
    /// That does not come about.
    pub fn wait_matrix(&mut self, host: &str) -> Result<(), LiveError> {
        let wrong = |_| LiveError::Command {
            doing: "asking the homeserver",
            words: format!("{host} makes no address"),
        };
        let mut url = address(host, &[], &[]).map_err(wrong)?;
        url.set_path("/_matrix/client/versions");
        self.until("the homeserver", |live| {
            let (url, ports) = (url.clone(), live.machine.ports.clone());
            let answer = live.aside(move || Request::get(url).send_within(&ports, ANSWER))?;
            Ok(match answer {
                Ok(answer) if answer.status == 200 => Ok(()),
                Ok(answer) => Err(format!("status {}", answer.status)),
                Err(error) => Err(error),
            })
        })
    }

    /// Makes a user of the homeserver, who administers it.
    ///
    /// # Errors
    /// The box refuses.
    pub fn register(&mut self, user: &str, password: &str) -> Result<(), LiveError> {
        let output = self.command(&registration(user, password, true))?;
        if output.exit == 0 {
            return Ok(());
        }
        let said = if output.stderr.trim().is_empty() { output.stdout } else { output.stderr };
        let words = said.lines().last().unwrap_or_default().to_owned();
        Err(LiveError::Command { doing: "making a user on the box", words })
    }

    /// Opens a door for browsers to the box's port 443, and gives back its address.
    ///
    /// # Errors
    /// There is no free port.
    pub fn door(&self, names: Names, wished: u16) -> Result<String, LiveError> {
        let port = self.machine.ports.get(&443).copied().unwrap_or_default();
        let opened = door::open(names, "https", port, wished);
        Ok(opened.map_err(io_failure("opening a port for browsers".to_owned()))?)
    }

    /// Runs until the machine ends by itself in order.
    ///
    /// # Errors
    /// It ends otherwise, or the user asks to stop.
    pub fn follow(&mut self) -> Result<(), LiveError> {
        loop {
            interrupt::check()?;
            if let Some(status) = self.machine.ended() {
                return if status.success() { Ok(()) } else { Err(self.ended(status)) };
            }
            std::thread::sleep(TICK);
        }
    }

    /// Presses the power button and waits; kills it if that takes too long, or the user insists, or nobody on it listens yet.
    pub fn off(mut self) -> Off {
        if !self.reached {
            return Off::Starting;
        }
        let start = Instant::now();
        let pressed = self.machine.press_power().is_ok();
        while pressed && start.elapsed() < STOP && !interrupt::insisted() {
            if let Some(status) = self.machine.ended() {
                return if status.success() { Off::InOrder } else { Off::Killed };
            }
            std::thread::sleep(TICK);
        }
        Off::Killed
    }

    fn ended(&self, status: ExitStatus) -> LiveError {
        let words = self.machine.words();
        if status.signal().is_some() {
            return TestFailure::Crashed { status, words }.into();
        }
        LiveError::Ended { status, words, log: self.console() }
    }

    /// Whether all is well.
    fn check(&mut self) -> Result<(), LiveError> {
        interrupt::check()?;
        match self.machine.ended() {
            Some(status) => Err(self.ended(status)),
            None => Ok(()),
        }
    }

    fn until(
        &mut self,
        what: &'static str,
        mut look: impl FnMut(&mut Self) -> Result<Result<(), String>, LiveError>,
    ) -> Result<(), LiveError> {
        let start = Instant::now();
        loop {
            self.check()?;
            let last = match look(self)? {
                Ok(()) => return Ok(()),
                Err(last) => last,
            };
            let after = start.elapsed();
            if after >= START {
                return Err(LiveError::Late { what, last, after, log: self.console() });
            }
            std::thread::sleep(INTERVAL);
        }
    }

    /// Does something that blocks in a thread of its own.
    fn aside<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, LiveError> {
        let died = || LiveError::Command { doing: "asking the box", words: "no answer".to_owned() };
        wait::aside(TICK, || self.check(), work)?.ok_or_else(died)
    }

    /// Runs a shell command on the box.
    fn command(&mut self, command: &str) -> Result<Output, LiveError> {
        let failed = |error| LiveError::from(io_failure("running ssh".to_owned())(error));
        let port = self.machine.ports[&self.ssh_port];
        let mut running = self.ssh.start(port, command, Stdio::null()).map_err(failed)?;
        let late = || LiveError::Command {
            doing: "running a command on the box",
            words: format!("no end after {} s", ANSWER.as_secs()),
        };
        wait::ended(&mut running, Some(ANSWER), TICK, failed, || self.check())?.ok_or_else(late)
    }
}

fn io_failure(doing: String) -> impl FnOnce(io::Error) -> TestFailure {
    move |source| TestFailure::Io { doing, source }
}
