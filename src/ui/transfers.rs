//! Progress of work on several disks at the same time, each going through steps of its own.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressStyle};

use super::Ui;

/// How often a line is printed where there is no terminal.
const EVERY: Duration = Duration::from_secs(5);

/// What took no time has no rate to speak of.
const NOTICEABLE: Duration = Duration::from_millis(100);

/// A bar for each disk on a terminal, else a line every few seconds; and a line at the end of each step.
#[derive(Debug)]
pub struct Transfers<'a> {
    ui: &'a Ui,
    rows: Mutex<Vec<Row>>,
}

#[derive(Debug)]
struct Row {
    name: String,
    bar: Option<ProgressBar>,
    step: Option<Current>,
}

#[derive(Debug)]
struct Current {
    name: &'static str,
    start: Instant,
    said: Instant,
    done: u64,
    total: u64,
}

impl<'a> Transfers<'a> {
    /// Of the disks of these names.
    pub fn new(ui: &'a Ui, names: impl IntoIterator<Item = String>) -> Self {
        let row = |name: String| Row { bar: bar(ui, &name), name, step: None };
        Self { ui, rows: Mutex::new(names.into_iter().map(row).collect()) }
    }

    /// So many bytes of a disk's step are done. Another step than before means that the one before is over.
    pub fn progress(&self, disk: usize, step: &'static str, done: u64, total: u64) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(row) = rows.get_mut(disk) else { return };
        if row.step.as_ref().is_none_or(|current| current.name != step) {
            row.end(self.ui);
            let now = Instant::now();
            row.step = Some(Current { name: step, start: now, said: now, done, total });
            if let Some(bar) = &row.bar {
                bar.reset();
                bar.set_length(total);
                bar.set_message(step);
            }
        }
        let Some(current) = &mut row.step else { return };
        current.done = done;
        if let Some(bar) = &row.bar {
            bar.set_position(done);
        } else if current.said.elapsed() >= EVERY {
            current.said = Instant::now();
            self.ui.note(format!("{}: {}", row.name, current.so_far(current.start.elapsed())));
        }
    }

    /// Everything is over.
    pub fn close(self) {
        let rows = self.rows.into_inner().unwrap_or_else(PoisonError::into_inner);
        for mut row in rows {
            row.end(self.ui);
            if let Some(bar) = row.bar {
                bar.finish_and_clear();
            }
        }
    }
}

fn bar(ui: &Ui, name: &str) -> Option<ProgressBar> {
    let bars = ui.bars.as_ref()?;
    let style = "{prefix} {msg:9} {bar:20} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left";
    let style = ProgressStyle::with_template(style).expect("a constant template");
    Some(bars.add(ProgressBar::new(0).with_style(style).with_prefix(name.to_owned())))
}

impl Row {
    fn end(&mut self, ui: &Ui) {
        let Some(Current { name, start, done, total, .. }) = self.step.take() else { return };
        if done < total {
            return; // It was cut short; somebody else says why.
        }
        let took = start.elapsed();
        let seconds = took.as_secs_f64();
        let mut line = format!("{}: {name} {} took {seconds:.1} s", self.name, HumanBytes(done));
        if took >= NOTICEABLE {
            line.push_str(&format!(", {}/s", HumanBytes(rate(done, took))));
        }
        ui.note(line);
    }
}

impl Current {
    fn so_far(&self, took: Duration) -> String {
        let Self { name, done, total, .. } = *self;
        let rate = rate(done, took);
        let left = (total - done).checked_div(rate).map_or("unknown time".to_owned(), |seconds| {
            HumanDuration(Duration::from_secs(seconds)).to_string()
        });
        let (done, total, rate) = (HumanBytes(done), HumanBytes(total), HumanBytes(rate));
        format!("{name} {done} of {total}, {rate}/s, {left} left")
    }
}

/// Bytes a second.
fn rate(bytes: u64, took: Duration) -> u64 {
    (bytes as f64 / took.as_secs_f64().max(0.001)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_rate_and_time_left() {
        let now = Instant::now();
        let current = |done, total| Current { name: "writing", start: now, said: now, done, total };
        let line = current(100 << 20, 400 << 20).so_far(Duration::from_secs(10));
        assert_eq!(line, "writing 100.00 MiB of 400.00 MiB, 10.00 MiB/s, 30 seconds left");
        let line = current(0, 400 << 20).so_far(Duration::from_secs(10));
        assert_eq!(line, "writing 0 B of 400.00 MiB, 0 B/s, unknown time left");
    }
}
