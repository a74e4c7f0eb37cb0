use foil_llm::stub::Scripted;
use foil_llm::{Message, Role};

use super::*;
use crate::strategy::Contrast;

const OTHER: &str =
    "Gloriously thunderous kettle whistles wake my sleepy household every single day.";

fn guard() -> Guard {
    let known = Known {
        contrasts: vec![Contrast {
            sample: 0,
            text: OTHER.to_owned(),
        }],
        ..Known::default()
    };
    Guard::of(&known, &Topic::default()).expect("somebody else's text is shown")
}

fn chat() -> ChatRequest {
    let message = Message {
        role: Role::User,
        content: "Write.".to_owned(),
    };
    ChatRequest::new(vec![message], 32)
}

#[tokio::test]
async fn a_text_that_repeats_another_user_is_tried_again_and_then_refused() {
    let fine = "It boils. It stops.".to_owned();
    let model = Scripted::then(vec![OTHER.to_uppercase()], fine.clone());
    let (text, tries) = guard().ask(&*model, chat()).await.expect("a text");
    assert_eq!((text.text, tries), (fine, 2));
    let seeds: Vec<u64> = model.requests().iter().map(|r| r.seed).collect();
    assert_eq!(seeds, [0, 1]);
    let model = Scripted::always(format!("As they say: {OTHER}"));
    let refused = guard().ask(&*model, chat()).await;
    assert!(matches!(refused, Err(GuardError::Repeats)));
    assert_eq!(model.calls(), 2);
}

#[tokio::test]
async fn what_was_said_of_another_user_is_not_repeated_either() {
    let known = Known {
        similar: vec![format!("The author says: {OTHER}")],
        summary: Some("The author writes short and plain sentences about small things.".to_owned()),
        ..Known::default()
    };
    let guard = Guard::of(&known, &Topic::default()).expect("somebody else's summary is shown");
    let fine = "It boils. It stops.".to_owned();
    let model = Scripted::then(vec![OTHER.to_owned()], fine.clone());
    let (text, tries) = guard.ask(&*model, chat()).await.expect("a text");
    assert_eq!((text.text, tries), (fine, 2));
    let model = Scripted::always(OTHER.to_owned());
    let refused = guard.ask(&*model, chat()).await;
    assert!(matches!(refused, Err(GuardError::Repeats)));
    // What was summed up of the user may be said, whoever is described in the same words.
    let summary = known.summary.clone().unwrap_or_default();
    let both = Known {
        similar: vec![summary.clone()],
        ..known
    };
    let guard = Guard::of(&both, &Topic::default()).expect("a guard");
    assert!(guard.holds(&summary));
}

#[test]
fn without_others_there_is_nothing_to_guard() {
    assert!(Guard::of(&Known::default(), &Topic::default()).is_none());
}

#[test]
fn what_the_item_says_may_be_said() {
    let known = Known {
        contrasts: vec![Contrast {
            sample: 0,
            text: OTHER.to_owned(),
        }],
        ..Known::default()
    };
    let topic = Topic {
        item_description: OTHER.to_owned(),
        ..Topic::default()
    };
    let guard = Guard::of(&known, &topic).expect("a guard");
    assert!(guard.holds(OTHER));
}
