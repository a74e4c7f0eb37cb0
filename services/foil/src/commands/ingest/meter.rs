//! How far publishing is: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Between two lines where there is no terminal.
pub const LINE_EVERY: Duration = Duration::from_secs(5);
pub const REDRAW_EVERY: Duration = Duration::from_millis(200);

pub struct Meter {
    bar: Option<ProgressBar>,
    total: Option<u64>,
    bytes: u64,
    started: Instant,
    last: Instant,
}

impl Meter {
    /// `total`: bytes to come, where that is known.
    pub fn new(total: Option<u64>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let (bar, template) = match total {
                Some(total) => (
                    ProgressBar::new(total),
                    "publish [{bar:30}] {percent:>3}%  {msg}  {eta} left",
                ),
                None => (
                    ProgressBar::new_spinner(),
                    "publish {spinner} {elapsed}  {msg}",
                ),
            };
            let style = ProgressStyle::with_template(template).map(|s| s.progress_chars("=> "));
            bar.set_style(style.expect("the template is valid"));
            bar
        });
        let now = Instant::now();
        Self {
            bar,
            total,
            bytes: 0,
            started: now,
            last: now,
        }
    }

    /// After each line: bytes read for it, updates stored and lines at fault so far.
    pub fn advance(&mut self, bytes: u64, stored: u64, faults: u64) {
        self.bytes += bytes;
        let every = if self.bar.is_some() {
            REDRAW_EVERY
        } else {
            LINE_EVERY
        };
        if self.last.elapsed() < every {
            return;
        }
        self.last = Instant::now();
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = stored as f64 / seconds;
        let text = format!("{stored} stored, {faults} faults, {rate:.0}/s");
        if let Some(bar) = &self.bar {
            bar.set_position(self.bytes);
            bar.set_message(text);
        } else if let Some(total @ 1..) = self.total {
            let share = (self.bytes as f64 / total as f64).min(1.0);
            let left = seconds * (1.0 - share) / share.max(f64::EPSILON);
            note!("publish: {:.0} %, {text}, {left:.0} s left", share * 100.0);
        } else {
            note!("publish: {text}, {seconds:.0} s");
        }
    }

    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
