//! `chatimg test`.

mod flashed;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use super::CommandError;
use super::context::Context;
use crate::appliance::{Firmware, Plan, Protocol};
use crate::diagnostic::nearest;
use crate::image;
use crate::lock::Group;
use crate::pipeline::BuildError;
use crate::ui::Phases;
use crate::vm::{self, Event, Report, Setup, TestSpec};

/// How often a test is started when QEMU itself crashes.
const TRIES: u32 = 3;

/// Boot the newest image in QEMU and run qemu-tests/ on it
///
/// The machine is a virtual twin of the target. The image is not written to: each test works on a scratch disk over it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chatimg test
  chatimg test smoke --firmware uefi")]
pub struct Args {
    /// Tests by name; all of them if none is named
    names: Vec<String>,
    /// Boot with this firmware only; a test that is not for it is left out [default: each that the test
    /// and the target name]
    #[arg(long, value_enum)]
    firmware: Option<Choice>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Choice {
    Bios,
    Uefi,
}

impl From<Choice> for Firmware {
    fn from(choice: Choice) -> Self {
        match choice {
            Choice::Bios => Self::Bios,
            Choice::Uefi => Self::Uefi,
        }
    }
}

pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let plan = context.plan()?;
    let lock = context.lock()?;
    let tests = chosen(&context.project().join("qemu-tests"), &args.names)?;
    let image = image::current(&context.images())?
        .ok_or("there is no image to test; run `chatimg build` first")?;
    let (tools, known) = context.build(&plan, &lock, |build| {
        context.fetch(build, &[Group::Vm])?;
        Ok::<_, BuildError>((build.tools(Group::Vm)?.0, build.known()?))
    })?;
    if known.as_ref() != Some(&image.id) {
        context.ui.warn(
            "the image was built of something else than is here now, and is tested with what is here now; \
             run `chatimg build` first to test that",
        );
    }
    context.ui.say(format!("testing image {}", image.id));
    let work = context.images().join(".tests");
    let _lock = only_one(&work)?;
    let images = image.disks();
    let program = program(context)?;
    let (mut ran, mut failed) = (0, 0);
    let said = Said::default();
    for test in &tests {
        let disks = plan.target.disks;
        if let Some(raid) = test.raid.filter(|raid| *raid != disks) {
            let (wanted, is) = (raid.raid(), disks.raid());
            context.ui.say(format!(
                "{}: left out: it is for raid = \"{wanted}\", the target has \"{is}\"",
                test.name
            ));
            continue;
        }
        let mut variants = BTreeMap::new();
        for (name, files) in &test.images {
            let dir = work.join("images");
            let image = context.build(&plan, &lock, |build| build.variant(files, &dir))?;
            variants.insert(name.clone(), image.dir.canonicalize()?);
        }
        for firmware in firmwares(test, &plan, args.firmware) {
            ran += 1;
            let name = format!("{}-{}", test.name, firmware.name());
            let work = work.join(&name);
            let key = work.join("owner.key");
            let flashed = test.flash.map(|to| flashed::flash(&image, test, to, &work, &key));
            let flashed = flashed.transpose()?;
            let setup = Setup {
                image: &image.dir,
                disks: flashed.as_deref().unwrap_or(&images),
                tools: &tools,
                target: &plan.target,
                domain: &plan.domain,
                admin: &plan.admin.name,
                ssh_port: plan
                    .ssh_port()
                    .ok_or("the appliance has no overlay 'ssh', which tests log in by")?,
                ports: &tcp_ports(&plan),
                firmware,
                program: &program,
                key: &key,
                images: &variants,
                work: &work,
            };
            match with_patience(context, &said, test, &setup) {
                Ok(report) => {
                    // After a failure they stay, for a look at them.
                    flashed.iter().flatten().try_for_each(fs::remove_file)?;
                    context.ui.say(passed(&name, &report));
                }
                Err(error) if crate::interrupt::requested() => return Err(error.into()),
                Err(error) => {
                    failed += 1;
                    context.ui.error(&error);
                }
            }
        }
    }
    match failed {
        0 if ran == 0 => Err("no chosen test is for the target's firmware and disks".into()),
        0 => Ok(()),
        1 => Err("one test failed".into()),
        _ => Err(format!("{failed} tests failed").into()),
    }
}

/// This program, with the options that have its children work on the same things.
fn program(context: &Context<'_>) -> Result<Vec<OsString>, CommandError> {
    let mut words = vec![std::env::current_exe()?.into_os_string(), "--appliance".into()];
    words.push(context.appliance.canonicalize()?.into_os_string());
    words.push("--store".into());
    words.push(context.store.root().canonicalize()?.into_os_string());
    Ok(words)
}

/// Runs a test; anew, if QEMU itself crashed.
fn with_patience(
    context: &Context<'_>,
    said: &Said,
    test: &TestSpec,
    setup: &Setup<'_>,
) -> Result<Report, vm::TestFailure> {
    for _ in 1..TRIES {
        match one(context, said, test, setup) {
            Err(error @ vm::TestFailure::Crashed { .. }) => {
                let again = format!("that is no fault of the image: starting {} anew", test.name);
                context.ui.warn(format!("{error}; {again}"));
            }
            result => return result,
        }
    }
    one(context, said, test, setup)
}

/// Notes that were shown: each is told once, not with every test.
type Said = Mutex<BTreeSet<String>>;

fn one(
    context: &Context<'_>,
    said: &Said,
    test: &TestSpec,
    setup: &Setup<'_>,
) -> Result<Report, vm::TestFailure> {
    let phases = Mutex::new(Phases::new(context.ui));
    vm::run(test, setup, &|event| {
        let mut phases = phases.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match event {
            Event::Note(note) => {
                if said.lock().is_ok_and(|mut said| said.insert(note.clone())) {
                    context.ui.note(note);
                }
            }
            Event::PowerOn { log, .. } => phases.detail(&log.display().to_string()),
            Event::Step { number, total, title } => {
                phases.begin(&format!("{number:>2}/{total} {title}"));
            }
            Event::Passed { .. } => {}
        }
    })
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

/// The tests of these names, or all there are.
fn chosen(dir: &Path, names: &[String]) -> Result<Vec<TestSpec>, CommandError> {
    let mut paths: Vec<PathBuf> = match fs::read_dir(dir) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(error) => return Err(format!("listing {}: {error}", dir.display()).into()),
    };
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    let stem = |path: &PathBuf| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let known: Vec<String> = paths.iter().map(stem).collect();
    if let Some(name) = names.iter().find(|name| !known.contains(name)) {
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let hint = match nearest(name, &known) {
            Some(near) => format!("did you mean '{near}'?"),
            None => format!("there are: {}", known.join(", ")),
        };
        return Err(format!("there is no test '{name}' in {}; {hint}", dir.display()).into());
    }
    paths.retain(|path| names.is_empty() || names.contains(&stem(path)));
    if paths.is_empty() {
        return Err(format!("there are no tests in {}", dir.display()).into());
    }
    Ok(paths.iter().map(|path| vm::load_test(path)).collect::<Result<_, _>>()?)
}

fn firmwares(test: &TestSpec, plan: &Plan, choice: Option<Choice>) -> Vec<Firmware> {
    let wanted = |firmware: &&Firmware| {
        choice.is_none_or(|choice| Firmware::from(choice) == **firmware)
            && test.firmware.as_ref().is_none_or(|firmwares| firmwares.contains(firmware))
    };
    plan.target.firmware.iter().filter(wanted).copied().collect()
}

fn tcp_ports(plan: &Plan) -> Vec<u16> {
    let ports = plan.overlays.iter().flat_map(|overlay| &overlay.ports);
    ports
        .filter(|port| port.open && port.protocol == Protocol::Tcp)
        .flat_map(|port| port.number..=port.to)
        .collect()
}

/// Keeps a second `chatimg test` off the same folder for as long as this one runs.
fn only_one(work: &Path) -> Result<File, CommandError> {
    let open = || {
        fs::create_dir_all(work)?;
        File::create(work.join("lock"))
    };
    let file = open().map_err(|error| format!("opening {}: {error}", work.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => {
            Err(format!("another `chatimg test` works in {}; wait for it", work.display()).into())
        }
    }
}
