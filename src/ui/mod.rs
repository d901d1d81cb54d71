//! The only place that prints. Results go to standard output; progress, notes and errors to standard error:
//! bars on a terminal, plain lines elsewhere.

mod phases;
mod progress;
mod transfers;

pub use phases::Phases;
pub use progress::Downloads;
pub use transfers::Transfers;

use std::borrow::Cow;
use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use indicatif::MultiProgress;

use crate::interrupt::{self, Interrupted};

/// How often a question looks whether the user asked to stop.
const PATIENCE: Duration = Duration::from_millis(100);

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
        let line = printable(line.as_ref(), char::is_control);
        let print = || {
            // Whoever reads the output may have closed it; there is nobody left to tell.
            _ = writeln!(std::io::stdout().lock(), "{line}");
        };
        match &self.bars {
            Some(bars) => bars.suspend(print),
            None => print(),
        }
    }

    /// A line about the work under way.
    pub fn note(&self, line: impl AsRef<str>) {
        let line = printable(line.as_ref(), misleads);
        let print = || _ = writeln!(std::io::stderr().lock(), "{line}");
        match &self.bars {
            Some(bars) => bars.suspend(print),
            None => print(),
        }
    }

    /// Something the user should know, and that does not stop the work.
    pub fn warn(&self, line: impl AsRef<str>) {
        self.note(format!("warning: {}", line.as_ref()));
    }

    /// Whether there is somebody to ask.
    pub fn can_ask(&self) -> bool {
        io::stdin().is_terminal()
    }

    /// Asks the user at the terminal; `None`: there is nobody to ask.
    ///
    /// # Errors
    /// The user asked to stop instead.
    pub fn ask(&self, question: &str) -> Result<Option<String>, Interrupted> {
        if !self.can_ask() {
            return Ok(None);
        }
        _ = write!(io::stderr().lock(), "{question} ");
        // In a thread, which may be left waiting: a signal does not end the reading.
        let (send, answer) = channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = io::stdin().read_line(&mut line);
            _ = send.send(read.map(|_| line.trim().to_owned()).ok());
        });
        loop {
            match answer.recv_timeout(PATIENCE) {
                Ok(answer) => return Ok(answer),
                Err(RecvTimeoutError::Timeout) => interrupt::check()?,
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
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

/// Words of others (names in archives, answers of servers) without what a terminal would obey.
fn printable(text: &str, odd: fn(char) -> bool) -> Cow<'_, str> {
    let odd = |c: char| odd(c) && !matches!(c, '\n' | '\t');
    if !text.contains(odd) {
        return Cow::Borrowed(text);
    }
    let one = |c: char| if odd(c) { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(one).collect())
}

/// Controls the terminal, or changes the direction of writing.
fn misleads(c: char) -> bool {
    let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}');
    c.is_control() || turns || matches!(c, '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::{misleads, printable};

    #[test]
    fn nothing_that_a_terminal_obeys_is_printed() {
        let printable = |text| printable(text, misleads).into_owned();
        assert_eq!(printable("a: ünder\n\tb…"), "a: ünder\n\tb…");
        assert_eq!(printable("\u{1b}[2J\u{9b}K\r\u{7}"), "\\u{1b}[2J\\u{9b}K\\r\\u{7}");
        assert_eq!(printable("a\u{202e}gpj.exe"), "a\\u{202e}gpj.exe");
    }
}
