//! The only place that prints. Results go to standard output; progress, notes and errors to standard error:
//! bars on a terminal, plain lines elsewhere.

mod phases;
mod progress;

pub use phases::Phases;
pub use progress::Downloads;

use std::error::Error;
use std::io::{IsTerminal, Write};

use indicatif::MultiProgress;

/// Where a command's words go.
#[derive(Debug)]
pub struct Ui {
    bars: Option<MultiProgress>,
}

impl Default for Ui {
    fn default() -> Self {
        Self::new()
    }
}

impl Ui {
    /// Bars if standard error is a terminal, else plain lines.
    pub fn new() -> Self {
        Self { bars: std::io::stderr().is_terminal().then(MultiProgress::new) }
    }

    /// A line of the command's result, for standard output.
    pub fn say(&self, line: impl AsRef<str>) {
        let print = || {
            // Whoever reads the output may have closed it; there is nobody left to tell.
            _ = writeln!(std::io::stdout().lock(), "{}", line.as_ref());
        };
        match &self.bars {
            Some(bars) => bars.suspend(print),
            None => print(),
        }
    }

    /// A line about the work under way.
    pub fn note(&self, line: impl AsRef<str>) {
        let print = || _ = writeln!(std::io::stderr().lock(), "{}", line.as_ref());
        match &self.bars {
            Some(bars) => bars.suspend(print),
            None => print(),
        }
    }

    /// Something the user should know, and that does not stop the work.
    pub fn warn(&self, line: impl AsRef<str>) {
        self.note(format!("warning: {}", line.as_ref()));
    }

    /// An error with its causes. Messages that hold their cause's text already are not repeated.
    pub fn error(&self, error: &(dyn Error + 'static)) {
        let mut text = format!("error: {error}");
        let mut source = error.source();
        while let Some(cause) = source {
            let words = cause.to_string();
            if !text.contains(&words) {
                text.push_str(&format!("\n  because: {words}"));
            }
            source = cause.source();
        }
        self.note(text);
    }
}
