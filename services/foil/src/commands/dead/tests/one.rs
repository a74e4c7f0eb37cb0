//! One letter by its number, and what goes with it.

use super::*;

fn purge_args(filter: DeadFilter, sequence: Option<u64>) -> DeadVerb {
    DeadVerb::Purge(PurgeArgs {
        filter,
        sequence,
        dry_run: false,
    })
}

fn own() -> DeadFilter {
    DeadFilter {
        this_tenant: true,
        ..EVERYTHING
    }
}

async fn refusal(test: &Test, verb: &DeadVerb) -> String {
    let refused = run(&test.session, verb).await;
    refused.expect_err("it is refused").to_string()
}

#[tokio::test]
async fn another_tenants_letter_is_not_there() {
    let test = provisioned().await;
    let mine = update(&test, "demo", "a").await;
    let theirs = update(&test, "other", "b").await;
    for verb in [
        show_verb(theirs, own()),
        DeadVerb::Redrive(redrive_args(own(), Some(theirs), false)),
        purge_args(own(), Some(theirs)),
    ] {
        let words = refusal(&test, &verb).await;
        let wanted = format!("there is no dead letter {theirs} of tenant demo");
        assert_eq!(words, wanted, "{verb:?}");
    }
    let words = refusal(&test, &show_verb(99, own())).await;
    assert_eq!(words, "there is no dead letter 99 of tenant demo");
    let words = refusal(&test, &show_verb(99, EVERYTHING)).await;
    assert_eq!(words, "there is no dead letter 99");
    assert_eq!(sequences(&test, &EVERYTHING).await, [mine, theirs]);
    for verb in [show_verb(mine, own()), purge_args(own(), Some(mine))] {
        let code = run(&test.session, &verb).await.expect("it ran");
        assert_eq!(code, ExitCode::SUCCESS);
    }
    assert_eq!(sequences(&test, &EVERYTHING).await, [theirs]);
}

#[tokio::test]
async fn every_filter_counts_for_one_letter_too() {
    let test = provisioned().await;
    let sequence = update(&test, "demo", "a").await;
    let filters = || {
        [
            DeadFilter {
                stage: Some("extractor".into()),
                ..EVERYTHING
            },
            DeadFilter {
                reason: Some("exhausted".into()),
                ..EVERYTHING
            },
            DeadFilter {
                older_than: Some(Duration::from_secs(3_600)),
                ..EVERYTHING
            },
            DeadFilter {
                newer_than: Some(Duration::ZERO),
                ..EVERYTHING
            },
        ]
    };
    let wanted = format!("there is no dead letter {sequence} that the filters let through");
    for filter in filters() {
        let verb = purge_args(filter, Some(sequence));
        assert_eq!(refusal(&test, &verb).await, wanted, "{verb:?}");
    }
    for filter in filters() {
        let verb = DeadVerb::Redrive(redrive_args(filter, Some(sequence), false));
        assert_eq!(refusal(&test, &verb).await, wanted, "{verb:?}");
    }
    assert_eq!(sequences(&test, &EVERYTHING).await, [sequence]);
    let fitting = DeadFilter {
        stage: Some("embedder".into()),
        reason: Some("invalid".into()),
        ..own()
    };
    let verb = DeadVerb::Redrive(redrive_args(fitting, Some(sequence), false));
    let code = run(&test.session, &verb).await.expect("it ran");
    assert_eq!(code, ExitCode::SUCCESS);
    assert!(sequences(&test, &EVERYTHING).await.is_empty());
}

#[tokio::test]
async fn redriving_needs_to_be_told_what() {
    let test = provisioned().await;
    let sequence = update(&test, "demo", "a").await;
    for dry_run in [true, false] {
        let verb = DeadVerb::Redrive(redrive_args(EVERYTHING, None, dry_run));
        let words = refusal(&test, &verb).await;
        assert!(words.starts_with("redrive needs --sequence, "), "{words}");
    }
    assert_eq!(sequences(&test, &EVERYTHING).await, [sequence]);
}

#[test]
fn a_subject_is_compared_token_by_token() {
    let subject = "foil.v1.dead.embedder.acme";
    for (wanted, is) in [
        ("foil.v1.dead.*.*", true),
        ("foil.v1.dead.embedder.acme", true),
        ("foil.v1.dead.*.acme2", false),
        ("foil.v1.dead.selector.*", false),
        ("foil.v1.dead.*", false),
        ("foil.v1.dead.*.*.*", false),
    ] {
        assert_eq!(is_filed(subject, wanted), is, "{wanted}");
    }
}
