use super::*;

const POLICY: Policy = Policy {
    max_deliveries: 5,
    backoff_base: Duration::from_secs(1),
    backoff_cap: Duration::from_secs(30),
};

const ALL: [Attempt; 14] = [
    Attempt::Done,
    Attempt::Skipped("stale"),
    Attempt::Retry { after: None },
    Attempt::Retry {
        after: Some(Duration::from_secs(7)),
    },
    Attempt::Unfinished {
        after: Duration::from_millis(100),
    },
    Attempt::TimedOut,
    Attempt::Panicked,
    Attempt::Rejected(Reason::Undecodable),
    Attempt::Rejected(Reason::Invalid),
    Attempt::Fatal,
    Attempt::NotStored,
    Attempt::Cut,
    Attempt::Poison,
    Attempt::Erased,
];

/// Written out a second time, row by row, as the design's table has it.
fn row(attempt: Attempt, delivered: u64, backoff: Duration) -> Settlement {
    let last = delivered >= 5;
    match (attempt, last) {
        (Attempt::Done | Attempt::Skipped(_), _) => Settlement::Ack,
        (Attempt::Rejected(reason), _) => Settlement::Dead(reason),
        (Attempt::Poison, _) => Settlement::Dead(Reason::Poison),
        (Attempt::Erased, _) => Settlement::End,
        (Attempt::Retry { .. } | Attempt::TimedOut | Attempt::Panicked, true) => {
            Settlement::Dead(Reason::Exhausted)
        }
        (Attempt::Retry { after: Some(after) }, false) | (Attempt::Unfinished { after }, _) => {
            Settlement::Nak(after)
        }
        (Attempt::Retry { after: None } | Attempt::TimedOut | Attempt::Panicked, false)
        | (Attempt::NotStored, _) => Settlement::Nak(backoff),
        (Attempt::Fatal, _) => Settlement::NakAndStop(backoff),
        (Attempt::Cut, _) => Settlement::Nak(Duration::ZERO),
    }
}

#[test]
fn every_row_at_every_delivery() {
    for attempt in ALL {
        for delivered in 1..=12 {
            for jitter in [0.0, 0.3, 1.0] {
                let backoff = POLICY.backoff(delivered, jitter);
                assert_eq!(
                    settle(attempt, delivered, &POLICY, jitter),
                    row(attempt, delivered, backoff),
                    "{attempt:?}, delivery {delivered}"
                );
            }
        }
    }
}

#[test]
fn only_a_verdict_on_the_input_ends_it() {
    for attempt in ALL {
        let blameless = matches!(attempt, Attempt::NotStored | Attempt::Cut | Attempt::Fatal);
        for delivered in 1..=100 {
            let ended = matches!(
                settle(attempt, delivered, &POLICY, 0.5),
                Settlement::Dead(_)
            );
            assert!(!(blameless && ended), "{attempt:?} at {delivered}");
            let uncopied = settle(attempt, delivered, &POLICY, 0.5) == Settlement::End;
            assert_eq!(uncopied, attempt == Attempt::Erased);
        }
    }
}

#[test]
fn one_delivery_allowed_means_no_second() {
    let strict = Policy {
        max_deliveries: 1,
        ..POLICY
    };
    assert_eq!(
        settle(Attempt::TimedOut, 1, &strict, 0.0),
        Settlement::Dead(Reason::Exhausted)
    );
}

#[test]
fn backoff_doubles_and_is_capped() {
    let at = |delivered| POLICY.backoff(delivered, 1.0);
    assert_eq!(at(1), Duration::from_secs(1));
    assert_eq!(at(2), Duration::from_secs(2));
    assert_eq!(at(5), Duration::from_secs(16));
    assert_eq!(at(6), Duration::from_secs(30));
    assert_eq!(at(u64::MAX), Duration::from_secs(30));
    // A delivery count of 0 does not occur; it must not panic either.
    assert_eq!(at(0), Duration::from_secs(1));
}

#[test]
fn jitter_spreads_over_the_upper_half_only() {
    for delivered in 1..=10 {
        let full = POLICY.backoff(delivered, 1.0);
        for step in 0..=10 {
            let spread = POLICY.backoff(delivered, f64::from(step) / 10.0);
            assert!(spread >= full.mul_f64(0.499) && spread <= full);
        }
        assert_eq!(POLICY.backoff(delivered, 9.0), full);
        assert!(POLICY.backoff(delivered, -9.0) >= full.mul_f64(0.499));
    }
}
