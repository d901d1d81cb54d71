//! The steps that record, and that start what every power cut leaves.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::cuts::{self, Found, Kept, Wanted};
use super::model::{Candidate, Held, Places, State};
use super::record::{Log, Recorder, Waiting, What};
use crate::image::layout::{Layout, Part};
use crate::image::{RootImage, punch_hole};
use crate::vm::Event;
use crate::vm::drives::Medium;
use crate::vm::failure::TestFailure;
use crate::vm::judge::Mismatch;
use crate::vm::run::{Look, Run, Stop};
use crate::vm::spec::ReplayPowerCuts;

const INTERVAL: Duration = Duration::from_secs(2);
/// For GRUB, the kernel and the initrd, which may have data to put back.
const START_LIMIT: Duration = Duration::from_secs(15 * 60);
/// For a box that a cut has left on trial: it may have to go back.
const SETTLE_LIMIT: Duration = Duration::from_secs(45 * 60);
/// How often one start is tried if QEMU itself crashes.
const CRASHES: usize = 3;
const WRITES: &str = "scratch-writes.raw";
/// Files of each disk: what the recorded machine works on, what it began with, where it gets at the former.
const LIVE: [&str; 2] = ["scratch-", ".raw"];
const BEFORE: [&str; 2] = ["replay-", ".raw"];
const SOCKET: [&str; 2] = ["nbd-", ".sock"];

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
        let count = self.guest.make.drives.count();
        let [live, sockets] = [LIVE, SOCKET].map(|name| names(name, count));
        for copies in [&live, &names(BEFORE, count)] {
            self.guest.make.drives.copy(&self.guest.make, copies)?;
        }
        let paths = |names: &[String]| self.paths(names);
        let recorder =
            Recorder::start(&paths(&live), &paths(&sockets), &self.guest.make.work.join(WRITES));
        self.guest.recorder = Some(recorder.map_err(failed("recording the disks"))?);
        self.guest.make.drives.change_media(Medium::Recorded, sockets);
        Ok(())
    }

    /// Ends the recording, and starts what power cuts in it leave.
    pub(in crate::vm) fn replay_power_cuts(&mut self, step: &ReplayPowerCuts) -> Result<(), Stop> {
        self.must_be_off()?;
        let Some(recorder) = self.guest.recorder.take() else {
            return Err(Mismatch::new("a recording", "none: record-writes comes first").into());
        };
        let log = recorder.end();
        let count = self.guest.make.drives.count();
        for path in self.paths(&names(LIVE, count)) {
            fs::remove_file(path).map_err(failed("removing the recorded disks"))?;
        }
        let course = self.course(step)?;
        let found = self.find_cuts(step, &log)?;
        let went = self.start_cuts(step, &log, &found)?;
        // If no cut loses what was flushed, the box changes from image to image as it was told to, and never back.
        if went == course {
            return Ok(());
        }
        Err(Mismatch::new(format!("starts of {}", course.join(", ")), went.join(", ")).into())
    }

    /// Looks at all cuts. One that leaves what must not be is the step's end.
    fn find_cuts(&self, step: &ReplayPowerCuts, log: &Log) -> Result<Found, Stop> {
        let before = self.paths(&names(BEFORE, self.guest.make.drives.count()));
        let wanted = Wanted { random: step.random, seed: step.seed, boots: step.boots };
        let found = cuts::find(log, &before, &self.places()?, &self.candidates()?, wanted)
            .map_err(failed("going through the recording"))?;
        let found = found.map_err(|fault| {
            let expected = "a box that can start after each power cut, with what it is to start";
            told(Mismatch::new(expected, fault.what), fault.at, &fault.kept, log, step.seed)
        })?;
        let Found { writes, flushes, looks, cuts, .. } = &found;
        let whole = cuts.iter().filter(|cut| cut.whole).count();
        self.say(format!(
            "{writes} writes and {flushes} flushes; {looks} cuts looked at, with {} different states of what starts \
             the box, which GRUB and the initrd are to start; {whole} starts to the end",
            cuts.len() - whole,
        ));
        Ok(found)
    }

    /// Starts what the cuts leave. Gives back the images that disks start which forget all they may, one after the other.
    fn start_cuts(
        &mut self,
        step: &ReplayPowerCuts,
        log: &Log,
        found: &Found,
    ) -> Result<Vec<String>, Stop> {
        let candidates = self.candidates()?;
        let disks = names(BEFORE, self.guest.make.drives.count());
        let before = self.paths(&disks);
        let open = |path: &PathBuf| File::options().read(true).write(true).open(path);
        let opened = before.iter().map(open).collect::<io::Result<Vec<_>>>();
        let mut replay = Replay {
            log,
            disks: opened.map_err(failed("opening the replayed disks"))?,
            done: 0,
            waiting: Waiting::none(before.len()),
        };
        self.guest.make.drives.change_media(Medium::Replayed, disks);
        let mut chosen: BTreeMap<&State, String> = BTreeMap::new();
        let mut ended = BTreeMap::<String, usize>::new();
        for cut in &found.cuts {
            replay.advance(cut.at).map_err(failed("replaying"))?;
            let undo = replay.keep(&cut.kept).map_err(failed("replaying"))?;
            let wrong = |stop| match stop {
                Stop::Wrong(mismatch) => told(mismatch, cut.at, &cut.kept, log, step.seed),
                stop => stop,
            };
            if cut.whole {
                let id = self.though_qemu_crashes(|run| run.whole_start(step, cut.at, &candidates));
                *ended.entry(id.map_err(wrong)?).or_default() += 1;
            } else {
                let choice = self.though_qemu_crashes(Self::choice).map_err(wrong)?;
                sound(&choice, &cut.state, &candidates).map_err(|stop| wrong(stop.into()))?;
                chosen.insert(&cut.state, choice.id);
            }
            replay.take_back(undo).map_err(failed("replaying"))?;
        }
        let counts: Vec<_> = ended.iter().map(|(id, count)| format!("{count} in {id}")).collect();
        self.say(format!(
            "{} states were started, all in a whole image; starts to the end: {}",
            chosen.len(),
            counts.join(", ")
        ));
        let mut went: Vec<String> =
            found.course.iter().filter_map(|state| chosen.get(state).cloned()).collect();
        went.dedup();
        Ok(went)
    }

    /// The image that is tested, and the test's other ones.
    fn candidates(&self) -> Result<Vec<Candidate>, Stop> {
        let others = self.guest.setup.images.values().map(PathBuf::as_path);
        let candidate = |dir: &Path| {
            let root = RootImage::open(dir)
                .map_err(failed(&format!("opening the root image of {}", dir.display())))?;
            Ok(Candidate { id: id_of(dir), root: root.into() })
        };
        std::iter::once(self.guest.setup.image).chain(others).map(candidate).collect()
    }

    /// The images that are to be started, one after the other.
    fn course(&self, step: &ReplayPowerCuts) -> Result<Vec<String>, Stop> {
        let id = |name: &String| {
            let dir = self.guest.setup.images.get(name).map(|dir| id_of(dir));
            dir.ok_or_else(|| Mismatch::new("the name of one of the test's images", name).into())
        };
        step.course.iter().map(id).collect()
    }

    fn places(&self) -> Result<Places, Stop> {
        let target = self.guest.setup.target;
        let layout = Layout::new("", target.slot_size, target.disks)
            .map_err(|error| failed("placing the slots")(io::Error::other(error)))?;
        let slots = [Part::RootA, Part::RootB].map(|part| layout.span(part));
        Ok(Places { bootenv: layout.span(Part::BootEnv), esp: layout.span(Part::Esp), slots })
    }

    fn paths(&self, names: &[String]) -> Vec<PathBuf> {
        names.iter().map(|name| self.guest.make.work.join(name)).collect()
    }

    fn say(&self, what: String) {
        (self.events)(Event::Note(format!("power cuts: {what}")));
    }

    /// Does something that starts the machine, and switches that off. QEMU crashes now and then: the cut is tried again.
    fn though_qemu_crashes<T>(
        &mut self,
        mut start: impl FnMut(&mut Self) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        let mut crashes = 0;
        loop {
            let result = start(self);
            if result.is_ok() {
                // Its last words must not count for the next start.
                self.guest.machine = None;
                self.look_at_console()?;
                return result;
            }
            match result {
                Err(Stop::Failure(TestFailure::Crashed { .. })) if crashes + 1 < CRASHES => {
                    crashes += 1;
                    self.guest.machine = None;
                    self.look_at_console()?;
                    self.say("QEMU crashed; this cut is started anew".to_owned());
                }
                result => return result,
            }
        }
    }

    /// Starts the machine until the initrd has handed it to systemd. Gives back what it was started with in the end.
    fn choice(&mut self) -> Result<Choice, Stop> {
        self.power_on()?;
        self.within(START_LIMIT, |run| {
            run.until("a start that comes to systemd", INTERVAL / 4, |run| {
                let line = run.guest.console.line("Command line:");
                match line.and_then(choice).filter(|_| run.guest.console.says("systemd[1]:")) {
                    Some(choice) => Ok(Look::Here(choice)),
                    None => Ok(Look::NotYet(run.guest.console.tail(3).join("; "))),
                }
            })
        })
    }

    /// Starts the machine, waits until it is done with what the cut interrupted. Gives back which image runs.
    fn whole_start(
        &mut self,
        step: &ReplayPowerCuts,
        at: usize,
        candidates: &[Candidate],
    ) -> Result<String, Stop> {
        const ASK: &str = "if sudo test -e /state/.chatimg/switch; then echo a switch; exit; fi; \
            systemctl is-system-running --wait >/dev/null; systemctl --failed --no-legend --plain; \
            cat /proc/cmdline";
        self.power_on()?;
        self.within(SETTLE_LIMIT, |run| {
            let id =
                run.until("a box that has come to rest, without failed units", INTERVAL, |run| {
                    run.wait_ssh()?;
                    let output = run.command(ASK, None)?;
                    let said =
                        output.map_or_else(String::new, |output| output.stdout + &output.stderr);
                    let choice = choice(&said).filter(|_| said.trim().lines().count() == 1);
                    Ok(choice.map_or(Look::NotYet(said), |choice| Look::Here(choice.id)))
                })?;
            if !candidates.iter().any(|candidate| candidate.id == id) {
                return Err(Mismatch::new("one of the test's images", id).into());
            }
            run.until("the server's answer", INTERVAL, |run| match run.matrix_read(&step.read) {
                Ok(()) => Ok(Look::Here(())),
                // The server may not be up yet.
                Err(Stop::Wrong(Mismatch { got, .. })) => Ok(Look::NotYet(got)),
                Err(stop) => Err(stop),
            })?;
            run.data_fit(step, at, &id)?;
            run.look_at_journal()?;
            Ok(id)
        })
    }

    /// The message that only one image's data have is there with that image, once it was acknowledged, and with no other.
    fn data_fit(&mut self, step: &ReplayPowerCuts, at: usize, id: &str) -> Result<(), Stop> {
        let mine = &step.only_with;
        let own = self.guest.setup.images.get(&mine.image).is_some_and(|dir| id_of(dir) == id);
        let text = self.fill(&mine.body)?;
        let there = self.texts(&self.fill(&step.read.by)?, &self.fill(&step.read.room)?)?;
        let there = there.contains_key(&text);
        let sent = self.guest.sessions.recorded.get(&text).is_some_and(|count| *count <= at);
        let wrong = |what: &str, got: &str| {
            Err(Mismatch::new(format!("{what} in image {id}: {text:?}"), got).into())
        };
        match (own, there) {
            (false, true) => wrong(
                "no message of the other image",
                "it is there: the data are the other image's",
            ),
            (true, false) if sent => wrong("an acknowledged message", "it is lost"),
            _ => Ok(()),
        }
    }

    /// With a deadline that is earlier.
    fn within<T>(
        &mut self,
        limit: Duration,
        act: impl FnOnce(&mut Self) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        let deadline = self.deadline;
        self.deadline = deadline.min(Instant::now() + limit);
        let result = act(self);
        self.deadline = deadline;
        result
    }
}

/// The image that was started is whole in that slot, on every disk.
fn sound(choice: &Choice, state: &State, candidates: &[Candidate]) -> Result<(), Mismatch> {
    let image = candidates.iter().position(|candidate| candidate.id == choice.id);
    let holding: Vec<Held> = state.slots.iter().map(|slots| slots[choice.slot]).collect();
    if image.is_some_and(|image| holding.iter().all(|held| *held == Held::Image(image))) {
        return Ok(());
    }
    let Choice { slot, id } = choice;
    let got = format!("slot {slot} was started as {id}, the disks hold {holding:?}");
    Err(Mismatch::new("the start of an image that is whole", got))
}

/// An image's id, by its folder.
fn id_of(dir: &Path) -> String {
    dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
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
fn told(mismatch: Mismatch, at: usize, kept: &Kept, log: &Log, seed: u64) -> Stop {
    let Mismatch { expected, got } = mismatch;
    let kept = match kept {
        Kept::Nothing => "nothing".to_owned(),
        Kept::All => "all".to_owned(),
        Kept::Pieces(pieces) => format!("{} writes", pieces.len()),
    };
    let after = format!("power cut after {at} of {} writes and flushes", log.entries.len());
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
            let mut bytes = vec![0; piece.len as usize];
            self.disks[entry.disk].read_exact_at(&mut bytes, offset)?;
            undo.push((entry.disk, offset, bytes));
            self.write(piece.entry, piece.len)?;
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
