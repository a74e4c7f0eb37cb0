//! How an attempt ends for its input: acked, given back, or copied and terminated.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::{Message, Request};
use bytes::Bytes;
use futures::FutureExt;

use super::{Delivery, Desk, Verdict};
use crate::burial::bury;
use crate::dead_letter::{DeadLetter, one_line, tenant_of};
use crate::error::{BoxError, Reason};
use crate::settle::{Attempt, Settlement, settle};
use crate::stage::Stage;

impl<S: Stage> Desk<S> {
    /// Tells the server, and gives the attempt as it is to be counted.
    pub(super) async fn settle(&self, delivery: &Delivery, verdict: Verdict) -> Attempt {
        let error = verdict
            .error
            .as_deref()
            .map(|error| one_line(error))
            .unwrap_or_default();
        let (attempt, settlement) = match self.decide(delivery, verdict.attempt).await {
            Ok(decided) => decided,
            Err(fault) => {
                let outcome = verdict.attempt.outcome();
                tracing::warn!(outcome, error, %fault, "no word on a dead letter: given back");
                self.health.suspect();
                self.postpone(delivery).await;
                return verdict.attempt;
            }
        };
        if matches!(attempt, Attempt::NotStored | Attempt::Unfinished { .. }) {
            self.shared.excused.add(delivery.stream_sequence);
        }
        let outcome = attempt.outcome();
        match settlement {
            Settlement::Ack => self.confirm(delivery, Bytes::from_static(b"+ACK")).await,
            Settlement::Nak(delay) if matches!(attempt, Attempt::Unfinished { .. }) => {
                tracing::info!(outcome, error, ?delay, "goes on in the next attempt");
                self.nak(delivery, delay).await;
            }
            Settlement::Nak(delay) => {
                tracing::warn!(outcome, error, ?delay, "given back");
                self.health.suspect();
                self.nak(delivery, delay).await;
            }
            Settlement::Dead(reason) => match self.bury(delivery, reason, error.clone()).await {
                Ok(()) => {
                    tracing::error!(outcome, reason = reason.as_str(), error, "dead-lettered");
                    self.metrics.dead(reason.as_str());
                    let term = format!("+TERM {}", reason.as_str());
                    self.confirm(delivery, term.into()).await;
                }
                Err(fault) => {
                    tracing::warn!(outcome, error, %fault, "no dead letter: given back");
                    self.postpone(delivery).await;
                }
            },
            Settlement::End => {
                let given_up_as = verdict.attempt.outcome();
                tracing::info!(outcome, given_up_as, error, "ended without a copy");
                self.confirm(delivery, format!("+TERM {outcome}").into())
                    .await;
            }
            Settlement::NakAndStop(delay) => {
                tracing::error!(error, "this process cannot serve");
                self.nak(delivery, delay).await;
                let cause = verdict.error.unwrap_or_else(|| "fatal".into());
                self.shared.note_fatal(cause);
                self.shutdown.trigger();
            }
        }
        attempt
    }

    /// The table's word, and the stage's where a copy would be kept.
    async fn decide(
        &self,
        delivery: &Delivery,
        attempt: Attempt,
    ) -> Result<(Attempt, Settlement), BoxError> {
        let policy = self.config.policy();
        let jitter = rand::random::<f64>();
        let settlement = settle(attempt, delivery.delivered, &policy, jitter);
        if !matches!(settlement, Settlement::Dead(_)) || self.may_be_kept(delivery).await? {
            return Ok((attempt, settlement));
        }
        let erased = Attempt::Erased;
        let settlement = settle(erased, delivery.delivered, &policy, jitter);
        Ok((erased, settlement))
    }

    async fn may_be_kept(&self, delivery: &Delivery) -> Result<bool, BoxError> {
        // No longer than the copy may take: the heartbeat's ceiling has room for the two.
        let limit = self.config.publish_timeout;
        let cx = self.context(delivery, limit);
        let asked =
            AssertUnwindSafe(async { self.stage.may_be_kept(&delivery.payload, &cx).await })
                .catch_unwind();
        match tokio::time::timeout(limit, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err("the stage panicked".into()),
            Err(_) => Err(format!("no word within {limit:?}").into()),
        }
    }

    async fn bury(
        &self,
        delivery: &Delivery,
        reason: Reason,
        error: String,
    ) -> Result<(), BoxError> {
        let letter = DeadLetter {
            stage: self.spec.name,
            stream: self.spec.stream.to_owned(),
            stream_sequence: delivery.stream_sequence,
            published_at: delivery.published_at,
            subject: delivery.subject.to_string(),
            tenant: tenant_of(&delivery.subject),
            deliveries: delivery.delivered,
            reason,
            error,
            headers: delivery.headers.clone(),
            payload: delivery.payload.clone(),
        };
        // No patience: the input is kept by its stream, and there is a next delivery.
        bury(&self.jetstream, &letter, self.spec.dead_event).await?;
        Ok(())
    }

    /// Gives back what was given up but cannot be ended now. Not the input's fault: counted, it would
    /// be taken for poison in the end, and its own reason be lost.
    async fn postpone(&self, delivery: &Delivery) {
        self.shared.excused.add(delivery.stream_sequence);
        // By the server's count: the delay must grow.
        let policy = self.config.policy();
        let delay = policy.backoff(delivery.counted, rand::random());
        self.nak(delivery, delay).await;
    }

    /// Gives back what no handler saw, to be delivered at once to another.
    pub(crate) async fn give_back(&self, message: Message) {
        if let Some(delivery) = self.delivery(message) {
            self.shared.excused.add(delivery.stream_sequence);
            self.nak(&delivery, Duration::ZERO).await;
        }
    }

    async fn nak(&self, delivery: &Delivery, delay: Duration) {
        let nak = AckKind::Nak((!delay.is_zero()).then_some(delay));
        if let Err(error) = self
            .client
            .publish(delivery.reply.clone(), nak.into())
            .await
        {
            tracing::warn!(%error, "an input was not given back: it waits for the ack wait");
        }
    }

    /// Settles for good, and waits for the server's word. Without it the input comes again, and the
    /// stage, being level-triggered, finds nothing left to do.
    async fn confirm(&self, delivery: &Delivery, kind: Bytes) {
        let request = Request::new()
            .payload(kind)
            .timeout(Some(self.config.publish_timeout));
        match self
            .client
            .send_request(delivery.reply.clone(), request)
            .await
        {
            Ok(_) => self.shared.excused.forget(delivery.stream_sequence),
            Err(error) => {
                tracing::warn!(%error, "settlement not confirmed: may be delivered again")
            }
        }
    }
}
