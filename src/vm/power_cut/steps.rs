//! The steps that record, and that start what every power cut leaves.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::cuts::{self, Cut, Found, Kept, Places, State};
use super::record::{Log, Recorder, Waiting, What};
use crate::image::layout::{Layout, Part};
use crate::image::punch_hole;
use crate::vm::Event;
use crate::vm::drives::Medium;
use crate::vm::failure::TestFailure;
use crate::vm::judge::Mismatch;
use crate::vm::run::{Look, Run, Stop};
use crate::vm::spec::ReplayPowerCuts;

const INTERVAL: Duration = Duration::from_secs(2);
/// For GRUB, and the kernel's first lines.
const START_LIMIT: Duration = Duration::from_secs(5 * 60);
/// For a box that a cut has left on trial: it may have to go back.
const SETTLE_LIMIT: Duration = Duration::from_secs(45 * 60);
const WRITES: &str = "scratch-writes.raw";
/// Files of each disk: what the recorded machine works on, what it began with, where it gets at the former.
const LIVE: [&str; 2] = ["scratch-", ".raw"];
const BEFORE: [&str; 2] = ["replay-", ".raw"];
const SOCKET: [&str; 2] = ["nbd-", ".sock"];
/// What undoing a kept piece may take in memory. Longer ones are discards, which a disk may as well forget.
const LONGEST_UNDO: u64 = 64 << 20;

/// The disks after a cut, which are changed as the log says.
struct Replay<'a> {
    log: &'a Log,
    disks: Vec<File>,
    done: usize,
    waiting: Waiting,
}

/// What GRUB started.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Choice {
    slot: usize,
    id: String,
}

impl Run<'_> {
    /// From here on all writes and flushes of the machine, which must be off, are recorded.
    pub(in crate::vm) fn record_writes(&mut self) -> Result<(), Stop> {
        self.must_be_off()?;
        let count = self.make.drives.count();
        let [live, sockets] = [LIVE, SOCKET].map(|name| names(name, count));
        for copies in [&live, &names(BEFORE, count)] {
            self.make.drives.copy(&self.make, copies)?;
        }
        let paths = |names: &[String]| self.paths(names);
        let recorder =
            Recorder::start(&paths(&live), &paths(&sockets), &self.make.work.join(WRITES));
        self.recorder = Some(recorder.map_err(failed("recording the disks"))?);
        self.make.drives.change_media(Medium::Recorded, sockets);
        Ok(())
    }

    /// Ends the recording, and starts what power cuts in it leave.
    pub(in crate::vm) fn replay_power_cuts(&mut self, step: &ReplayPowerCuts) -> Result<(), Stop> {
        self.must_be_off()?;
        let Some(recorder) = self.recorder.take() else {
            return Err(Mismatch::new("a recording", "none: record-writes comes first").into());
        };
        let log = recorder.end();
        let disks = names(BEFORE, self.make.drives.count());
        let before = self.paths(&disks);
        let target = self.setup.target;
        let layout = Layout::new("", target.slot_size, target.disks);
        let layout =
            layout.map_err(|error| failed("placing the slots")(io::Error::other(error)))?;
        let places = Places { slots: [layout.span(Part::RootA), layout.span(Part::RootB)] };
        let dirs: Vec<&Path> = std::iter::once(self.setup.image)
            .chain(self.setup.images.values().map(PathBuf::as_path))
            .collect();
        let roots: Vec<PathBuf> = dirs.iter().map(|dir| dir.join("root.img")).collect();
        let ids: Vec<String> = dirs
            .iter()
            .map(|dir| dir.file_name().unwrap_or_default().to_string_lossy().into_owned())
            .collect();
        let found = cuts::find(&log, &before, &places, &roots, step.random, step.seed)
            .map_err(failed("going through the recording"))?;
        let Found { cuts, writes, flushes, states } = &found;
        self.say(format!("{writes} writes, {flushes} flushes, {states} states of what starts it"));

        let open = |path: &PathBuf| File::options().read(true).write(true).open(path);
        let opened = before.iter().map(open).collect::<io::Result<Vec<_>>>();
        let mut replay = Replay {
            log: &log,
            disks: opened.map_err(failed("opening the replayed disks"))?,
            done: 0,
            waiting: Waiting::none(before.len()),
        };
        self.make.drives.change_media(Medium::Replayed, disks);
        let mut judged: BTreeMap<&State, Choice> = BTreeMap::new();
        let mut started = BTreeMap::<String, usize>::new();
        let boots = step.boots.min(cuts.len());
        for (number, cut) in cuts.iter().enumerate() {
            let whole = (number + 1) * boots / cuts.len() > number * boots / cuts.len();
            if judged.contains_key(&cut.state) && !whole {
                continue;
            }
            replay.advance(cut.at).map_err(failed("replaying"))?;
            let undo = replay.keep(&cut.kept).map_err(failed("replaying"))?;
            let wrong = |stop| told(stop, cut, &log, step.seed);
            if !judged.contains_key(&cut.state) {
                let choice = self.grubs_choice().map_err(wrong)?;
                sound(&choice, &cut.state, &ids).map_err(|stop| wrong(stop.into()))?;
                judged.insert(&cut.state, choice);
            }
            if whole {
                let id = self.whole_start(step, &ids).map_err(wrong)?;
                *started.entry(id).or_default() += 1;
            }
            replay.take_back(undo).map_err(failed("replaying"))?;
        }
        let counts: Vec<_> = started.iter().map(|(id, count)| format!("{count} to {id}")).collect();
        self.say(format!(
            "GRUB started {} states; {boots} whole starts: {}",
            judged.len(),
            counts.join(", ")
        ));
        Ok(())
    }

    fn paths(&self, names: &[String]) -> Vec<PathBuf> {
        names.iter().map(|name| self.make.work.join(name)).collect()
    }

    fn say(&self, what: String) {
        (self.events)(Event::Note(format!("power cuts: {what}")));
    }

    /// Starts the machine until its kernel tells what it was started with.
    fn grubs_choice(&mut self) -> Result<Choice, Stop> {
        self.power_on()?;
        let start = Instant::now();
        let choice = self.until("a kernel's command line", INTERVAL / 10, |run| {
            if let Some(choice) = run.console.line("Command line:").and_then(choice) {
                return Ok(Look::Here(choice));
            }
            if start.elapsed() < START_LIMIT {
                return Ok(Look::NotYet("no kernel".to_owned()));
            }
            Err(Mismatch::new("a kernel that starts", run.console.tail(3).join("; ")).into())
        });
        self.machine = None;
        choice
    }

    /// Starts the machine, waits until it is done with what the cut interrupted. Gives back which image runs.
    fn whole_start(&mut self, step: &ReplayPowerCuts, ids: &[String]) -> Result<String, Stop> {
        const ASK: &str = "if sudo test -e /state/.chatimg/switch; then echo a switch; exit; fi; \
            systemctl is-system-running --wait >/dev/null; systemctl --failed --no-legend --plain; \
            cat /proc/cmdline";
        self.power_on()?;
        let start = Instant::now();
        let id = self.until("a box that has come to rest", INTERVAL, |run| {
            run.wait_ssh()?;
            let output = run.command(ASK, Some(SETTLE_LIMIT))?;
            let said = output.map_or_else(String::new, |output| output.stdout + &output.stderr);
            let choice = choice(&said).filter(|_| said.trim().lines().count() == 1);
            match choice {
                Some(choice) => Ok(Look::Here(choice.id)),
                None if start.elapsed() < SETTLE_LIMIT => Ok(Look::NotYet(said)),
                None => {
                    Err(Mismatch::new("a box that comes to rest, without failed units", said)
                        .into())
                }
            }
        })?;
        if !ids.contains(&id) {
            return Err(Mismatch::new(ids.join(" or "), id).into());
        }
        self.until("the message from before", INTERVAL, |run| match run.matrix_read(&step.read) {
            Ok(()) => Ok(Look::Here(())),
            // The server may not be up yet.
            Err(Stop::Wrong(Mismatch { got, .. })) if start.elapsed() < SETTLE_LIMIT => {
                Ok(Look::NotYet(got))
            }
            Err(stop) => Err(stop),
        })?;
        self.machine = None;
        Ok(id)
    }
}

/// The image that was started is whole in that slot, on every disk.
fn sound(choice: &Choice, state: &State, ids: &[String]) -> Result<(), Mismatch> {
    let image = ids.iter().position(|id| *id == choice.id);
    let holding: Vec<_> = state.slots.iter().map(|slots| slots[choice.slot]).collect();
    if image.is_some() && holding.iter().all(|held| *held == image) {
        return Ok(());
    }
    let names = |held: &Option<usize>| held.map_or("no whole image", |index| &ids[index]);
    let holding: Vec<_> = holding.iter().map(names).collect();
    let Choice { slot, id } = choice;
    let got = format!("slot {slot} was started as {id}, the disks hold {}", holding.join(" and "));
    Err(Mismatch::new("the start of an image that is whole", got))
}

/// From the kernel's command line.
fn choice(line: &str) -> Option<Choice> {
    let value = |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name));
    let slot = match value("chatimg.slot=")? {
        "a" => 0,
        "b" => 1,
        _ => return None,
    };
    Some(Choice { slot, id: value("chatimg.id=")?.to_owned() })
}

/// Says which cut it was.
fn told(stop: Stop, cut: &Cut, log: &Log, seed: u64) -> Stop {
    let Stop::Wrong(Mismatch { expected, got }) = stop else { return stop };
    let kept = match &cut.kept {
        Kept::Nothing => "nothing".to_owned(),
        Kept::All => "all".to_owned(),
        Kept::Pieces(pieces) => format!("{} writes", pieces.len()),
    };
    let (at, count) = (cut.at, log.entries.len());
    let after = format!("power cut after {at} of {count} writes and flushes");
    let got = format!("{got} ({after}, keeping {kept} of what was not flushed; seed {seed})");
    Mismatch { expected, got }.into()
}

fn names([start, end]: [&str; 2], count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("{start}{number}{end}")).collect()
}

fn failed(doing: &str) -> impl Fn(io::Error) -> TestFailure {
    move |source| TestFailure::Io { doing: doing.to_owned(), source }
}

type Undo = Vec<(usize, u64, Vec<u8>)>;

impl Replay<'_> {
    /// Has all happen up to entry `to`, on disks that forget what was not flushed.
    fn advance(&mut self, to: usize) -> io::Result<()> {
        while self.done < to {
            for number in self.waiting.pass(self.done, self.log.entries[self.done]) {
                self.write(number, u64::MAX)?;
            }
            self.done += 1;
        }
        Ok(())
    }

    /// Adds what was kept though it was not flushed.
    fn keep(&self, kept: &Kept) -> io::Result<Undo> {
        let mut undo = Undo::new();
        for piece in cuts::pieces(self.log, &self.waiting, kept) {
            let entry = self.log.entries[piece.entry];
            let What::Write { offset, .. } = entry.what else { continue };
            if piece.len <= LONGEST_UNDO {
                let mut bytes = vec![0; piece.len as usize];
                self.disks[entry.disk].read_exact_at(&mut bytes, offset)?;
                undo.push((entry.disk, offset, bytes));
                self.write(piece.entry, piece.len)?;
            }
        }
        Ok(undo)
    }

    fn take_back(&self, undo: Undo) -> io::Result<()> {
        undo.into_iter()
            .rev()
            .try_for_each(|(disk, offset, bytes)| self.disks[disk].write_all_at(&bytes, offset))
    }

    /// Carries out a write, or the first `most` bytes of it.
    fn write(&self, number: usize, most: u64) -> io::Result<()> {
        let entry = self.log.entries[number];
        let What::Write { offset, len, at } = entry.what else { return Ok(()) };
        let (disk, len) = (&self.disks[entry.disk], len.min(most));
        if at.is_none() {
            // A hole of no length is none.
            return if len == 0 { Ok(()) } else { punch_hole(disk, offset, len) };
        }
        let mut bytes = vec![0; len as usize];
        self.log.read(at, 0, &mut bytes)?;
        disk.write_all_at(&bytes, offset)
    }
}
