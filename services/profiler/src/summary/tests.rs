use foil_llm::Usage;

use super::*;

fn answer(text: &str, finish: Finish) -> Completion {
    Completion {
        text: text.to_owned(),
        finish,
        usage: Usage::default(),
    }
}

fn criteria() -> Vec<String> {
    ["writing", "tone"].map(str::to_owned).into()
}

fn of(writing: &str, tone: &str) -> Completion {
    let text = json!({ "tone": tone, "writing": writing }).to_string();
    answer(&text, Finish::Stop)
}

#[test]
fn a_summary_is_its_statements_in_order_each_once() {
    let summary = check(
        &of("The author is\n terse.", "The author is dry."),
        &criteria(),
    );
    assert_eq!(
        summary.as_deref(),
        Ok("The author is terse. The author is dry.")
    );
    let summary = check(&of("The author is dry.", "The author is dry."), &criteria());
    assert_eq!(summary.as_deref(), Ok("The author is dry."));
}

#[test]
fn what_does_not_hold_is_refused_and_named() {
    let fault = |answer: &Completion| check(answer, &criteria()).expect_err("a fault");
    let whole = of("The author is terse.", "The author is dry.");
    assert_eq!(
        fault(&answer(&whole.text, Finish::Length)),
        BadSummary::Unfinished
    );
    assert_eq!(
        fault(&answer("The author.", Finish::Stop)),
        BadSummary::Malformed
    );
    let half = answer("{\"writing\": \"The author is terse.\"}", Finish::Stop);
    assert_eq!(fault(&half).to_string(), "summary: tone: is missing");
    let blank = fault(&of(" \n ", "The author is dry."));
    assert_eq!(blank.to_string(), "summary: writing: statement is blank");
    let circles = "The author likes the sea and ".repeat(4);
    let circles = fault(&of("The author is terse.", &circles));
    assert_eq!(
        circles.to_string(),
        "summary: tone: statement repeats itself"
    );
}

#[test]
fn the_strongest_facts_come_first_and_weak_ones_not_at_all() {
    let evidence = |feature: &str, z_score: f64| v1::Evidence {
        feature: feature.to_owned(),
        value: 7.1,
        peers_mean: 14.25,
        item_mean: 13.0,
        z_score,
    };
    let all = [
        evidence("words", 0.2),
        evidence("capitals", 1.0),
        evidence("words_per_sentence", -2.0),
        evidence("rating", 0.6),
    ];
    let expected = [
        "writes far shorter sentences",
        "uses more words in capitals",
    ];
    assert_eq!(facts(&all, 2), expected);
    assert_eq!(facts(&all[..1], 2), [""; 0]);
}
