//! `--wait`: until nothing is left to do.

use std::fmt;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use async_nats::jetstream::Context as JetStream;
use async_nats::jetstream::stream::RawMessageErrorKind;
use foil_proto::names::{header, stage, stream};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::meter::LINE_EVERY;
use crate::render;
use crate::session::Session;

const POLL_EVERY: Duration = Duration::from_millis(500);
/// Between a message's ack and its successor's there is a moment in which nothing shows.
const IDLE_POLLS: u32 = 2;
/// A server that runs fires a schedule at its time; one that was just started may take a while.
const OVERDUE: SignedDuration = SignedDuration::from_secs(20);
/// Most messages that are looked at for being no work.
const BROUGHT_BACK_MAX: u64 = 10_000;
/// Polls in a row that may fail.
const FAILURES_MAX: u32 = 20;

/// What is still to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Updates that the embedder has not finished.
    pub records: u64,
    /// Items whose records are to be clustered.
    pub items: u64,
    pub comparisons: u64,
    /// Those that wait for their user's burst to end included.
    pub profiles: u64,
}

impl Left {
    /// All of it together.
    pub fn total(self) -> u64 {
        self.records + self.items + self.comparisons + self.profiles
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            records,
            items,
            comparisons,
            profiles,
        } = self;
        let parts = [
            render::count(*records, "record"),
            render::count(*items, "item"),
            render::count(*comparisons, "comparison"),
            render::count(*profiles, "profile"),
        ];
        write!(f, "left: {}", parts.join(", "))
    }
}

/// How the wait went.
pub struct Waited {
    pub seconds: f64,
    /// Nothing when all is done.
    pub left: Option<Left>,
}

/// Waits until the queues stay empty, at most `timeout`.
///
/// # Errors
/// When NATS does not answer for a while, or a stream is missing.
pub async fn until_done(session: &Session, timeout: Duration) -> Result<Waited> {
    let started = Instant::now();
    let mut show = Show::new();
    let (mut idle, mut failures) = (0, 0);
    let mut last = Left::default();
    loop {
        match left(&session.jetstream).await {
            Ok(left) => {
                failures = 0;
                last = left;
                idle = if left.total() == 0 { idle + 1 } else { 0 };
                show.update(left, started.elapsed());
            }
            Err(error) if failures >= FAILURES_MAX => {
                show.finish();
                return Err(error);
            }
            Err(_) => failures += 1,
        }
        let elapsed = started.elapsed();
        let done = idle >= IDLE_POLLS;
        if done || elapsed >= timeout {
            show.finish();
            let seconds = elapsed.as_secs_f64();
            let left = (!done).then_some(last);
            return Ok(Waited { seconds, left });
        }
        tokio::time::sleep(POLL_EVERY.min(timeout - elapsed)).await;
    }
}

/// Says every 5 seconds what is left, until it is dropped. A server that does not answer leaves a
/// line out.
pub async fn tell(jetstream: JetStream) {
    let started = Instant::now();
    loop {
        tokio::time::sleep(LINE_EVERY).await;
        if let Ok(left) = left(&jetstream).await {
            note!("wait: {:.0} s, {left}", started.elapsed().as_secs_f64());
        }
    }
}

/// What is left now.
///
/// # Errors
/// When NATS does not answer, or a stream is missing.
pub async fn left(jetstream: &JetStream) -> Result<Left> {
    Ok(Left {
        records: waiting(jetstream, stream::UPDATES, stage::EMBEDDER).await?,
        items: waiting(jetstream, stream::SELECT, stage::SELECTOR).await?,
        comparisons: waiting(jetstream, stream::EXTRACT, stage::EXTRACTOR).await?,
        profiles: profiles(jetstream).await?,
    })
}

/// What the consumer has before it. Not what its stream holds: a nats-server that was killed may bring
/// back messages that were acked, and delivers them to nobody.
async fn waiting(jetstream: &JetStream, name: &'static str, consumer: &'static str) -> Result<u64> {
    let stream = jetstream.get_stream_no_info(name).await.context(name)?;
    let info = stream.consumer_info(consumer).await;
    let info = info.with_context(|| format!("consumer {consumer}"))?;
    Ok(info.num_pending + info.num_ack_pending as u64)
}
/// Profiles that are queued or scheduled: the stream's messages without those at its front that such a
/// server brought back, acked ones and schedules that it fired. Once all work is done only these are
/// left, so the count ends at 0.
async fn profiles(jetstream: &JetStream) -> Result<u64> {
    let stream = jetstream.get_stream(stream::PROFILE).await;
    let stream = stream.context(stream::PROFILE)?;
    let state = &stream.cached_info().state;
    let profiler = stream.consumer_info(stage::PROFILER).await;
    let profiler = profiler.with_context(|| format!("consumer {}", stage::PROFILER))?;
    let done = profiler.ack_floor.stream_sequence;
    let (mut back, mut from) = (0, state.first_sequence);
    while back < state.messages.min(BROUGHT_BACK_MAX) {
        let ask = stream.raw_message_builder().sequence(from);
        let message = match ask.next_by_subject(">").send().await {
            Ok(message) => message,
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => break,
            Err(error) => return Err(error).context(stream::PROFILE),
        };
        let is_work = match message.headers.get(header::SCHEDULE) {
            Some(schedule) => !is_overdue(schedule.as_str(), Timestamp::now()),
            None => message.sequence > done,
        };
        if is_work {
            break;
        }
        back += 1;
        from = message.sequence + 1;
    }
    Ok(state.messages.saturating_sub(back))
}

/// Whether its time, as in `@at 2026-01-01T00:00:00Z`, has long come. What is no time is not.
fn is_overdue(schedule: &str, now: Timestamp) -> bool {
    let at = schedule.strip_prefix("@at ");
    let at = at.and_then(|at| at.parse::<Timestamp>().ok());
    at.is_some_and(|at| now.duration_since(at) > OVERDUE)
}

/// Sequence of the newest dead letter; 0 without one.
///
/// # Errors
/// When NATS does not answer, or the stream is missing.
pub async fn dead_sequence(session: &Session) -> Result<u64> {
    let stream = session.jetstream.get_stream(stream::DEAD).await;
    let stream = stream.with_context(|| format!("{} (run `foil provision`)", stream::DEAD))?;
    Ok(stream.cached_info().state.last_sequence)
}

/// A bar over the most that was ever left: each record makes work for the later stages, so the
/// whole is known only when the first ones are through.
struct Show {
    bar: Option<ProgressBar>,
    most: u64,
    /// When that most was seen.
    since: Duration,
    last_line: Instant,
}

impl Show {
    fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("work    [{bar:30}] {elapsed}  {msg}");
            let style = style.map(|style| style.progress_chars("=> "));
            let bar = ProgressBar::new(1);
            bar.set_style(style.expect("the template is valid"));
            bar
        });
        Self {
            bar,
            most: 0,
            since: Duration::ZERO,
            last_line: Instant::now(),
        }
    }

    fn update(&mut self, left: Left, elapsed: Duration) {
        let total = left.total();
        if total >= self.most {
            (self.most, self.since) = (total, elapsed);
        }
        let mut text = left.to_string();
        if let Some(seconds) = seconds_left(left, self.most, elapsed.saturating_sub(self.since)) {
            text.push_str(&format!(", about {seconds:.0} s"));
        }
        if let Some(bar) = &self.bar {
            bar.set_length(self.most.max(1));
            bar.set_position(self.most - total);
            bar.set_message(text);
        } else if self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            note!("work: {:.0} s, {text}", elapsed.as_secs_f64());
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// At the pace since the most was left; none while more may be coming, or before a pace shows.
fn seconds_left(left: Left, most: u64, since: Duration) -> Option<f64> {
    let total = left.total();
    let done = most.saturating_sub(total);
    let may_grow = left.records > 0 || left.items > 0;
    if may_grow || done == 0 || since < Duration::from_secs(2) {
        return None;
    }
    Some(since.as_secs_f64() * total as f64 / done as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        let left = Left {
            records: 1,
            profiles: 2,
            ..Left::default()
        };
        let words = "left: 1 record, 0 items, 0 comparisons, 2 profiles";
        assert_eq!(left.to_string(), words);
    }

    #[test]
    fn a_schedule_is_overdue_when_its_time_has_long_come() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        assert!(is_overdue("@at 2026-01-01T00:00:39Z", now));
        assert!(!is_overdue("@at 2026-01-01T00:00:41Z", now));
        assert!(!is_overdue("@at 2026-01-01T00:02:00Z", now));
        assert!(!is_overdue("@every 1s", now));
    }

    #[test]
    fn time_left_is_told_only_when_the_whole_is_known() {
        let ten = Duration::from_secs(10);
        let left = Left {
            comparisons: 30,
            ..Left::default()
        };
        assert_eq!(seconds_left(left, 40, ten), Some(30.0));
        assert_eq!(seconds_left(left, 30, ten), None);
        assert_eq!(seconds_left(left, 40, Duration::from_secs(1)), None);
        let growing = Left { records: 1, ..left };
        assert_eq!(seconds_left(growing, 40, ten), None);
    }
}
