//! A test under way: the machine, what is known so far, and how to wait.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::failure::{StepFailure, TestFailure};
use super::guest::Guest;
use super::judge::Mismatch;
use super::load::Load;
use super::matrix::Sessions;
use super::qemu::{self, CABLE, Cable, Machine};
use super::spec::{Action, Boot, Step, TestSpec};
use super::ssh::Output;
use super::text::{self, Variables, shown};
use super::{Event, Report, Setup, wait};
use crate::interrupt;

/// Between two looks at everything that is waited for.
const TICK: Duration = Duration::from_millis(100);
const TAIL: usize = 30;
/// For reading the journal after the last step, and for switching off.
const LAST_LOOK: Duration = Duration::from_secs(5 * 60);

/// Why a step ends before its end.
pub(super) enum Stop {
    /// It came out wrong.
    Wrong(Mismatch),
    /// Its time is up.
    Late,
    /// It could not be carried out.
    Failure(TestFailure),
}

impl From<Mismatch> for Stop {
    fn from(mismatch: Mismatch) -> Self {
        Self::Wrong(mismatch)
    }
}

impl From<TestFailure> for Stop {
    fn from(failure: TestFailure) -> Self {
        Self::Failure(failure)
    }
}

/// What one look at something that is waited for says.
pub(super) enum Look<T> {
    /// It is there.
    Here(T),
    /// It is not; this is what there is instead.
    NotYet(String),
}

pub(super) struct Run<'a> {
    pub(super) spec: &'a TestSpec,
    pub(super) events: &'a dyn Fn(Event),
    /// The box that the step under way acts on.
    pub(super) guest: Guest<'a>,
    others: Vec<Guest<'a>>,
    pub(super) variables: Variables,
    /// Messages that are being sent.
    pub(super) load: Option<Load>,
    /// When the running step must have ended, and how long it had.
    pub(super) deadline: Instant,
    limit: Duration,
    started: Instant,
    pub(super) times: Times,
    /// Whether a test has begun on this machine, and whether the one under way is the first.
    used: bool,
    first: bool,
}

/// From the test's start: that is the first power-on, for the first one on a machine.
#[derive(Default)]
pub(super) struct Times {
    kernel: Option<Duration>,
    pub(super) ssh: Option<Duration>,
    pub(super) message: Option<Duration>,
}

impl<'a> Run<'a> {
    /// Prepares the machine, and does not start it yet.
    pub(super) fn new(
        spec: &'a TestSpec,
        setup: &'a Setup<'a>,
        events: &'a dyn Fn(Event),
    ) -> Result<Self, TestFailure> {
        let guests = 1 + setup.others.len();
        let cable = |number, far: &str| {
            (guests > 1).then(|| Cable { number, far: format!("{far}/{CABLE}") })
        };
        // The other one's folder is in the first one's.
        let far = setup.others.first().map_or("", |(name, _)| name);
        let first = Guest::new(None, spec, setup, guests as u64, cable(1, far))?;
        let others = (2..).zip(setup.others).map(|(number, (name, setup))| {
            Guest::new(Some(name), spec, setup, guests as u64, cable(number, ".."))
        });
        let others = others.collect::<Result<_, _>>()?;
        let now = Instant::now();
        Ok(Self {
            spec,
            events,
            guest: first,
            others,
            variables: given(setup),
            load: None,
            deadline: now + spec.timeout,
            limit: spec.timeout,
            started: now,
            times: Times::default(),
            used: false,
            first: false,
        })
    }

    /// Runs a test: the one that this was made for, or another one that can come after it.
    pub(super) fn test(&mut self, spec: &'a TestSpec, last: bool) -> Result<Report, TestFailure> {
        let result = self.begin(spec).and_then(|()| self.all(last));
        (self.events)(Event::End);
        result
    }

    /// What other tests have left does not count.
    fn begin(&mut self, spec: &'a TestSpec) -> Result<(), TestFailure> {
        self.turn_to(None);
        self.spec = spec;
        self.variables = given(self.guest.setup);
        self.guests().for_each(|guest| guest.sessions = Sessions::default());
        self.times = Times::default();
        self.started = Instant::now();
        self.first = !self.used;
        if self.used {
            self.guests().for_each(|guest| guest.console.allow(&spec.console_may_say));
            return Ok(());
        }
        self.used = true;
        for name in self.names() {
            self.turn_to(name);
            self.power_on()?;
        }
        self.turn_to(None);
        for note in &self.guest.make.hardware.notes {
            (self.events)(Event::Note(note.clone()));
        }
        (self.events)(Event::PowerOn {
            accel: self.guest.make.hardware.accel,
            memory: self.guest.make.hardware.memory,
            log: self.guest.console.path().to_owned(),
        });
        Ok(())
    }

    fn all(&mut self, last: bool) -> Result<Report, TestFailure> {
        let end = self.started + self.spec.timeout;
        let firmware = self.guest.setup.firmware;
        let ours = |step: &&Step| step.firmware.is_none_or(|only| only == firmware);
        let steps: Vec<_> = self.spec.steps.iter().filter(ours).collect();
        let total = steps.len();
        for (number, step) in (1..).zip(steps) {
            (self.events)(Event::Step { number, total, title: step.title() });
            let start = Instant::now();
            self.limit = step.timeout.min(end.saturating_duration_since(start));
            self.deadline = start + self.limit;
            self.turn_to(step.on.as_deref());
            self.one(&step.action).map_err(|stop| self.failure(number, Some(step), start, stop))?;
        }
        let start = Instant::now();
        self.last_look(last).map_err(|stop| self.failure(total + 1, None, start, stop))?;
        self.turn_to(None);
        let of_first = |time: Option<Duration>| time.filter(|_| self.first);
        Ok(Report {
            kernel: of_first(self.times.kernel),
            ssh: of_first(self.times.ssh),
            message: of_first(self.times.message),
            whole: self.started.elapsed(),
            log: self.guest.console.path().to_owned(),
            accel: self.guest.make.hardware.accel,
            memory: self.guest.make.hardware.memory,
            notes: self.guest.make.hardware.notes.clone(),
        })
    }

    fn guests(&mut self) -> impl Iterator<Item = &mut Guest<'a>> {
        std::iter::once(&mut self.guest).chain(&mut self.others)
    }

    fn names(&self) -> Vec<Option<&'a str>> {
        std::iter::once(&self.guest).chain(&self.others).map(|guest| guest.name).collect()
    }

    /// From here on this box is acted on.
    fn turn_to(&mut self, name: Option<&str>) {
        if let Some(index) = self.others.iter().position(|guest| guest.name == name) {
            std::mem::swap(&mut self.guest, &mut self.others[index]);
        }
    }

    fn one(&mut self, action: &Action) -> Result<(), Stop> {
        self.check()?;
        self.perform(action)?;
        self.check()
    }

    /// Searches the journal; if this was the `last` test, stops the machine and reads its last words.
    fn last_look(&mut self, last: bool) -> Result<(), Stop> {
        (self.events)(Event::After("the journal is searched"));
        for name in self.names() {
            self.turn_to(name);
            self.within_last_look();
            self.look_at_journal()?;
        }
        self.check()?;
        if !last {
            return Ok(());
        }
        if self.spec.boot != Boot::Own {
            (self.events)(Event::After("the machine is switched off"));
            self.within_last_look();
            self.power_off()?;
        }
        self.guests().for_each(|guest| guest.machine = None);
        self.check()?;
        for name in self.names() {
            self.turn_to(name);
            let trouble = self.guest.console.last_words();
            trouble.map_or(Ok(()), |trouble| Err(Stop::from(trouble)))?;
        }
        self.guests().for_each(|guest| qemu::discard(&guest.make));
        Ok(())
    }

    fn within_last_look(&mut self) {
        self.limit = LAST_LOOK;
        self.deadline = Instant::now() + self.limit;
    }

    fn failure(
        &mut self,
        number: usize,
        step: Option<&Step>,
        start: Instant,
        stop: Stop,
    ) -> TestFailure {
        let wrong = match stop {
            Stop::Wrong(mismatch) => mismatch,
            Stop::Late => Mismatch::new("an end of this step", self.late("it was still under way")),
            Stop::Failure(failure) => return failure,
        };
        let (after, tail) = (start.elapsed(), self.guest.console.tail(TAIL));
        let diagnosis = self.diagnose();
        TestFailure::Step(Box::new(StepFailure {
            test: self.spec.name.clone(),
            guest: self.guest.name.map(str::to_owned),
            firmware: self.guest.setup.firmware.name(),
            number,
            total: self.spec.steps.len(),
            title: step.map_or_else(String::new, Step::title),
            after,
            expected: wrong.expected,
            got: wrong.got,
            tail,
            units: diagnosis.units,
            journal: diagnosis.journal,
            log: self.guest.console.path().to_owned(),
        }))
    }

    fn late(&self, state: &str) -> String {
        format!("{state}, when its time ({}) was up", shown(self.limit))
    }

    /// Switches the machine on.
    pub(super) fn power_on(&mut self) -> Result<(), TestFailure> {
        self.new_boot();
        self.guest.machine = Some(Machine::start(&self.guest.make)?);
        Ok(())
    }

    /// From here on, what was seen before does not count.
    pub(super) fn new_boot(&mut self) {
        self.guest.console.new_boot();
        self.guest.reachable = false;
        self.guest.ssh.let_go();
        self.guest.seen = None;
    }

    /// The machine's ports on this host.
    pub(super) fn ports(&self) -> Result<BTreeMap<u16, u16>, Stop> {
        let off = || Mismatch::new("a running machine", "it is off: a power-on step is missing");
        Ok(self.guest.machine.as_ref().ok_or_else(off)?.ports.clone())
    }

    /// Whether all is well: nobody interrupts, the console is clean, QEMU runs, there is time left.
    pub(super) fn check(&mut self) -> Result<(), Stop> {
        interrupt::check().map_err(TestFailure::from)?;
        self.guest.check()?;
        self.note_kernel();
        let others = self.others.iter_mut();
        if let Some((index, stop)) =
            others.enumerate().find_map(|(index, guest)| Some((index, guest.check().err()?)))
        {
            // It is this one that has to say what is the matter.
            std::mem::swap(&mut self.guest, &mut self.others[index]);
            return Err(stop);
        }
        if Instant::now() >= self.deadline { Err(Stop::Late) } else { Ok(()) }
    }

    /// Reads the console on.
    pub(super) fn look_at_console(&mut self) -> Result<(), Stop> {
        let looked = self.guest.look_at_console();
        self.note_kernel();
        looked
    }

    fn note_kernel(&mut self) {
        let is_first = self.guest.name.is_none() && self.times.kernel.is_none();
        if is_first && self.guest.console.says("Linux version") {
            self.times.kernel = Some(self.since_start());
        }
    }

    pub(super) fn since_start(&self) -> Duration {
        self.started.elapsed()
    }

    /// Lets `length` pass, attentively.
    pub(super) fn pause(&mut self, length: Duration) -> Result<(), Stop> {
        let end = Instant::now() + length;
        loop {
            self.check()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(TICK));
        }
    }

    /// Looks every `interval` until what is waited for is here.
    pub(super) fn until<T>(
        &mut self,
        awaited: &str,
        interval: Duration,
        mut look: impl FnMut(&mut Self) -> Result<Look<T>, Stop>,
    ) -> Result<T, Stop> {
        let mut last = String::from("nothing yet");
        loop {
            let result = look(self).and_then(|look| {
                if let Look::NotYet(state) = look {
                    last = state;
                    self.pause(interval)?;
                    return Ok(None);
                }
                Ok(Some(look))
            });
            match result {
                Ok(Some(Look::Here(found))) => return Ok(found),
                Ok(_) => (),
                Err(Stop::Late) => return Err(Mismatch::new(awaited, self.late(&last)).into()),
                Err(stop) => return Err(stop),
            }
        }
    }

    /// Does something that blocks in a thread of its own, attentively. When this gives up,
    /// that goes on until its own time is up.
    pub(super) fn aside<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Stop> {
        let died = || Mismatch::new("an answer", "chatimg's own failure").into();
        wait::aside(TICK, || self.check(), work)?.ok_or_else(died)
    }

    /// Runs a command on the box; `None` if it did not end within `limit`.
    pub(super) fn command(
        &mut self,
        command: &str,
        limit: Option<Duration>,
    ) -> Result<Option<Output>, Stop> {
        self.command_with(command, None, limit)
    }

    /// The same, with a file as the command's standard input.
    pub(super) fn command_with(
        &mut self,
        command: &str,
        stdin: Option<&Path>,
        limit: Option<Duration>,
    ) -> Result<Option<Output>, Stop> {
        let port = self.ssh_port()?;
        let stdin = match stdin {
            Some(path) => fs::File::open(path).map(Stdio::from).map_err(|source| {
                TestFailure::Io { doing: format!("opening {}", path.display()), source }
            })?,
            None => Stdio::null(),
        };
        let running = self.guest.ssh.start(port, command, stdin);
        self.wait(running, limit)
    }

    /// The port of sshd on this host.
    pub(super) fn ssh_port(&self) -> Result<u16, Stop> {
        let ports = self.ports()?;
        Ok(*ports.get(&self.guest.setup.ssh_port).expect("the machine forwards sshd's port"))
    }

    /// Waits for the end of a program on this machine: an ssh client's, say.
    pub(super) fn wait(
        &mut self,
        running: std::io::Result<super::ssh::Running>,
        limit: Option<Duration>,
    ) -> Result<Option<Output>, Stop> {
        let failed =
            |source| Stop::from(TestFailure::Io { doing: "running a program".to_owned(), source });
        let mut running = running.map_err(failed)?;
        wait::ended(&mut running, limit, TICK / 2, failed, || self.check())
    }

    /// `text` with its variables filled in.
    pub(super) fn fill(&self, text: &str) -> Result<String, Stop> {
        text::fill(text, &self.variables).map_err(|name| {
            let got = "nothing: no step before this one saved it";
            Mismatch::new(format!("a value of the variable '{name}'"), got).into()
        })
    }

    /// Keeps a value for later steps.
    pub(super) fn save(&mut self, name: Option<&str>, value: &str) {
        if let Some(name) = name {
            self.variables.insert(name.to_owned(), value.to_owned());
        }
    }
}

/// What a test knows before its first step.
fn given(setup: &Setup<'_>) -> Variables {
    let images = setup.images.iter();
    let images = images.map(|(name, dir)| (name.clone(), dir.display().to_string()));
    let given = text::GIVEN.map(str::to_owned).into_iter().zip([
        setup.domain.to_owned(),
        setup.admin.to_owned(),
        setup.ssh_port.to_string(),
    ]);
    given.chain(images).collect()
}

impl From<super::console::Trouble> for Stop {
    fn from(trouble: super::console::Trouble) -> Self {
        let got = format!("\"{}\": {}", trouble.line.trim(), trouble.why);
        Mismatch::new("a console and a journal without signs of trouble", got).into()
    }
}
