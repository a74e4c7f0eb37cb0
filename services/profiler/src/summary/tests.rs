use foil_llm::Usage;

use super::*;

fn answer(text: &str, finish: Finish) -> Completion {
    Completion {
        text: text.to_owned(),
        finish,
        usage: Usage::default(),
    }
}

#[test]
fn a_summary_keeps_at_most_four_whole_sentences() {
    let text = "The author is terse. They count\n coins! Do they smile? Never. They go on. And";
    let summary = check(&answer(text, Finish::Length)).unwrap();
    assert_eq!(
        summary,
        "The author is terse. They count coins! Do they smile? Never."
    );
}

#[test]
fn a_half_sentence_at_the_end_goes() {
    let text = "The author writes in short sentences. The author often comp";
    for finish in [Finish::Length, Finish::Stop] {
        let summary = check(&answer(text, finish)).unwrap();
        assert_eq!(summary, "The author writes in short sentences.");
    }
}

#[test]
fn one_sentence_without_a_full_stop_is_a_summary_if_the_model_ended_it() {
    let text = "The author writes in short sentences";
    assert_eq!(check(&answer(text, Finish::Stop)).unwrap(), text);
    let fault = check(&answer(text, Finish::Length)).unwrap_err();
    assert_eq!(fault, BadSummary::Unfinished);
}

#[test]
fn blank_and_looping_answers_are_refused() {
    for text in [
        "",
        " \n\t ",
        "...",
        "Yes.",
        "Fine. And so they went on and on",
    ] {
        let fault = check(&answer(text, Finish::Stop)).unwrap_err();
        assert_eq!(fault, BadSummary::Blank, "{text:?}");
    }
    let text = "The author likes the sea. ".repeat(4);
    let fault = check(&answer(&text, Finish::Stop)).unwrap_err();
    assert_eq!(fault, BadSummary::Loop);
}

#[test]
fn the_strongest_facts_come_first() {
    let evidence = |feature: &str, z_score: f64| v1::Evidence {
        feature: feature.to_owned(),
        value: 7.1,
        peers_mean: 14.25,
        item_mean: 13.0,
        z_score,
    };
    let all = [
        evidence("words", 0.2),
        evidence("words_per_sentence", -2.0),
        evidence("capitals", 1.0),
    ];
    let expected = [
        "words per sentence: 7.1, others 14.2 (lower)",
        "capitals: 7.1, others 14.2 (lower)",
    ];
    assert_eq!(facts(&all, 2), expected);
}
