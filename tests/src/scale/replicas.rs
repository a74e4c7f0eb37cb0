//! The processes of one stage, which come and go as pods would.

use std::time::{Duration, Instant};

use crate::fleet::{Fleet, Process, Signal};

/// What a process may take beyond `shutdown.deadline`, as the chart's grace period allows.
const GRACE: Duration = Duration::from_secs(5);

/// Processes of one stage.
pub struct Replicas {
    stage: &'static str,
    deadline: Duration,
    started: usize,
    running: Vec<Process>,
    /// Those that were told to end, since when.
    ending: Vec<(Instant, Process)>,
    /// Longest time from SIGTERM to the end.
    pub slowest_end: Duration,
    /// What ended by itself, not cleanly, or not in time.
    pub fell: Vec<String>,
}

impl Replicas {
    /// None yet, which end within `deadline` when they are told to.
    pub fn new(stage: &'static str, deadline: Duration) -> Self {
        Self {
            stage,
            deadline: deadline + GRACE,
            started: 0,
            running: Vec::new(),
            ending: Vec::new(),
            slowest_end: Duration::ZERO,
            fell: Vec::new(),
        }
    }

    /// Those that were not told to end.
    pub fn count(&self) -> u32 {
        u32::try_from(self.running.len()).unwrap_or(u32::MAX)
    }

    /// Those that finish their work.
    pub fn ending(&self) -> usize {
        self.ending.len()
    }

    /// All that run, and those that finish their work: to be measured.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        let ending = self.ending.iter().map(|(_, process)| process);
        self.running.iter().chain(ending).map(Process::pid)
    }

    /// Whether all of them say that they can work.
    pub fn ready(&self) -> bool {
        self.running.iter().all(Process::is_ready)
    }

    /// Starts some, or tells the youngest to end, as a ReplicaSet does; waits for nobody.
    ///
    /// # Panics
    /// When one cannot be started.
    pub fn scale_to(&mut self, fleet: &Fleet, wanted: u32) {
        while self.count() < wanted {
            self.running.push(fleet.launch(self.stage, self.started));
            self.started += 1;
        }
        while self.count() > wanted {
            let Some(process) = self.running.pop() else {
                return;
            };
            process.signal(Signal::Terminate);
            self.ending.push((Instant::now(), process));
        }
    }

    /// Looks who has ended. One that fell is started again, as a kubelet would.
    ///
    /// # Panics
    /// When one cannot be looked at.
    pub fn look(&mut self) {
        for process in &mut self.running {
            if let Some(status) = process.ended() {
                self.fell.push(format!("{}: {status}", process.name));
                process.start();
            }
        }
        let mut still = Vec::new();
        for (since, mut process) in self.ending.drain(..) {
            match process.ended() {
                Some(status) => {
                    self.slowest_end = self.slowest_end.max(since.elapsed());
                    if status.code() != Some(0) {
                        self.fell.push(format!("{} ended: {status}", process.name));
                    }
                }
                None if since.elapsed() > self.deadline => {
                    self.fell.push(format!("{} does not end", process.name));
                    process.kill();
                }
                None => still.push((since, process)),
            }
        }
        self.ending = still;
    }

    /// Tells all of them to end and waits for it, at most for their deadline.
    ///
    /// # Panics
    /// When one cannot be looked at.
    pub async fn end(&mut self, fleet: &Fleet) {
        self.scale_to(fleet, 0);
        while self.ending() > 0 {
            self.look();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
