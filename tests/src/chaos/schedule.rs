//! What happens when, as a pure function of the seed and the length: the same seed gives the same
//! schedule.

use std::time::Duration;

use foil_llm::stub::Mode;
use foil_proto::names::stage;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::updates::{self, Update};

/// What a run is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    pub seed: u64,
    /// Of the faults; the wait for quiet comes on top.
    pub minutes: f64,
    pub updates: usize,
    pub users: usize,
    pub items: usize,
    /// Processes of each stage.
    pub replicas: usize,
}

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    Nats,
    Edge,
    Stage(&'static str, usize),
}

/// What is done to a process, for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// SIGKILL, and started again.
    Kill,
    /// SIGSTOP, then SIGCONT.
    Stop,
    /// SIGTERM, and started again.
    Restart,
}

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Process(Target, Blow),
    /// The language model answers like this.
    Llm(Mode),
    /// The text encoder answers like this.
    Encoder(Mode),
}

/// A fault with its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timed {
    /// From the start.
    pub at: Duration,
    /// From `at` to its mending.
    pub lasts: Duration,
    pub fault: Fault,
}

/// All that a run does.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// By time.
    pub updates: Vec<Update>,
    /// By time; those of one process, or of one model, do not overlap.
    pub faults: Vec<Timed>,
}

/// Between two faults of processes.
const GAP_MS: std::ops::Range<u64> = 1_000..4_500;
/// Between two faults of one model.
const MODEL_GAP_MS: std::ops::Range<u64> = 3_000..12_000;
/// After its mending a process is left alone for this long.
const REST: Duration = Duration::from_secs(1);

impl Schedule {
    /// Draws everything.
    pub fn new(options: &Options) -> Self {
        let length = Duration::from_secs_f64(options.minutes * 60.0);
        // A stream of its own for each part, so that a change to one leaves the others as they were.
        let rng = |stream| {
            let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
            rng.set_stream(stream);
            rng
        };
        let mut faults = processes(&mut rng(1), length, options.replicas);
        faults.extend(models(&mut rng(2), length, Fault::Llm));
        faults.extend(models(&mut rng(3), length, Fault::Encoder));
        faults.sort_by_key(|timed| timed.at);
        Self {
            updates: updates::draw(&mut rng(0), options, length.mul_f64(0.9)),
            faults,
        }
    }
}

fn targets(replicas: usize) -> Vec<Target> {
    let stages = [
        stage::EMBEDDER,
        stage::SELECTOR,
        stage::EXTRACTOR,
        stage::PROFILER,
    ];
    let stages = stages
        .iter()
        .flat_map(|stage| (0..replicas).map(move |number| Target::Stage(stage, number)));
    [Target::Nats, Target::Edge]
        .into_iter()
        .chain(stages)
        .collect()
}

fn processes(rng: &mut ChaCha8Rng, length: Duration, replicas: usize) -> Vec<Timed> {
    let all = targets(replicas);
    // Each of them is killed once, however short the run; what comes after is drawn.
    let mut first = all.clone();
    first.shuffle(rng);
    let mut faults: Vec<Timed> = Vec::new();
    let mut at = Duration::from_millis(500);
    while at < length {
        let is_free = |target: Target| {
            let of_it = |timed: &&Timed| matches!(timed.fault, Fault::Process(t, _) if t == target);
            let last = faults.iter().rev().find(of_it);
            last.is_none_or(|timed| timed.at + timed.lasts + REST <= at)
        };
        let (target, blow) = match first.pop() {
            Some(target) => (target, Blow::Kill),
            None => (all[rng.random_range(0..all.len())], blow(rng)),
        };
        let lasts = Duration::from_millis(match blow {
            Blow::Kill => rng.random_range(100..3_000),
            // Some longer than the ack wait: another gets the work, and then there are two.
            Blow::Stop => rng.random_range(500..7_000),
            Blow::Restart => rng.random_range(500..2_000),
        });
        if is_free(target) {
            let fault = Fault::Process(target, blow);
            faults.push(Timed { at, lasts, fault });
        }
        at += Duration::from_millis(rng.random_range(GAP_MS));
    }
    faults
}

fn blow(rng: &mut ChaCha8Rng) -> Blow {
    match rng.random_range(0..100) {
        0..55 => Blow::Kill,
        55..85 => Blow::Stop,
        _ => Blow::Restart,
    }
}

fn models(rng: &mut ChaCha8Rng, length: Duration, fault: impl Fn(Mode) -> Fault) -> Vec<Timed> {
    let modes = [
        Mode::Slow(Duration::from_millis(60)),
        Mode::Hang,
        Mode::Stall,
        Mode::Status(500),
        Mode::Status(503),
        Mode::InvalidJson,
        Mode::CutMidStream,
        Mode::EndEarly,
        Mode::ErrorInStream,
        Mode::Die,
    ];
    let mut faults = Vec::new();
    let mut at = Duration::from_millis(rng.random_range(MODEL_GAP_MS));
    while at < length {
        let lasts = Duration::from_millis(rng.random_range(500..4_000));
        let mode = modes[rng.random_range(0..modes.len())];
        faults.push(Timed {
            at,
            lasts,
            fault: fault(mode),
        });
        at += lasts + Duration::from_millis(rng.random_range(MODEL_GAP_MS));
    }
    faults
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const OPTIONS: Options = Options {
        seed: 7,
        minutes: 1.0,
        updates: 800,
        users: 200,
        items: 60,
        replicas: 2,
    };

    #[test]
    fn the_same_seed_gives_the_same_schedule_and_another_seed_another_one() {
        let schedule = Schedule::new(&OPTIONS);
        assert_eq!(schedule, Schedule::new(&OPTIONS));
        let other = Schedule::new(&Options { seed: 8, ..OPTIONS });
        assert_ne!(schedule.updates, other.updates);
        assert_ne!(schedule.faults, other.faults);
    }

    /// So that a seed that found a fault finds it again after a change to this file: whoever changes
    /// the schedule on purpose writes the new numbers here.
    #[test]
    fn a_seed_means_the_same_for_ever() {
        let schedule = Schedule::new(&OPTIONS);
        let first = schedule.faults[0];
        let last = &schedule.updates[schedule.updates.len() - 1];
        let seen = (
            schedule.updates.len(),
            schedule.faults.len(),
            first.at,
            last.at,
        );
        assert_eq!(format!("{seen:?}"), "(800, 34, 500ms, 66.099513052s)");
    }

    #[test]
    fn even_a_short_run_kills_each_process() {
        let schedule = Schedule::new(&OPTIONS);
        let killed: HashSet<Target> = schedule
            .faults
            .iter()
            .filter_map(|timed| match timed.fault {
                Fault::Process(target, Blow::Kill) => Some(target),
                _ => None,
            })
            .collect();
        assert_eq!(killed.len(), targets(OPTIONS.replicas).len());
    }

    #[test]
    fn faults_of_one_process_do_not_overlap() {
        let long = Options {
            minutes: 15.0,
            ..OPTIONS
        };
        let faults = Schedule::new(&long).faults;
        assert!(faults.len() > 300, "{}", faults.len());
        for (index, timed) in faults.iter().enumerate() {
            let Fault::Process(target, _) = timed.fault else {
                continue;
            };
            let later = faults[index + 1..].iter();
            let mut of_it =
                later.filter(|next| matches!(next.fault, Fault::Process(t, _) if t == target));
            if let Some(next) = of_it.next() {
                assert!(next.at >= timed.at + timed.lasts, "{timed:?}, {next:?}");
            }
        }
    }
}
