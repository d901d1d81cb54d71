//! Progress of downloads.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

use super::Ui;

/// Shows many downloads: one bar for all of them on a terminal, else a line every few seconds.
#[derive(Debug)]
pub struct Downloads<'a> {
    ui: &'a Ui,
    total: u64,
    bar: Option<ProgressBar>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    got: BTreeMap<String, u64>,
    done: usize,
    said: Instant,
}

impl<'a> Downloads<'a> {
    /// Starts showing downloads of `total` bytes in all.
    pub fn new(ui: &'a Ui, total: u64) -> Self {
        let bar = ui.bars.as_ref().map(|bars| {
            let style = "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {msg}";
            let style = ProgressStyle::with_template(style).expect("a constant template");
            bars.add(ProgressBar::new(total).with_style(style))
        });
        let state = State { got: BTreeMap::new(), done: 0, said: Instant::now() };
        Self { ui, total, bar, state: Mutex::new(state) }
    }

    /// `name` now has `bytes` of its bytes.
    pub fn progress(&self, name: &str, bytes: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.got.insert(name.to_owned(), bytes);
        let got: u64 = state.got.values().sum();
        if let Some(bar) = &self.bar {
            bar.set_position(got);
            bar.set_message(name.to_owned());
        } else if state.said.elapsed() >= Duration::from_secs(5) {
            state.said = Instant::now();
            self.ui.note(format!("fetched {} of {}", HumanBytes(got), HumanBytes(self.total)));
        }
    }

    /// `name` is whole and verified.
    pub fn finished(&self, _name: &str) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).done += 1;
    }

    /// Ends the display with a summary, if anything was fetched.
    pub fn close(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        if state.done > 0 {
            let bytes = HumanBytes(state.got.values().sum());
            self.ui.note(format!("fetched {} inputs, {bytes}", state.done));
        }
    }
}
