//! The settlement table as one pure function: what happened to an attempt, and how often the input
//! was delivered, decide what the server is told.

use std::time::Duration;

use crate::error::Reason;

/// How one attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// The handler succeeded and every output is stored.
    Done,
    /// The handler had nothing to do; the word may stand in a label.
    Skipped(&'static str),
    /// The handler asked for another attempt.
    Retry { after: Option<Duration> },
    /// The handler got on, and goes on in the next attempt.
    Unfinished { after: Duration },
    /// The handler ran out of time.
    TimedOut,
    /// The handler panicked.
    Panicked,
    /// The handler ruled the input out, or its bytes are no message.
    Rejected(Reason),
    /// The process cannot serve.
    Fatal,
    /// The outputs could not be stored now: a full stream, or no server. Not the input's fault.
    NotStored,
    /// The drain's time ran out under the handler.
    Cut,
    /// Delivered more often than the policy allows; the handler never ran.
    Poison,
    /// Given up, and of what may not be kept any more ([`crate::Stage::may_be_kept`]).
    Erased,
}

impl Attempt {
    /// As in the `outcome` label.
    pub fn outcome(self) -> &'static str {
        match self {
            Self::Done => "ok",
            Self::Skipped(_) => "skip",
            Self::Retry { .. } => "retry",
            Self::Unfinished { .. } => "unfinished",
            Self::TimedOut => "timeout",
            Self::Panicked => "panic",
            Self::Rejected(_) => "reject",
            Self::Fatal => "fatal",
            Self::NotStored => "not_stored",
            Self::Cut => "cut",
            Self::Poison => "poison",
            Self::Erased => "erased",
        }
    }

    /// As in the `reason` label: of a closed set, empty where there is none.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Skipped(why) => why,
            Self::Rejected(reason) => reason.as_str(),
            _ => "",
        }
    }
}

/// How patient to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Deliveries of one input, at least 1.
    pub max_deliveries: u64,
    /// Delay before the second delivery; doubles from there.
    pub backoff_base: Duration,
    /// No delay is longer.
    pub backoff_cap: Duration,
}

impl Policy {
    /// Delay after delivery number `delivered`: exponential, capped, and spread by `jitter` in
    /// `0.0..=1.0` over the upper half, so that inputs that failed together come back apart.
    pub fn backoff(&self, delivered: u64, jitter: f64) -> Duration {
        let doublings = u32::try_from(delivered.saturating_sub(1)).unwrap_or(u32::MAX);
        let factor = 2_u32.saturating_pow(doublings.min(31));
        let full = self
            .backoff_base
            .saturating_mul(factor)
            .min(self.backoff_cap);
        full.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
    }
}

/// What becomes of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// Acked, and the server's confirmation awaited.
    Ack,
    /// Given back, to be delivered again after the delay.
    Nak(Duration),
    /// Copied to the dead letters, then terminated. If the copy fails: NAK with
    /// [`Policy::backoff`], never a termination.
    Dead(Reason),
    /// Terminated without a copy.
    End,
    /// Given back, and the process stops.
    NakAndStop(Duration),
}

/// Decides. `delivered` counts from 1; `jitter` is in `0.0..=1.0`.
pub fn settle(attempt: Attempt, delivered: u64, policy: &Policy, jitter: f64) -> Settlement {
    let last = delivered >= policy.max_deliveries;
    let backoff = policy.backoff(delivered, jitter);
    match attempt {
        Attempt::Done | Attempt::Skipped(_) => Settlement::Ack,
        Attempt::Rejected(reason) => Settlement::Dead(reason),
        Attempt::Poison => Settlement::Dead(Reason::Poison),
        Attempt::Erased => Settlement::End,
        Attempt::Retry { .. } | Attempt::TimedOut | Attempt::Panicked if last => {
            Settlement::Dead(Reason::Exhausted)
        }
        Attempt::Retry { after } => Settlement::Nak(after.unwrap_or(backoff)),
        Attempt::Unfinished { after } => Settlement::Nak(after),
        Attempt::TimedOut | Attempt::Panicked | Attempt::NotStored => Settlement::Nak(backoff),
        Attempt::Fatal => Settlement::NakAndStop(backoff),
        // Another instance shall have it at once.
        Attempt::Cut => Settlement::Nak(Duration::ZERO),
    }
}

#[cfg(test)]
mod tests;
