//! Where tests run: machine after machine.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::super::CommandError;
use super::super::context::Context;
use super::boots::Boot;
use super::flashed;
use crate::appliance::{self, Change, Firmware, Plan, Protocol};
use crate::image::BuiltImage;
use crate::interrupt;
use crate::lock::{Group, Lock};
use crate::pipeline::Build;
use crate::tools::Tools;
use crate::ui::Phases;
use crate::vm::{Event, Report, Session, Setup, TestFailure, TestSpec};

/// How often a test is started when QEMU itself crashes.
const TRIES: u32 = 3;

/// Notes that were shown: each is told once, not with every test.
pub(super) type Said = Mutex<BTreeSet<String>>;

/// What all tests run on.
pub(super) struct Bench<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) plan: &'a Plan,
    pub(super) lock: &'a Lock,
    pub(super) image: &'a BuiltImage,
    pub(super) tools: &'a Tools,
    /// See [`Setup::program`].
    pub(super) program: &'a [OsString],
    /// The folder of the tests' folders.
    pub(super) work: &'a Path,
    pub(super) said: Said,
}

/// How the tests on one machine ended.
#[derive(Default)]
struct Ended {
    /// How many came to an end.
    judged: usize,
    /// How many of these failed: none, or the last one.
    failed: usize,
}

impl Bench<'_> {
    /// Runs tests that share a machine; what comes after one that failed has a new one. Gives back how many failed.
    pub(super) fn boot(&self, boot: &Boot<'_>) -> Result<usize, CommandError> {
        all_of(&boot.tests, |rest, patient| self.machine(rest, boot.firmware, patient))
    }

    /// Runs tests on one machine, until one fails.
    fn machine(
        &self,
        tests: &[&TestSpec],
        firmware: Firmware,
        patient: bool,
    ) -> Result<Ended, CommandError> {
        let first = tests[0];
        let work = self.work.join(named(first, firmware));
        let key = work.join("owner.key");
        let flashed = first.flash.map(|to| flashed::flash(self.image, first, to, &work, &key));
        let flashed = flashed.transpose()?;
        let disks = flashed.clone().unwrap_or_else(|| self.image.disks());
        let own = match &first.appliance {
            None => Whole::of(self.plan.clone(), self.image.dir.clone(), disks, work)?,
            Some(change) => self.guest(change, work).map_err(|error| {
                format!(
                    "the box of the test {}, which is the appliance with changes:\n{error}",
                    first.name
                )
            })?,
        };
        let others = first.guests.iter().map(|(name, change)| {
            let wrong = |error| {
                format!("the box '{name}' of the test {}, which is the appliance with changes:\n{error}", first.name)
            };
            let other = self.guest(change, own.work.join(name)).map_err(wrong)?;
            Ok((name, other))
        });
        let others = others.collect::<Result<Vec<_>, CommandError>>()?;
        let none = BTreeMap::new();
        let setup = |whole, images, others| self.setup(whole, firmware, &key, images, others);
        let others: Vec<_> = others
            .iter()
            .map(|(name, other)| ((*name).clone(), setup(other, &none, &[])))
            .collect();
        let variants = self.variants(first)?;
        let ended = self.session(tests, &setup(&own, &variants, &others), patient)?;
        if ended.failed == 0 && ended.judged == tests.len() {
            // After a failure they stay, for a look at them.
            flashed.iter().flatten().try_for_each(fs::remove_file)?;
        }
        Ok(ended)
    }

    fn setup<'b>(
        &'b self,
        whole: &'b Whole,
        firmware: Firmware,
        key: &'b Path,
        images: &'b BTreeMap<String, PathBuf>,
        others: &'b [(String, Setup<'b>)],
    ) -> Setup<'b> {
        Setup {
            image: &whole.image,
            disks: &whole.disks,
            tools: self.tools,
            target: &whole.plan.target,
            domain: &whole.plan.domain,
            admin: &whole.plan.admin.name,
            ssh_port: whole.ssh_port,
            ports: &whole.ports,
            firmware,
            program: self.program,
            key,
            images,
            others,
            work: &whole.work,
        }
    }

    /// Another box: the image of an appliance that differs, built if need be.
    fn guest(&self, change: &Change, work: PathBuf) -> Result<Whole, CommandError> {
        let plan = appliance::load_changed(&self.context.appliance, change)?;
        let images = self.work.join("guests");
        let image = self.context.build(&plan, self.lock, |build| {
            let build = Build { images: &images, ..*build };
            build.run(&|| self.context.fetch(&build, &[Group::Image, Group::Build]))
        })?;
        self.context.keep_uses("tests", !image.found);
        let disks = image.disks();
        Whole::of(plan, image.dir, disks, work)
    }

    /// The images that a test updates to.
    fn variants(&self, test: &TestSpec) -> Result<BTreeMap<String, PathBuf>, CommandError> {
        let dir = self.work.join("images");
        let variants = test.images.iter().map(|(name, files)| {
            let built =
                self.context.build(self.plan, self.lock, |build| build.variant(files, &dir))?;
            Ok((name.clone(), built.dir.canonicalize()?))
        });
        variants.collect()
    }

    fn session(
        &self,
        tests: &[&TestSpec],
        setup: &Setup<'_>,
        patient: bool,
    ) -> Result<Ended, CommandError> {
        let ui = self.context.ui;
        let phases = Mutex::new(None);
        let events = |event| self.show(&phases, event);
        let mut session = None;
        let mut ended = Ended::default();
        for (index, &test) in tests.iter().enumerate() {
            let last = index + 1 == tests.len();
            let result = match &mut session {
                Some(session) => Session::run(session, test, last),
                none => Session::new(test, setup, &events)
                    .and_then(|session| none.insert(session).run(test, last)),
            };
            match result {
                Ok(report) => ui.say(passed(&named(test, setup.firmware), &report)),
                Err(error) if interrupt::requested() => return Err(error.into()),
                Err(error @ TestFailure::Crashed { .. }) if patient => {
                    let again =
                        format!("that is no fault of the image: starting {} anew", test.name);
                    ui.warn(format!("{error}; {again}"));
                    return Ok(ended);
                }
                Err(error) => {
                    ui.error(&error);
                    ended.failed = 1;
                }
            }
            ended.judged += 1;
            if ended.failed > 0 {
                break;
            }
        }
        Ok(ended)
    }

    fn show<'a>(&'a self, phases: &Mutex<Option<Phases<'a>>>, event: Event) {
        let ui = self.context.ui;
        let mut shown = phases.lock().unwrap_or_else(PoisonError::into_inner);
        let phases = shown.get_or_insert_with(|| Phases::new(ui));
        match event {
            Event::Note(note) => {
                if self.said.lock().is_ok_and(|mut said| said.insert(note.clone())) {
                    ui.note(note);
                }
            }
            Event::PowerOn { log, .. } => phases.detail(&log.display().to_string()),
            Event::Step { number, total, title } => {
                phases.begin(&format!("{number:>2}/{total} {title}"));
            }
            Event::After(what) => phases.begin(what),
            Event::End => *shown = None,
        }
    }
}

/// Runs all tests, with a new `machine` for those that are left whenever one has failed. Gives back how many failed.
fn all_of<T>(
    tests: &[T],
    mut machine: impl FnMut(&[T], bool) -> Result<Ended, CommandError>,
) -> Result<usize, CommandError> {
    let (mut rest, mut failed, mut crashes) = (tests, 0, 0);
    while !rest.is_empty() {
        let ended = machine(rest, crashes + 1 < TRIES)?;
        // A crash of QEMU's ends no test: it is tried again.
        crashes = if ended.judged == 0 { crashes + 1 } else { 0 };
        failed += ended.failed;
        rest = &rest[ended.judged..];
    }
    Ok(failed)
}

/// A box that is tested.
struct Whole {
    plan: Plan,
    /// The image's folder.
    image: PathBuf,
    disks: Vec<PathBuf>,
    ssh_port: u16,
    ports: Vec<u16>,
    work: PathBuf,
}

impl Whole {
    fn of(
        plan: Plan,
        image: PathBuf,
        disks: Vec<PathBuf>,
        work: PathBuf,
    ) -> Result<Self, CommandError> {
        let none = "the appliance has no overlay 'ssh', which tests log in by";
        let (ssh_port, ports) = (plan.ssh_port().ok_or(none)?, tcp_ports(&plan));
        Ok(Self { plan, image, disks, ssh_port, ports, work })
    }
}

fn named(test: &TestSpec, firmware: Firmware) -> String {
    format!("{}-{}", test.name, firmware.name())
}

fn tcp_ports(plan: &Plan) -> Vec<u16> {
    let ports = plan.overlays.iter().flat_map(|overlay| &overlay.ports);
    ports
        .filter(|port| port.open && port.protocol == Protocol::Tcp)
        .flat_map(|port| port.number..=port.to)
        .collect()
}

fn passed(name: &str, report: &Report) -> String {
    let time = |what: &str, time: Option<Duration>| match time {
        Some(time) => format!(", {what} after {:.1} s", time.as_secs_f64()),
        None => String::new(),
    };
    format!(
        "{name}: passed in {:.0} s{}{}{}",
        report.whole.as_secs_f64(),
        time("kernel", report.kernel),
        time("ssh", report.ssh),
        time("first message", report.message),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_failure_the_rest_has_a_new_machine() {
        let mut starts = Vec::new();
        let failed = all_of(&["smoke", "bad", "turn", "worse"], |rest, patient| {
            assert!(patient);
            starts.push(rest[0]);
            let bad = rest.iter().position(|name| matches!(*name, "bad" | "worse"));
            let judged = bad.map_or(rest.len(), |index| index + 1);
            Ok(Ended { judged, failed: usize::from(bad.is_some()) })
        });
        assert_eq!((failed.expect("runs"), starts), (2, vec!["smoke", "turn"]));
    }

    #[test]
    fn a_crash_of_qemu_is_no_failure_but_not_for_ever() {
        let mut tries = Vec::new();
        let failed = all_of(&["smoke", "turn"], |rest, patient| {
            tries.push((rest[0], patient));
            Ok(match (rest[0], patient) {
                ("smoke", _) => Ended { judged: 1, failed: 0 },
                (_, true) => Ended::default(),
                (_, false) => Ended { judged: 1, failed: 1 },
            })
        });
        assert_eq!(failed.expect("runs"), 1);
        assert_eq!(tries[1..], [("turn", true), ("turn", true), ("turn", false)]);
    }
}
