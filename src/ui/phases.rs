//! The steps of a long piece of work, one after the other.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::Ui;

/// Shorter steps are not worth a line.
const NOTICEABLE: Duration = Duration::from_millis(100);

/// Shows the step under way on a terminal, and everywhere, when it ends, how long it took.
#[derive(Debug)]
pub struct Phases<'a> {
    ui: &'a Ui,
    current: Option<Phase>,
}

#[derive(Debug)]
struct Phase {
    name: String,
    start: Instant,
    bar: Option<ProgressBar>,
}

impl<'a> Phases<'a> {
    /// Nothing is under way yet.
    pub fn new(ui: &'a Ui) -> Self {
        Self { ui, current: None }
    }

    /// The next step begins; the last one is over.
    pub fn begin(&mut self, name: &str) {
        self.end();
        let bar = self.ui.bars.as_ref().map(|bars| {
            let style = "{spinner} {prefix} {msg}";
            let style = ProgressStyle::with_template(style).expect("a constant template");
            let bar = ProgressBar::new_spinner().with_style(style).with_prefix(name.to_owned());
            let bar = bars.add(bar);
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        self.current = Some(Phase { name: name.to_owned(), start: Instant::now(), bar });
    }

    /// So much of the step is done.
    pub fn progress(&self, done: u64, total: u64) {
        self.detail(&format!("{} %", (done * 100).checked_div(total).unwrap_or(100)));
    }

    /// What the step is at.
    pub fn detail(&self, text: &str) {
        if let Some(Phase { bar: Some(bar), .. }) = &self.current {
            bar.set_message(text.to_owned());
        }
    }

    fn end(&mut self) {
        let Some(Phase { name, start, bar }) = self.current.take() else { return };
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        let took = start.elapsed();
        if took >= NOTICEABLE {
            self.ui.note(format!("{name:<42} {:>7.1} s", took.as_secs_f64()));
        }
    }
}

impl Drop for Phases<'_> {
    fn drop(&mut self) {
        self.end();
    }
}
