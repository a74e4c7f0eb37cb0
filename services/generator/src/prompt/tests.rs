use foil_llm::stub::Scripted;
use foil_proto::v1;
use foil_store::{Record, RecordKey};

use super::*;
use crate::history::Sample;
use crate::strategy::{Known, Strategy};

const SAMPLES: usize = 8;
/// Words of each past text; `sample_chars` lets them through.
const WORDS: usize = 130;

/// A past text whose comparison found so many things, each 90 words long.
fn sample(number: usize, findings: usize) -> Sample {
    let finding = |criterion: usize| v1::Finding {
        criterion: format!("criterion {criterion}"),
        statement: "said ".repeat(90),
        confidence: 0.5,
    };
    let difference = v1::Difference {
        findings: (0..findings).map(finding).collect(),
        ..v1::Difference::default()
    };
    let key = RecordKey::new("acme", "mara", format!("thing {number}"));
    Sample {
        record: Record {
            difference: (findings > 0).then_some(difference),
            ..Record::new(key, format!("w{number} ").repeat(WORDS).trim())
        },
        item_title: String::new(),
    }
}

fn material(findings: usize, config: &GeneratorConfig) -> Material {
    let known = Known {
        samples: (0..SAMPLES).map(|n| sample(n, findings)).collect(),
        has_history: true,
        ..Known::default()
    };
    Material::new(Strategy::Dpl, &known, config)
}

/// Words of each past text in the prompt, the most alike first, and how many comparisons stand in
/// it. A word of the scripted model is a token, and its context has 2,048.
fn composed(findings: usize, sample_words_min: usize, max_tokens: u32) -> (Vec<usize>, usize) {
    let config = GeneratorConfig {
        sample_words_min,
        ..GeneratorConfig::default()
    };
    let task = Task {
        topic: Topic {
            item: "kettle".to_owned(),
            item_title: "The kettle".to_owned(),
            item_description: "It boils.".to_owned(),
            title: String::new(),
        },
        rating: None,
        max_tokens,
        temperature: None,
        seed: 1,
    };
    let material = material(findings, &config);
    let model = Scripted::always(String::new());
    let prompt = file().expect("a prompt");
    let request = compose(&prompt, &material, &task, &config, &*model).expect("it fits");
    let system = &request.messages[0].content;
    let pasts = request.messages.iter().rev();
    let pasts = pasts.filter(|message| message.role == Role::Assistant);
    let words = |message: &Message| {
        let words = message.content.split_whitespace();
        words.filter(|word| word.starts_with('w')).count()
    };
    let differences = system.matches("<differences item").count();
    (pasts.map(words).collect(), differences)
}

#[test]
fn what_fits_stays_whole() {
    assert_eq!(composed(0, 40, 0), (vec![WORDS; SAMPLES], 0));
}

#[test]
fn comparisons_go_before_key_samples_are_cut_to_fragments() {
    let (fragments, all) = composed(8, 0, 0);
    assert_eq!((fragments.len(), all), (SAMPLES, SAMPLES));
    assert!(fragments.iter().all(|&words| words < 40), "{fragments:?}");

    let (kept, some) = composed(8, 40, 0);
    assert_eq!(kept.len(), SAMPLES, "no text is left out: {kept:?}");
    assert!(kept.iter().all(|&words| words >= 40), "{kept:?}");
    assert!((1..SAMPLES).contains(&some), "{some} comparisons");
}

#[test]
fn the_least_key_samples_go_when_no_comparison_is_left() {
    // Half of the context is for the answer, and the rest does not hold eight whole texts.
    let (kept, comparisons) = composed(1, WORDS, 1024);
    assert_eq!(comparisons, 0);
    assert!((1..SAMPLES).contains(&kept.len()), "{kept:?}");
    assert!(kept.iter().all(|&words| words == WORDS), "{kept:?}");
}
