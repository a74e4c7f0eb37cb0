//! How far work is: a bar with the time left on a terminal, a line now and then elsewhere.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Counts pieces of work on standard error. A bar goes away when this is dropped.
pub struct Progress {
    bar: Option<ProgressBar>,
    what: &'static str,
    total: u64,
    done: u64,
    started: Instant,
    last: Instant,
}

impl Progress {
    /// `what` is done, `total` pieces of it.
    pub fn new(what: &'static str, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total).with_prefix(what);
            let template = "{prefix} [{bar:30}] {pos}/{len}  {elapsed} gone, {eta} left";
            let style = ProgressStyle::with_template(template).map(|s| s.progress_chars("=> "));
            bar.set_style(style.expect("the template is valid"));
            bar
        });
        let now = Instant::now();
        Self {
            bar,
            what,
            total,
            done: 0,
            started: now,
            last: now,
        }
    }

    /// So many more are done.
    pub fn advance(&mut self, pieces: u64) {
        self.done += pieces;
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
        } else if self.last.elapsed() >= LINE_EVERY {
            self.last = Instant::now();
            let gone = self.started.elapsed().as_secs_f64();
            let left = gone * self.total.saturating_sub(self.done) as f64 / self.done.max(1) as f64;
            let Self {
                what, total, done, ..
            } = self;
            eprintln!("{what}: {done} of {total}, {gone:.0} s gone, {left:.0} s left");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
