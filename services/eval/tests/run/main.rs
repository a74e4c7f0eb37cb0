//! A whole run with the stub for model, judge and embedder: what each strategy's context holds, what it
//! costs, that no prompt knows the future, and that an interrupted run ends as one that was not.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashMap;

use foil_eval::data::Record;
use foil_eval::data::filter::HeldOut;
use foil_eval::run::writer::Ended;
use foil_eval::run::{Outcome, Sample, Variant};
use foil_llm::prompt::neutralise;
use support::{Place, TARGETS, start};

const STRATEGIES: &str = "table,dpl:differences=off,dpl:selection=random,dpl:samples=2,\
    dpl:without=emotion,dpl:evidence=off,dpl:summary=task";

/// By target, then by strategy.
fn by_target(outcome: &Outcome) -> Vec<HashMap<&str, &Sample>> {
    let count = Variant::list(STRATEGIES).unwrap().len();
    let targets = outcome.samples.chunks(count);
    targets
        .map(|own| own.iter().map(|s| (s.strategy.as_str(), s)).collect())
        .collect()
}

fn system(sample: &Sample) -> &str {
    &sample.prompt[0].1
}

/// The turns before the task: what was asked for and what the user wrote.
fn turns(sample: &Sample) -> &[(String, String)] {
    &sample.prompt[1..sample.prompt.len() - 1]
}

fn task(sample: &Sample) -> &str {
    &sample.prompt[sample.prompt.len() - 1].1
}

#[tokio::test]
async fn a_context_differs_only_where_it_should() {
    let place = Place::new();
    let outcome = start(&place, STRATEGIES, TARGETS).await.unwrap();
    for of in by_target(&outcome) {
        let (rag, none) = (of["rag"], of["non-perso"]);
        let head = system(rag);
        for (name, sample) in &of {
            assert_eq!(task(sample), task(rag), "{name}");
            assert_eq!(
                (sample.used.as_str(), sample.degraded.as_str()),
                (name.split(':').next().unwrap(), "")
            );
            if *name == "non-perso" {
                continue;
            }
            assert!(system(sample).starts_with(head), "{name}");
            if *name != "dpl:samples=2" {
                assert_eq!(turns(sample), turns(rag), "{name}");
            }
        }
        assert_eq!((turns(none).len(), none.context.as_str()), (0, ""));
        assert_eq!(turns(of["dpl:samples=2"]).len(), 4);
        assert_eq!(system(rag), head);

        let dpl = system(of["dpl"]);
        assert!(
            dpl.contains("<profile>\n") && dpl.contains("<differences item"),
            "{dpl}"
        );
        assert!(dpl.contains("Measured against other people"), "{dpl}");
        let without = system(of["dpl:without=emotion"]);
        assert!(dpl.contains("- emotion:") && !without.contains("- emotion:"));
        let off = system(of["dpl:differences=off"]);
        assert!(
            !off.contains("<differences item") && off.contains("Measured against"),
            "{off}"
        );
        let blind = system(of["dpl:evidence=off"]);
        assert!(
            blind.contains("<differences item") && !blind.contains("Measured against"),
            "{blind}"
        );

        for name in ["intsum", "llm-trsr", "persona-db"] {
            let system = system(of[name]);
            assert!(system.contains("<profile>\n"), "{name}: {system}");
            assert!(
                !system.contains("Measured") && !system.contains("<differences item"),
                "{name}"
            );
        }
        // What others wrote, and how they are, is in the prompt and not in what a caller gets.
        for (name, tag) in [("cicl", "<contrast "), ("persona-db", "<similar_people>")] {
            assert!(
                system(of[name]).contains(tag),
                "{name}: {}",
                system(of[name])
            );
            assert!(!of[name].context.contains(tag), "{name}");
        }
        assert!(!system(of["cicl"]).contains("<profile>\n"));
    }
}

#[tokio::test]
async fn peers_wrote_before_the_target() {
    let place = Place::new();
    let outcome = start(&place, "cicl", TARGETS).await.unwrap();
    let mut others = 0;
    for sample in &outcome.samples {
        let target = place.at(&sample.user, &sample.item);
        for text in place.texts_but_of(&sample.user) {
            // Long texts are shortened, at their ends.
            let beginning: String = text.text.chars().take(80).collect();
            if system(sample).contains(&beginning) {
                others += 1;
                assert!(text.occurred_at_ms < target, "a text of the future");
            }
        }
    }
    assert!(others > TARGETS, "{others}");
}

/// How a text begins in a prompt, however short it is cut there.
fn opening(record: &Record) -> String {
    neutralise(&record.text).chars().take(40).collect()
}

/// What the prompts of a run for one target hold of the target itself, of its user's earlier texts, and
/// of other users' earlier and later ones.
#[derive(Debug, Default)]
struct Held {
    target: usize,
    own: usize,
    others: usize,
    later: usize,
}

async fn held(place: &Place, target: &HeldOut) -> Held {
    let outcome = start(place, STRATEGIES, 1).await.unwrap();
    assert_eq!(outcome.targets, 1);
    let (prompts, at) = (place.asked(), place.at(&target.user, &target.item));
    let mut held = Held::default();
    for record in place.records() {
        let begins = opening(record);
        let count = prompts.iter().filter(|p| p.contains(&begins)).count();
        let is_own = record.user == target.user;
        match (is_own, record.occurred_at_ms < at) {
            (true, _) if record.item == target.item => held.target += count,
            (true, true) => held.own += count,
            (false, true) => held.others += count,
            (_, false) => held.later += count,
        }
    }
    held
}

#[tokio::test]
async fn no_prompt_holds_the_target_or_a_later_text() {
    let everybody = Place::new();
    let targets = everybody.held_out();
    assert!(targets.len() > 10);
    for target in targets {
        let found = held(&Place::of_one(target), target).await;
        assert_eq!((found.target, found.later), (0, 0), "{target:?}");
        // Differences, profiles, summaries and texts were asked for.
        assert!(found.own > 20 && found.others > 20, "{target:?}: {found:?}");
    }
    // It would be seen: with later peers there are later texts, and still not the target's. Those of the
    // first two users are the last of all.
    let mut later = 0;
    for target in &targets[2..2 + TARGETS] {
        let mut place = Place::of_one(target);
        place.peers_before = false;
        let found = held(&place, target).await;
        assert_eq!(found.target, 0, "{target:?}");
        later += found.later;
    }
    assert!(later > 0);
}

#[tokio::test]
async fn each_strategy_costs_what_it_should_and_shares_what_it_can() {
    let place = Place::new();
    let outcome = start(&place, STRATEGIES, TARGETS).await.unwrap();
    for of in by_target(&outcome) {
        let calls = |name: &str| (of[name].cost.request.calls, of[name].cost.ahead.calls);
        assert_eq!(calls("non-perso"), (1, 0));
        assert_eq!(calls("rag"), (1, 0));
        assert_eq!(calls("intsum"), (2, 0));
        let blocks = of["llm-trsr"].history.min(20).div_ceil(5) as u64;
        assert_eq!(calls("llm-trsr"), (1 + blocks, 0));
        assert_eq!(calls("cicl"), (1, 0));
        // Two similar users, a profile each.
        assert_eq!(calls("persona-db"), (3, 2));
        let (request, ahead) = calls("dpl");
        assert!(request == 1 && ahead > 8, "{ahead}");
        assert_eq!(calls("dpl:differences=off"), (1, 1));
        let (request, ahead) = calls("dpl:summary=task");
        assert!(request == 2 && ahead == 8, "{ahead}");
        assert!(calls("dpl:samples=2").1 <= calls("dpl").1);
        let cost = of["rag"].cost.request;
        assert!(
            cost.tokens_in > 50 && cost.tokens_out > 5 && cost.seconds > 0.0,
            "{cost:?}"
        );
    }
    assert_eq!(place.stub.calls(), outcome.calls);
    let counted: u64 = outcome
        .samples
        .iter()
        .map(|s| s.cost.request.calls + s.cost.ahead.calls)
        .sum();
    let judged = outcome.samples.len() * support::JUDGEMENTS;
    assert_eq!(counted as usize + judged, outcome.calls + outcome.hits);
    assert!(outcome.hits > outcome.samples.len(), "{}", outcome.hits);
}

#[tokio::test]
async fn an_interrupted_run_ends_as_one_that_was_not() {
    let strategies = "dpl,rag,persona-db";
    let (whole, broken) = (Place::new(), Place::new());
    let first = start(&whole, strategies, TARGETS).await.unwrap();
    assert!(first.calls > 40, "{}", first.calls);
    let error = support::start_with(&broken, first.calls / 3, strategies, TARGETS).await;
    assert!(error.is_err());
    broken.tear_last_answer();
    let before = broken.stub.calls();
    let second = start(&broken, strategies, TARGETS).await.unwrap();
    assert!(before > 0 && second.calls < first.calls, "{}", second.calls);
    assert!(support::report(&second, &broken) == support::report(&first, &whole));
    let lines = std::fs::read_to_string(broken.out().join("samples.jsonl")).unwrap();
    let written = second.samples.iter();
    let written: Vec<String> = written.map(|s| serde_json::to_string(s).unwrap()).collect();
    assert!(
        lines.lines().eq(written),
        "samples.jsonl holds something else"
    );

    // Once more: nothing is asked, and even the times are the same.
    let third = start(&broken, strategies, TARGETS).await.unwrap();
    assert!(
        third.calls == 0 && third.samples == second.samples,
        "{} calls",
        third.calls
    );
}

#[tokio::test]
async fn targets_that_are_worked_on_at_once_end_in_the_same_report() {
    let strategies = "dpl,persona-db,dpl:summary=task";
    let (mut one, mut many) = (Place::new(), Place::new());
    (one.parallel, many.parallel) = (1, TARGETS);
    let first = start(&one, strategies, TARGETS).await.unwrap();
    let second = start(&many, strategies, TARGETS).await.unwrap();
    assert_eq!((first.calls, first.hits), (second.calls, second.hits));
    assert!(support::report(&first, &one) == support::report(&second, &many));
}

#[tokio::test]
async fn what_the_engine_refuses_is_counted_and_the_run_goes_on() {
    let mut place = Place::new();
    place.refused = Some("<contrast ");
    let outcome = start(&place, "cicl,rag", TARGETS).await.unwrap();
    for sample in &outcome.samples {
        let refused = sample.strategy == "cicl";
        assert_eq!(sample.ended == Ended::Refused, refused);
        assert_eq!(sample.output.is_empty(), refused);
        let says = |why: &String| why.contains("exceed the context");
        assert_eq!(sample.refusal.as_ref().is_some_and(says), refused);
    }
    let report = &support::report(&outcome, &place)["report.md"];
    assert!(report.contains("cicl: 3 texts refused, such as: prompt of 9 tokens"));
    assert!(report.contains("empty texts: 3"), "{report}");

    // A comparison that is refused is left out, and counted as well.
    let mut place = Place::new();
    place.refused = Some("<other> and <target>");
    let outcome = start(&place, "dpl", 1).await.unwrap();
    let tally = outcome.samples[0].tally;
    assert_eq!(tally.comparisons_failed, tally.comparisons);
    assert!(tally.comparisons > 0 && tally.profiles == 1);
    let report = &support::report(&outcome, &place)["report.md"];
    assert!(report.contains("comparisons failed"), "{report}");

    // Nothing could be read from a report of nothing.
    place.refused = Some("");
    std::fs::remove_dir_all(place.out()).unwrap();
    let error = start(&place, "dpl", 1).await.unwrap_err().to_string();
    assert!(error.contains("refuses every question"), "{error}");
}

#[tokio::test]
async fn the_report_holds_every_figure() {
    let place = Place::new();
    let outcome = start(&place, STRATEGIES, TARGETS).await.unwrap();
    let files = support::report(&outcome, &place);
    let report = &files["report.md"];
    for words in [
        "| dpl |",
        "| non-perso |",
        "*chance*",
        "*the user's own text*",
        "ROUGE-1",
        "METEOR",
        "BLEU of the corpus",
        "judge",
        "Invalid judgements, left out: 0 of 78.",
        "calls ahead",
        "Each against dpl",
        "Holm's correction",
        "| dpl:samples=2 | +0.0000 (1.000)",
        "(strategies.svg)",
        "(cost.svg)",
    ] {
        assert!(report.contains(words), "{words}: {report}");
    }
    let csv = &files["report.csv"];
    let figure = |strategy: &str, metric: &str| -> f64 {
        let begin = format!("{strategy},{metric},{TARGETS},");
        let line = csv.lines().find_map(|line| line.strip_prefix(&begin));
        let mean = line.unwrap().split(',').next().unwrap();
        mean.parse().unwrap()
    };
    assert_eq!(figure("rag", "calls"), 1.0);
    assert_eq!(figure("rag", "judge"), 0.5);
    assert!(figure("rag", "corpus_bleu") >= 0.0);
    // The stub writes one text for everybody: no strategy is better than another.
    assert_eq!(figure("dpl", "rouge_1"), figure("rag", "rouge_1"));
    for line in files["paired.csv"].lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        assert_eq!((cells[3], cells[6]), ("0", "1"), "{line}");
    }
    for (name, svg) in files.iter().filter(|(name, _)| name.ends_with(".svg")) {
        assert!(
            svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"),
            "{name}"
        );
    }
    assert!(files["strategies.svg"].contains("persona-db"));
    for sample in &outcome.samples {
        let judged = sample.scores.judge.as_ref().unwrap();
        assert_eq!((judged.scores.as_slice(), judged.invalid), (&[5, 5][..], 0));
        let style = sample.scores.attribution.unwrap().style;
        assert!((style.chance_top_1 - 0.2).abs() < 1e-9, "{style:?}");
    }
}
