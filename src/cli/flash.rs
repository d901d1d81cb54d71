//! `chatimg flash`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::HumanBytes;

use super::CommandError;
use super::context::Context;
use super::host;
use super::key::KeyOption;
use crate::deliver::device::{Disk, Machine, Need};
use crate::deliver::flash::{self, Event, FlashError, FlashSpec, Source, Step, Target};
use crate::image::inventory;
use crate::ui::Transfers;

/// Write the newest image to one disk or two, and read it back
///
/// The box will take the images that your key signs (see `chatimg key`), unless [update] of host.toml names others.
///
/// Everything on the disks is erased. Without --disk or --image-file, the disks of this machine are listed. The
/// partition table comes last, when all else was read back: a disk whose flash was cut short does not start.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  chatimg flash                  # lists the disks
  chatimg flash --disk /dev/sdb --disk /dev/sdc --host host.toml
  chatimg flash --image-file box.img")]
pub struct Args {
    /// Write to this disk; twice for a mirror. Links in /dev/disk/by-id are good names
    #[arg(long, value_name = "DISK", conflicts_with = "image_file")]
    disk: Vec<PathBuf>,
    /// Write to a new file instead, for a provider or a virtual machine
    #[arg(long, value_name = "FILE")]
    image_file: Vec<PathBuf>,
    /// Erase the disk with this serial number (if several have it: SERIAL/NAME) without asking; once for each disk
    #[arg(long, value_name = "SERIAL", requires = "disk")]
    yes_erase: Vec<String>,
    /// What is set for this box alone: its name, network, keys and secrets
    #[arg(long, value_name = "host.toml")]
    host: Option<PathBuf>,
    /// Take this image instead of the newest: its id, or the beginning of it, or its folder
    #[arg(long, value_name = "ID|DIR")]
    image: Option<PathBuf>,
    #[command(flatten)]
    key: KeyOption,
}

pub fn run(args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    let settings = args.host.as_deref().map(|file| host::load(file, context.ui)).transpose()?;
    let machine = Machine::default();
    let source = source(args, context);
    if args.disk.is_empty() && args.image_file.is_empty() {
        list(&machine, source.ok().as_ref(), context)?;
        return Err(
            "no disk was named, so nothing was written; run `chatimg flash --disk DISK`, as root"
                .into(),
        );
    }
    let source = source?;
    let _hold = inventory::hold(&context.image_dir(args.image.as_deref())?);
    let targets = match args.disk.is_empty() {
        true => args.image_file.iter().cloned().map(Target::File).collect(),
        false => disks(args, &machine, &source, context)?,
    };
    let mut settings = settings.unwrap_or_default();
    if !settings.has_update_keys() {
        settings.set_update_key(&args.key.read_or_create(context.ui)?.public());
    } else if !args.key.read().is_ok_and(|key| settings.has_update_key(&key.public())) {
        context.ui.warn(
            "update.keys of the host settings lacks the key of this machine: the box will refuse images that are signed here; \
             leave [update] out, or add the key that `chatimg key show` prints",
        );
    }
    let settings = settings.encode();
    let spec = FlashSpec { source: &source, targets: &targets, settings: Some(&settings) };
    flash::check(&spec)?;
    confirm(args, &machine, &targets, context)?;
    put(&machine, &spec, context)?;
    for target in &targets {
        context.ui.say(format!("image {} is on {target}, and was read back", source.id));
    }
    stop_arrays(&machine, args, context)
}

/// The image that is meant.
fn source(args: &Args, context: &Context<'_>) -> Result<Source, CommandError> {
    let dir = context.image_dir(args.image.as_deref())?;
    Ok(Source::open(&dir)?)
}

/// The disks that were named, if they are fit.
fn disks(
    args: &Args,
    machine: &Machine,
    source: &Source,
    context: &Context<'_>,
) -> Result<Vec<Target>, CommandError> {
    let disk = |path: &PathBuf| {
        let disk = machine.disk(path).map_err(FlashError::from)?;
        let why = disk.objections(Need { size: source.size() });
        if why.is_empty() {
            Ok(disk)
        } else {
            Err(FlashError::Refused { disk: disk.to_string(), why })
        }
    };
    let disks = args.disk.iter().map(disk).collect::<Result<Vec<_>, _>>()?;
    let sizes = || disks.iter().map(|disk| disk.size);
    let (smallest, largest) =
        (sizes().min().unwrap_or_default(), sizes().max().unwrap_or_default());
    if largest - smallest > largest / 50 {
        context.ui.warn(format!(
            "the disks have {} and {}: a mirror is as large as the smaller one, the rest of the other stays unused",
            HumanBytes(smallest),
            HumanBytes(largest)
        ));
    }
    Ok(disks.into_iter().map(Target::Disk).collect())
}

/// Every disk of the machine, and which of them may be written to.
fn list(
    machine: &Machine,
    source: Option<&Source>,
    context: &Context<'_>,
) -> Result<(), CommandError> {
    let disks = machine.disks()?;
    if disks.is_empty() {
        context.ui.say("this machine shows no disks");
    }
    let need = Need { size: source.map_or(0, Source::size) };
    for disk in &disks {
        context.ui.say(described(machine, disk));
        for objection in disk.objections(need) {
            context.ui.say(format!("    not now: {objection}"));
        }
    }
    Ok(())
}

fn described(machine: &Machine, disk: &Disk) -> String {
    format!("{disk}, {}: {}", HumanBytes(disk.size), machine.contents(disk))
}

/// Has the user name each disk that will be erased.
fn confirm(
    args: &Args,
    machine: &Machine,
    targets: &[Target],
    context: &Context<'_>,
) -> Result<(), CommandError> {
    let disks: Vec<_> = targets.iter().filter_map(Target::as_disk).collect();
    let others = machine.disks()?;
    let words: Vec<_> = disks.iter().map(|disk| disk.word(&others)).collect();
    if let Some(wrong) = args.yes_erase.iter().find(|given| !words.contains(given)) {
        return Err(format!(
            "--yes-erase {wrong} is none of the disks that were named: {}; nothing was written",
            words.join(", ")
        )
        .into());
    }
    for (disk, word) in disks.into_iter().zip(&words) {
        if args.yes_erase.contains(word) {
            continue;
        }
        let what = if disk.serial.is_some() {
            "serial number"
        } else {
            "name, for it has no serial number,"
        };
        context.ui.note(described(machine, disk));
        let question =
            format!("All that is on it will be erased. Type its {what} {word} to go on:");
        match context.ui.ask(&question)? {
            Some(answer) if answer == *word => {}
            Some(_) => return Err(format!("that is not {word}; nothing was written").into()),
            None => {
                let advice = format!("there is nobody to ask whether {disk} may be erased");
                return Err(format!("{advice}; add --yes-erase '{word}' if it may").into());
            }
        }
    }
    Ok(())
}

/// On this machine `udev` may start the arrays that were just written. A disk that is taken out then takes along a
/// mirror that knows of a missing half.
fn stop_arrays(machine: &Machine, args: &Args, context: &Context<'_>) -> Result<(), CommandError> {
    if args.disk.len() < 2 || !Path::new("/proc/mdstat").exists() {
        return Ok(());
    }
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(300));
        let mut arrays = BTreeSet::new();
        for path in &args.disk {
            arrays.extend(machine.disk(path).map_err(FlashError::from)?.arrays());
        }
        if !arrays.is_empty() {
            let names: Vec<_> = arrays.iter().map(|name| format!("/dev/{name}")).collect();
            context.ui.warn(format!(
                "this machine has started the new mirror's arrays; before you take the disks out: mdadm --stop {}",
                names.join(" ")
            ));
            break;
        }
    }
    Ok(())
}

/// Writes, and shows how far it is.
fn put(machine: &Machine, spec: &FlashSpec<'_>, context: &Context<'_>) -> Result<(), FlashError> {
    let start = Instant::now();
    let names = spec.targets.iter().map(|target| target.path().display().to_string());
    let transfers = Transfers::new(context.ui, names);
    let events = |Event { target, step, done, total }| {
        let step = match step {
            Step::Clearing => "clearing",
            Step::Writing => "writing",
            Step::Verifying => "verifying",
        };
        transfers.progress(target, step, done, total);
    };
    let result = flash::flash(machine, spec, &events);
    transfers.close();
    result.inspect(|()| {
        let took = start.elapsed().as_secs_f64();
        context.ui.note(format!("written and verified in {took:.1} s"));
    })
}
