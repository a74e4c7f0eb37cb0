//! Named checks behind `/readyz`. The worker pulls only while all of its own are up, so that an
//! outage of what it needs costs waiting, not attempts.
//!
//! So whoever sets a check down must also be the one to set it up again, by probing: no input will
//! come whose success could tell.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// Between two probes of what answers.
const PERIOD: Duration = Duration::from_secs(5);
/// At least, from one probe to the next, however many attempts fail.
const SPACING: Duration = Duration::from_millis(200);
/// After the first probe without an answer; doubled with each further one.
pub const PAUSE_FIRST: Duration = Duration::from_millis(500);
/// Longest between two probes of what does not answer.
pub const PAUSE_MAX: Duration = Duration::from_secs(15);

/// The checks of a process; clones share them.
#[derive(Clone, Debug)]
pub struct Health {
    /// The stage whose checks are registered through this handle; none: the whole process's.
    scope: Option<Arc<str>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// A process that still loads what its stage needs: the checks to come are not there yet.
    starting: AtomicBool,
    checks: Mutex<BTreeMap<String, Check>>,
    changed: watch::Sender<()>,
    suspected: watch::Sender<()>,
}

#[derive(Clone, Debug)]
struct Check {
    scope: Option<Arc<str>>,
    up: bool,
}

/// Sets one check.
#[derive(Clone, Debug)]
pub struct HealthCheck {
    name: String,
    shared: Arc<Shared>,
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// No checks yet: ready.
    pub fn new() -> Self {
        Self {
            scope: None,
            shared: Arc::new(Shared {
                starting: AtomicBool::new(false),
                checks: Mutex::new(BTreeMap::new()),
                changed: watch::Sender::new(()),
                suspected: watch::Sender::new(()),
            }),
        }
    }

    /// The same checks; those registered through the result belong to `stage` and are named
    /// `stage.name`.
    #[must_use]
    pub fn scoped(&self, stage: &str) -> Self {
        Self {
            scope: Some(stage.into()),
            shared: self.shared.clone(),
        }
    }

    /// Adds a check, down until it is set. An existing one of that name is taken over as it is.
    pub fn register(&self, name: &str) -> HealthCheck {
        let name = match &self.scope {
            Some(scope) => format!("{scope}.{name}"),
            None => name.to_owned(),
        };
        let scope = self.scope.clone();
        self.shared
            .lock()
            .entry(name.clone())
            .or_insert(Check { scope, up: false });
        self.shared.changed.send_replace(());
        HealthCheck {
            name,
            shared: self.shared.clone(),
        }
    }

    /// From here to [`Self::started`] the process is not ready, however its checks stand.
    pub(crate) fn starting(&self) {
        self.shared.starting.store(true, Ordering::Release);
    }

    /// What the stage needs of this process itself, as its model, is there.
    pub(crate) fn started(&self) {
        self.shared.starting.store(false, Ordering::Release);
    }

    /// Whether the process has what it needs of itself; no other system has a say in this.
    pub fn has_started(&self) -> bool {
        !self.shared.starting.load(Ordering::Acquire)
    }

    /// Every check by name.
    pub fn checks(&self) -> BTreeMap<String, bool> {
        let checks = self.shared.lock();
        checks.iter().map(|(k, v)| (k.clone(), v.up)).collect()
    }

    /// Whether every check is up.
    pub fn ready(&self) -> bool {
        self.shared.lock().values().all(|check| check.up)
    }

    /// The first check that is down of those that concern this scope: its own and the process's.
    /// `except` is left out.
    pub fn first_down(&self, except: &HealthCheck) -> Option<String> {
        let checks = self.shared.lock();
        let mut concerned = checks.iter().filter(|(name, check)| {
            **name != except.name && (check.scope.is_none() || check.scope == self.scope)
        });
        concerned
            .find(|(_, check)| !check.up)
            .map(|(name, _)| name.clone())
    }

    /// An attempt failed, maybe for want of something: whoever follows a check looks now, before the
    /// input comes again.
    pub(crate) fn suspect(&self) {
        self.shared.suspected.send_replace(());
    }

    /// Told of every change.
    pub fn watch(&self) -> watch::Receiver<()> {
        self.shared.changed.subscribe()
    }
}

impl HealthCheck {
    /// Up or down.
    pub fn set(&self, up: bool) {
        let mut checks = self.shared.lock();
        let Some(check) = checks.get_mut(&self.name) else {
            return;
        };
        if check.up != up {
            check.up = up;
            drop(checks);
            self.shared.changed.send_replace(());
        }
    }

    /// Keeps it in step with what `probe` finds, for ever: the probe's errors must hold no payload.
    /// It probes from time to time, and at once when a stage's attempt failed.
    pub async fn follow<E, F>(&self, probe: impl Fn() -> F) -> Infallible
    where
        E: Display,
        F: Future<Output = Result<(), E>>,
    {
        let mut pause = PAUSE_FIRST;
        let mut down = false;
        let mut suspected = self.shared.suspected.subscribe();
        loop {
            suspected.mark_unchanged();
            let result = probe().await;
            self.set(result.is_ok());
            let wait = match result {
                Ok(()) => {
                    if down {
                        tracing::info!(check = self.name, "it answers again");
                    }
                    (down, pause) = (false, PAUSE_FIRST);
                    PERIOD
                }
                Err(error) => {
                    if !down {
                        tracing::warn!(check = self.name, %error, "it does not answer");
                    }
                    down = true;
                    let wait = pause;
                    pause = (pause * 2).min(PAUSE_MAX);
                    wait
                }
            };
            tokio::time::sleep(SPACING).await;
            tokio::select! {
                () = tokio::time::sleep(wait.saturating_sub(SPACING)) => {}
                // The sender lives in `self`.
                _ = suspected.changed(), if !down => {}
            }
        }
    }

    /// Whether it is up.
    pub fn is_up(&self) -> bool {
        self.shared
            .lock()
            .get(&self.name)
            .is_some_and(|check| check.up)
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Check>> {
        // Every critical section is a single map operation: no half-done state behind a panic.
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_waits_for_its_own_and_the_process_checks_only() {
        let health = Health::new();
        let nats = health.register("nats");
        let (embedder, selector) = (health.scoped("embedder"), health.scoped("selector"));
        let bound = embedder.register("consumer");
        let model = embedder.register("model");
        selector.register("consumer");
        nats.set(true);
        assert_eq!(
            embedder.first_down(&bound).as_deref(),
            Some("embedder.model")
        );
        model.set(true);
        assert_eq!(embedder.first_down(&bound), None);
        nats.set(false);
        assert_eq!(embedder.first_down(&bound).as_deref(), Some("nats"));
        assert!(!health.ready());
        assert_eq!(health.checks().len(), 4);
    }

    #[test]
    fn a_change_is_told_once() {
        let health = Health::new();
        let check = health.register("nats");
        let mut watch = health.watch();
        check.set(true);
        assert!(watch.has_changed().expect("health is alive"));
        watch.mark_unchanged();
        check.set(true);
        assert!(!watch.has_changed().expect("health is alive"));
    }
}
