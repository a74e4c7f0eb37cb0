use super::*;

fn rule(min: u32, max: u32) -> Rule {
    let policy = |kind, value, period_s| Policy {
        kind,
        value,
        period_s,
    };
    Rule {
        stream: "FOIL_EXTRACT".to_owned(),
        consumer: "extractor".to_owned(),
        threshold: 32,
        activation: 0,
        min,
        max,
        polling_s: 15.0,
        cooldown_s: 300.0,
        up: Direction {
            window_s: 0.0,
            policies: vec![
                policy(Unit::Percent, 100, 30.0),
                policy(Unit::Pods, 1, 30.0),
            ],
        },
        down: Direction {
            window_s: 300.0,
            policies: vec![policy(Unit::Pods, 1, 60.0)],
        },
    }
}

/// Replicas at each sync: seconds, and count where it changed.
fn play(rule: Rule, start: u32, seconds: u32, lag: impl Fn(f64) -> u64) -> Vec<(u32, u32)> {
    let mut scaler = Scaler::new(rule);
    let mut replicas = start;
    let mut changes = Vec::new();
    for second in (0..seconds).step_by(5) {
        let now = f64::from(second);
        let wanted = scaler.wanted(now, replicas, lag(now));
        if wanted != replicas {
            changes.push((second, wanted));
        }
        replicas = wanted;
    }
    changes
}

#[test]
fn a_long_queue_doubles_the_replicas_each_period_up_to_the_maximum() {
    let changes = play(rule(2, 16), 2, 300, |_| 20_000);
    assert_eq!(changes, [(0, 4), (30, 8), (60, 16)]);
}

#[test]
fn as_many_replicas_as_the_lag_needs_and_no_more() {
    assert_eq!(play(rule(1, 16), 1, 300, |_| 80), [(0, 2), (30, 3)]);
    assert_eq!(play(rule(1, 16), 1, 300, |_| 36), [(0, 2)]);
    assert_eq!(play(rule(1, 16), 1, 300, |_| 32), []);
}

#[test]
fn a_lag_within_the_tolerance_changes_nothing() {
    // 1.03 thresholds for one replica; 1.09 for each of two, where three would be the lag divided.
    assert_eq!(play(rule(1, 16), 1, 300, |_| 33), []);
    assert_eq!(play(rule(1, 16), 1, 300, |_| 70), [(0, 2)]);
    assert_eq!(play(rule(1, 16), 2, 900, |_| 58), []);
}

#[test]
fn replicas_go_one_by_one_after_the_window() {
    let changes = play(rule(2, 16), 5, 900, |now| if now < 100.0 { 150 } else { 0 });
    // The last high recommendation was at 90.
    assert_eq!(changes, [(390, 4), (450, 3), (510, 2)]);
}

#[test]
fn a_lag_that_comes_and_goes_moves_nothing_down() {
    let waves = |now: f64| {
        if ((now / 60.0) as u64).is_multiple_of(2) {
            150
        } else {
            0
        }
    };
    assert_eq!(play(rule(2, 16), 2, 1_800, waves), [(0, 4), (30, 5)]);
}

#[test]
fn none_are_left_after_the_cooldown_and_the_first_message_wakes_one() {
    let lag = |now: f64| if !(50.0..600.0).contains(&now) { 20 } else { 0 };
    let changes = play(rule(0, 4), 0, 900, lag);
    // It was last active at 45: the poll at 345 is not past the cooldown, the next one is.
    assert_eq!(changes, [(0, 1), (360, 0), (600, 1)]);
}

#[test]
fn work_at_hand_keeps_its_replica() {
    // One message that is delivered and not acknowledged.
    assert_eq!(play(rule(0, 4), 1, 3_600, |_| 1), []);
}
