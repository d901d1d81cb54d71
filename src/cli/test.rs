//! `chatimg test`.

mod bench;
mod boots;
mod flashed;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::CommandError;
use super::context::{Context, Machine, only_one};
use crate::appliance::{Firmware, Plan};
use crate::diagnostic::nearest;
use crate::vm::{self, TestSpec};
use bench::{Bench, Said};

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
    let Machine { image, tools, is_of_now, hold: _hold } = context.machine(&plan, &lock, "test")?;
    if !is_of_now {
        context.ui.warn(
            "the image was built of something else than is here now, and is tested with what is here now; \
             run `chatimg build` first to test that",
        );
    }
    context.ui.say(format!("testing image {}", image.id));
    let work = context.images().join(".tests");
    let _lock = only_one(&work, "lock", "test", "wait for it")?;
    let disks = plan.target.disks;
    let of_target = |test: &&TestSpec| {
        let other = test.raid.filter(|raid| *raid != disks && test.appliance.is_none());
        if let Some(raid) = other {
            let (wanted, is) = (raid.raid(), disks.raid());
            context.ui.say(format!(
                "{}: left out: it is for raid = \"{wanted}\", the target has \"{is}\"",
                test.name
            ));
        }
        other.is_none()
    };
    let tests: Vec<_> = tests.iter().filter(of_target).collect();
    let boots = boots::boots(&tests, |test| firmwares(test, &plan, args.firmware));
    if boots.is_empty() {
        return Err("no chosen test is for the target's firmware and disks".into());
    }
    let program = program(context)?;
    let bench = Bench {
        context,
        plan: &plan,
        lock: &lock,
        image: &image,
        tools: &tools,
        program: &program,
        work: &work,
        said: Said::default(),
    };
    let failed = boots.iter().map(|boot| bench.boot(boot));
    match failed.sum::<Result<usize, _>>()? {
        0 => Ok(()),
        1 => Err("one test failed".into()),
        failed => Err(format!("{failed} tests failed").into()),
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
