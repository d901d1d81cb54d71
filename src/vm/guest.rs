//! One machine of a test, and what is known of it.

use std::fs;
use std::os::unix::process::ExitStatusExt;

use super::Setup;
use super::console::Console;
use super::drives::Drives;
use super::failure::TestFailure;
use super::host::{Accel, Hardware};
use super::judge::Mismatch;
use super::matrix::Sessions;
use super::power_cut::Recorder;
use super::qemu::{self, CONSOLE, Cable, Machine, Make};
use super::run::Stop;
use super::spec::TestSpec;
use super::ssh::Client;

pub(super) struct Guest<'a> {
    /// Of the test's own box, nothing.
    pub(super) name: Option<&'a str>,
    pub(super) setup: &'a Setup<'a>,
    pub(super) make: Make<'a>,
    pub(super) machine: Option<Machine>,
    /// Keeps the disks, once the machine's writes are recorded.
    pub(super) recorder: Option<Recorder>,
    /// Whether ssh has worked since the machine was started last.
    pub(super) reachable: bool,
    pub(super) console: Console,
    /// How far this boot's journal has been searched: a cursor of journald's.
    pub(super) seen: Option<String>,
    pub(super) ssh: Client<'a>,
    pub(super) sessions: Sessions,
}

impl<'a> Guest<'a> {
    /// Prepares a machine, and does not start it yet. It shares this host with others: `guests` in all.
    pub(super) fn new(
        name: Option<&'a str>,
        spec: &TestSpec,
        setup: &'a Setup<'a>,
        guests: u64,
        cable: Option<Cable>,
    ) -> Result<Self, TestFailure> {
        let opened = fs::create_dir_all(setup.work).and_then(|()| setup.work.canonicalize());
        let work = opened.map_err(|source| TestFailure::Io {
            doing: format!("making the folder {}", setup.work.display()),
            source,
        })?;
        let (ssh, key) = Client::new(setup.tools, work.clone(), setup.admin)?;
        let hardware = Hardware::new(setup.target, guests);
        let emulated = hardware.accel == Accel::Tcg;
        let console = Console::new(work.join(CONSOLE), spec.console_may_say.clone(), emulated);
        let mut make = Make {
            tools: setup.tools,
            hardware,
            firmware: setup.firmware,
            ports: setup.ports,
            ssh_port: setup.ssh_port,
            cable,
            work,
            key,
            drives: Drives::default(),
            by_hand: None,
        };
        qemu::prepare(&make)?;
        make.drives = Drives::create(&make, setup.disks, spec.controller, &spec.disks)?;
        Ok(Self {
            name,
            setup,
            make,
            machine: None,
            recorder: None,
            reachable: false,
            console,
            seen: None,
            ssh,
            sessions: Sessions::default(),
        })
    }

    /// Whether its console is clean, and it runs if it is on.
    pub(super) fn check(&mut self) -> Result<(), Stop> {
        self.look_at_console()?;
        if let Some(machine) = &mut self.machine
            && let Some(status) = machine.ended()
        {
            let words = machine.words();
            if status.signal().is_some() {
                return Err(TestFailure::Crashed { status, words }.into());
            }
            let got = format!("it ended ({status}); QEMU said: {words}");
            self.look_at_console()?;
            return Err(Mismatch::new("a running machine", got).into());
        }
        Ok(())
    }

    /// Reads the console on.
    pub(super) fn look_at_console(&mut self) -> Result<(), Stop> {
        let trouble = self.console.poll().map_err(|source| TestFailure::Io {
            doing: format!("reading the console's log {}", self.console.path().display()),
            source,
        })?;
        trouble.map_or(Ok(()), |trouble| Err(trouble.into()))
    }
}
