//! Puts an image on disks so that at no moment a disk starts half of it.
//!
//! ```text
//! open      a disk that nobody uses, for this process alone         nothing is written
//! wipe      partition tables, and what old systems left at the end  from here on nothing starts
//! clear     what has to be zero
//! write     everything but the partition tables
//! verify    all of that, read back from the disk
//! table     backup, primary, and last the first sector              now it starts, and is whole
//! ```
//!
//! Each step is durable (flushed) before the next begins, on all disks: of a mirror either both legs start or none. The
//! backup table lies at the end of the image; the box moves it to the end of the disk at its first boot.

mod error;
mod job;
mod medium;
mod pipe;
mod plan;
pub(crate) mod source;
mod target;

pub use error::{Fault, FlashError, Left};
pub use source::{Extent, Leg, Source};
pub use target::Target;

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::thread::ScopedJoinHandle;

use super::device::Machine;
use super::sys;
use job::{Common, Job};
use medium::{Medium, Raw};
use target::Opened;

/// What to put where.
#[derive(Clone, Copy)]
pub struct FlashSpec<'a> {
    /// The image.
    pub source: &'a Source,
    /// As many as the image has legs.
    pub targets: &'a [Target],
    /// Host settings as the box reads them, for the start of the settings partition. They are secret.
    pub settings: Option<&'a [u8]>,
}

impl fmt::Debug for FlashSpec<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, targets, settings } = self;
        let settings = settings.map(<[u8]>::len);
        write!(f, "FlashSpec {{ {}, {targets:?}, settings: {settings:?} bytes }}", source.id)
    }
}

/// What is done to a disk. Small steps are not told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// What has to be zero is made so.
    Clearing,
    /// Contents are written.
    Writing,
    /// Everything is read back.
    Verifying,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which of the targets.
    pub target: usize,
    /// What is done.
    pub step: Step,
    /// Bytes done.
    pub done: u64,
    /// Bytes of this step.
    pub total: u64,
}

/// Puts the image on all targets, at the same time.
///
/// # Errors
/// The targets are not fit, in which case nothing was written; or writing failed or was interrupted, and the error says
/// how the disks are.
pub fn flash(
    machine: &Machine,
    spec: &FlashSpec<'_>,
    events: &(dyn Fn(Event) + Sync),
) -> Result<(), FlashError> {
    check(spec)?;
    let stop = AtomicBool::new(false);
    let settings = spec.settings.unwrap_or_default();
    let common = Common { settings, events, stop: &stop };
    let (mut jobs, mut files) = (Vec::new(), Vec::new());
    for (index, (leg, target)) in spec.source.legs.iter().zip(spec.targets).enumerate() {
        let Opened { label, size, medium, file } = target.open(machine, leg.size)?;
        jobs.push(Job::new(index, leg, (label, medium, size), common)?);
        files.extend(file);
    }
    let forget_partitions = |job: &Job<'_, Raw>| {
        // Nobody had one open, but not every disk has partitions. The ones that it gets are of no use here; where
        // `udev` runs, it makes them known as soon as the disk is closed.
        _ = sys::reread_partitions(&job.medium.file);
    };
    put(&jobs, &forget_partitions).map_err(|error| match error {
        FlashError::Stopped { fault, .. } if !files.is_empty() => {
            FlashError::Stopped { fault, left: Left::Removed }
        }
        error => error,
    })?;
    files.into_iter().try_for_each(|(file, path)| target::name(file, &path))
}

/// Whether what is asked for goes together. [`flash`] looks, too; this is for before the user is asked anything.
///
/// # Errors
/// More or fewer targets than legs, the same one twice, or settings that do not fit.
pub fn check(spec: &FlashSpec<'_>) -> Result<(), FlashError> {
    let FlashSpec { source, targets, settings } = spec;
    let (needs, given) = (source.legs.len(), targets.len());
    if needs != given {
        let advice = if needs > given {
            "name a disk for each of them, or set raid = \"none\" below [target] and build again"
        } else {
            "name fewer, or set raid = \"mirror\" below [target] and build again"
        };
        return Err(FlashError::Count { id: source.id.clone(), needs, given, advice });
    }
    for (index, target) in targets.iter().enumerate() {
        if targets[..index].iter().any(|other| target.is_same(other)) {
            return Err(FlashError::Same { what: target.to_string() });
        }
    }
    let Some(settings) = settings else { return Ok(()) };
    for leg in &source.legs {
        let Some(span) = leg.settings else {
            return Err(FlashError::NoSettings { id: source.id.clone() });
        };
        if settings.len() as u64 > span.len {
            return Err(FlashError::Settings { size: settings.len(), room: span.len });
        }
    }
    Ok(())
}

/// The whole way. `wiped` is called for each disk when its old partitions are gone.
fn put<M: Medium>(jobs: &[Job<'_, M>], wiped: &dyn Fn(&Job<'_, M>)) -> Result<(), FlashError> {
    let names = || jobs.iter().map(|job| job.label.clone()).collect::<Vec<_>>();
    let stopped = |left: fn(Vec<String>) -> Left| {
        let left = left(names());
        move |fault| FlashError::Stopped { fault, left }
    };
    each(jobs, Job::wipe).map_err(stopped(Left::Wiping))?;
    jobs.iter().for_each(wiped);
    each(jobs, Job::clear).map_err(stopped(Left::Blank))?;
    each(jobs, Job::write).map_err(stopped(Left::Blank))?;
    each(jobs, Job::verify).map_err(stopped(Left::Blank))?;
    each(jobs, Job::write_table).map_err(|fault| {
        // Of each, whatever becomes of the others.
        let there = jobs.iter().filter(|job| job.unmake().is_err()).count();
        stopped(if there == 0 { Left::Blank } else { Left::Unsure })(fault)
    })
}

/// The same step on all disks, each in a thread of its own. When one fails, the others stop, too.
fn each<'a, M: Medium>(
    jobs: &[Job<'a, M>],
    step: impl Fn(&Job<'a, M>) -> Result<(), Fault> + Sync,
) -> Result<(), Fault> {
    let run = |job| step(job).inspect_err(|_| Job::stop(job));
    let results = std::thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = jobs.iter().map(|job| scope.spawn(move || run(job))).collect();
        let join = |thread: ScopedJoinHandle<'_, _>| thread.join().expect("no step panics");
        threads.into_iter().map(join).collect::<Vec<Result<(), Fault>>>()
    });
    // That a disk was stopped is no reason by itself.
    let mut faults: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    faults.sort_by_key(|fault| matches!(fault, Fault::Other));
    faults.into_iter().next().map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests;
