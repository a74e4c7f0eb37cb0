use foil_llm::Usage;

use super::*;
use crate::config::ExtractorConfig;

const PEER: &str = "The kettle sang all morning and nobody in the house minded it at all.";

fn criteria() -> Vec<Criterion> {
    ExtractorConfig::default().criteria
}

fn answer(text: String, finish: Finish) -> Completion {
    Completion {
        text,
        finish,
        usage: Usage::default(),
    }
}

/// An answer with this statement and confidence for "emotion", and good ones beside it.
fn with(statement: &str, confidence: Value) -> Completion {
    let good = json!({ "statement": "The author writes in short sentences.", "confidence": 0.8 });
    let value = json!({
        "writing": good,
        "emotion": { "statement": statement, "confidence": confidence },
        "semantics": good,
    });
    answer(value.to_string(), Finish::Stop)
}

fn sources() -> Sources {
    let own = ["The author uses more punctuation than others."];
    Sources::new([PEER], ["A kettle"], own, ["nils-77"])
}

fn fault(completion: &Completion) -> BadAnswer {
    check(completion, &criteria(), &sources()).unwrap_err()
}

#[test]
fn a_good_answer_gives_the_findings_in_the_configured_order() {
    let completion = with("The author is\n calm and  dry.", json!(0.4));
    let findings = check(&completion, &criteria(), &sources()).unwrap();
    let names: Vec<&str> = findings.iter().map(|f| f.criterion.as_str()).collect();
    assert_eq!(names, ["writing", "emotion", "semantics"]);
    assert_eq!(findings[1].statement, "The author is calm and dry.");
    assert!((findings[1].confidence - 0.4).abs() < 1e-9);
}

#[test]
fn the_schema_asks_for_every_criterion_and_nothing_else() {
    let schema = schema(&criteria());
    assert_eq!(
        schema["required"],
        json!(["writing", "emotion", "semantics"])
    );
    assert_eq!(schema["additionalProperties"], json!(false));
    let statement = &schema["properties"]["emotion"]["properties"]["statement"];
    assert!(statement["pattern"].is_string());
}

#[test]
fn an_answer_that_does_not_hold_is_refused() {
    let criterion = || "emotion".to_owned();
    for (statement, confidence, expected) in [
        (
            "  \n ",
            json!(0.5),
            BadAnswer::Statement {
                criterion: criterion(),
                fault: BadStatement::Blank,
            },
        ),
        (
            "The author is calm.",
            json!(1.5),
            BadAnswer::Confidence {
                criterion: criterion(),
            },
        ),
        (
            "The author is calm.",
            json!("high"),
            BadAnswer::Confidence {
                criterion: criterion(),
            },
        ),
        (
            "The author says the kettle sang all morning and nobody in the house minded.",
            json!(0.5),
            BadAnswer::Quotes {
                criterion: criterion(),
            },
        ),
        (
            "The author is calmer than Nils-77.",
            json!(0.5),
            BadAnswer::Names {
                criterion: criterion(),
            },
        ),
        (
            "The author is very calm and the author is very calm and the author is very calm.",
            json!(0.5),
            BadAnswer::Statement {
                criterion: criterion(),
                fault: BadStatement::Loop,
            },
        ),
    ] {
        assert_eq!(
            fault(&with(statement, confidence)),
            expected,
            "{statement:?}"
        );
    }
}

#[test]
fn a_text_cut_up_into_several_statements_is_one_quotation() {
    let finding = |statement: &str| json!({ "statement": statement, "confidence": 0.7 });
    let value = json!({
        "writing": finding("The author the kettle sang all morning"),
        "emotion": finding("The author and nobody in the house"),
        "semantics": finding("The author minded it at all."),
    });
    let completion = answer(value.to_string(), Finish::Stop);
    assert_eq!(fault(&completion), BadAnswer::QuotesTogether);
}

#[test]
fn whoever_wrote_what_foil_says_itself_keeps_no_statement_from_being_stored() {
    let fact = "The author uses more punctuation than others.";
    let hostile = Sources::new([fact], [fact], [fact], ["author", "more"]);
    check(&with(fact, json!(0.5)), &criteria(), &hostile).unwrap();
    let no_facts = Sources::new([fact], [], [], []);
    let fault = check(&with(fact, json!(0.5)), &criteria(), &no_facts).unwrap_err();
    assert!(matches!(fault, BadAnswer::Follows { .. }), "{fault}");
}

#[test]
fn what_is_no_whole_object_is_refused() {
    let whole = with("The author is calm.", json!(0.5)).text;
    assert_eq!(
        fault(&answer(whole.clone(), Finish::Length)),
        BadAnswer::Unfinished
    );
    let half = whole[..whole.len() / 2].to_owned();
    for text in [
        half,
        "[]".to_owned(),
        String::new(),
        format!("{whole} and more"),
    ] {
        assert_eq!(fault(&answer(text, Finish::Stop)), BadAnswer::Malformed);
    }
    let missing = answer("{\"writing\": {}}".to_owned(), Finish::Stop);
    assert!(matches!(fault(&missing), BadAnswer::Missing { .. }));
}

#[test]
fn a_fault_holds_nothing_of_the_answer() {
    let fault = fault(&with("a private matter of theirs", json!(7)));
    assert!(!fault.to_string().contains("private"));
}
