//! The box's journal: searched for signs of trouble before the machine goes down, and brought home
//! from one that failed a test.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::judge;
use super::run::{Run, Stop};
use super::spec::Ssh;
use super::text::quoted;

/// The copy of the journal, in the work folder.
pub(super) const JOURNAL: &str = "journal.log";
const PATIENCE: Duration = Duration::from_secs(180);
const UNITS: &str = "units=$(systemctl --failed --no-legend --plain | cut -d ' ' -f 1); \
    test -z \"$units\" || sudo systemctl status --no-pager --full --lines 10 $units";
const READ: &str = "sudo journalctl --boot --no-pager --output short-monotonic";

/// systemd is silent on the console once there is a login prompt.
const OFFICIAL: &str = "sudo journalctl --boot --no-pager --output short-monotonic \
    --show-cursor _PID=1 + _TRANSPORT=kernel";
/// How the last line of that begins; the place in the journal follows.
const CURSOR: &str = "-- cursor: ";

/// Found out after a failure.
#[derive(Debug, Default)]
pub(super) struct Diagnosis {
    /// State and last words of each failed unit.
    pub(super) units: Vec<String>,
    /// The journal, copied out.
    pub(super) journal: Option<PathBuf>,
}

impl Run<'_> {
    /// Searches what the kernel and systemd wrote since the last search, or since the machine was started, if ssh works.
    pub(super) fn look_at_journal(&mut self) -> Result<(), Stop> {
        if self.guest.machine.is_none() || !self.guest.reachable {
            return Ok(());
        }
        let after =
            self.guest.seen.as_ref().map(|seen| format!(" --after-cursor {}", quoted(seen)));
        let command = format!("{OFFICIAL}{}", after.unwrap_or_default());
        let output = self.command(&command, None)?.ok_or(Stop::Late)?;
        judge::command(&Ssh::default(), &output)?;
        let cursor = output.stdout.lines().rev().find_map(|line| line.strip_prefix(CURSOR));
        self.guest.seen = cursor.map(str::to_owned).or(self.guest.seen.take());
        let trouble = self.guest.console.judged_all(&output.stdout);
        trouble.map_or(Ok(()), |trouble| Err(trouble.into()))
    }

    /// Asks over ssh, if that has worked before. Nothing here can fail the test: it has failed.
    pub(super) fn diagnose(&mut self) -> Diagnosis {
        let mut diagnosis = Diagnosis::default();
        if self.guest.machine.is_some() && self.guest.reachable {
            self.deadline = Instant::now() + PATIENCE;
            _ = self.ask_the_patient(&mut diagnosis);
        }
        diagnosis
    }

    fn ask_the_patient(&mut self, diagnosis: &mut Diagnosis) -> Result<(), Stop> {
        if let Some(output) = self.command(UNITS, Some(PATIENCE / 3))? {
            diagnosis.units = output.stdout.lines().map(str::to_owned).collect();
        }
        if let Some(output) = self.command(READ, None)? {
            let path = self.guest.console.path().with_file_name(JOURNAL);
            if output.exit == 0 && fs::write(&path, output.stdout).is_ok() {
                diagnosis.journal = Some(path);
            }
        }
        Ok(())
    }
}
