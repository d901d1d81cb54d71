//! Why a test did not pass.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::text::shown;
use crate::tools::ToolError;

/// A test did not pass, or could not be run.
#[derive(Debug, thiserror::Error)]
pub enum TestFailure {
    /// A step did not come out right.
    #[error(transparent)]
    Step(Box<StepFailure>),
    /// The user asked to stop.
    #[error(transparent)]
    Interrupted(#[from] crate::interrupt::Interrupted),
    /// The operating system refused.
    #[error("{doing}: {source}")]
    Io {
        /// A gerund and what it was done to.
        doing: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A program of the tools closure failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// QEMU itself failed while the machine ran, which says nothing about the image: TCG has races in how it
    /// looks up device memory (QEMU issue 1921, an assertion in `iotlb_to_section`).
    #[error("QEMU crashed ({status}); it said: {words}")]
    Crashed {
        /// With the signal.
        status: std::process::ExitStatus,
        /// The end of its standard error.
        words: String,
    },
    /// QEMU does not run.
    #[error("starting the machine: QEMU {what}; it said: {words}")]
    Qemu {
        /// What it did instead.
        what: String,
        /// The end of its standard error.
        words: String,
    },
}

/// A step that did not come out right.
#[derive(Debug, thiserror::Error)]
pub struct StepFailure {
    /// The test's name.
    pub test: String,
    /// The box that it was done on, if that is not the test's own.
    pub guest: Option<String>,
    /// `bios`, `uefi`.
    pub firmware: &'static str,
    /// From 1. One more than there are steps: after the last one.
    pub number: usize,
    /// How many there are.
    pub total: usize,
    /// Its name, or what it does.
    pub title: String,
    /// After how long.
    pub after: std::time::Duration,
    /// What was expected.
    pub expected: String,
    /// What came instead.
    pub got: String,
    /// The console's last lines.
    pub tail: Vec<String>,
    /// State and last words of the box's failed units, line by line, if it could be asked.
    pub units: Vec<String>,
    /// The box's journal, if it could be copied.
    pub journal: Option<PathBuf>,
    /// The console's log.
    pub log: PathBuf,
}

impl fmt::Display for StepFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { test, firmware, number, total, title, .. } = self;
        write!(f, "{test} ({firmware}): ")?;
        if number > total {
            write!(f, "after the last step")?;
        } else {
            write!(f, "step {number} of {total}: {title}")?;
        }
        if let Some(guest) = &self.guest {
            write!(f, " (on {guest})")?;
        }
        writeln!(f, ", after {}", shown(self.after))?;
        writeln!(f, "  expected  {}", indented(&self.expected))?;
        writeln!(f, "  got       {}", indented(&self.got))?;
        if self.tail.is_empty() {
            writeln!(f, "the console is empty")?;
        } else {
            writeln!(f, "the console's last {} lines:", self.tail.len())?;
        }
        for line in &self.tail {
            writeln!(f, "  | {line}")?;
        }
        if !self.units.is_empty() {
            writeln!(f, "failed units:")?;
        }
        for line in &self.units {
            writeln!(f, "  | {line}")?;
        }
        if let Some(journal) = &self.journal {
            writeln!(f, "the whole journal: {}", journal.display())?;
        }
        write!(f, "the whole console: {}", self.log.display())
    }
}

fn indented(text: &str) -> String {
    text.trim_end().replace('\n', "\n            ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_says_all_that_is_needed() {
        let failure = StepFailure {
            test: "smoke".to_owned(),
            guest: None,
            firmware: "bios",
            number: 3,
            total: 9,
            title: "no unit failed".to_owned(),
            after: std::time::Duration::from_millis(12_340),
            expected: "standard output \"\"".to_owned(),
            got: "standard output \"nginx.service loaded failed\"\nexit status 0".to_owned(),
            tail: vec!["[  OK  ] Started ssh.service".to_owned(), "box login: ".to_owned()],
            units: vec!["× nginx.service".to_owned()],
            journal: Some(PathBuf::from("/work/journal.log")),
            log: PathBuf::from("/work/console.log"),
        };
        let wanted = "\
smoke (bios): step 3 of 9: no unit failed, after 12.3 s
  expected  standard output \"\"
  got       standard output \"nginx.service loaded failed\"
            exit status 0
the console's last 2 lines:
  | [  OK  ] Started ssh.service
  | box login: 
failed units:
  | × nginx.service
the whole journal: /work/journal.log
the whole console: /work/console.log";
        assert_eq!(failure.to_string(), wanted);
        let other = StepFailure { guest: Some("other".to_owned()), ..failure };
        assert!(other.to_string().contains(": no unit failed (on other), after 12.3 s\n"));
        let last = StepFailure { guest: None, number: 10, tail: Vec::new(), ..other };
        assert!(last.to_string().contains("after the last step, after"));
        assert!(last.to_string().contains("the console is empty\n"));
    }
}
