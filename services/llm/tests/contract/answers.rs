//! Checks of one request at a time.

use serde_json::{Value, json};

use super::*;

pub async fn streaming_gives_the_whole_text_in_several_deltas(make: Make) {
    let subject = make(Limits::default()).await;
    let request = ask("Describe the sea in one sentence.", 24);
    warm(&subject.model, &request).await;
    let events: Vec<_> = within(
        "the stream",
        start(&subject.model, request.clone())
            .await
            .collect::<Vec<_>>(),
    )
    .await;
    let events: Vec<_> = events.into_iter().map(|event| event.unwrap()).collect();
    let (last, deltas) = events.split_last().expect("a stream has events");
    assert!(matches!(last, ChatEvent::Done { .. }), "last is {last:?}");
    let mut text = String::new();
    for delta in deltas {
        match delta {
            ChatEvent::Delta(delta) => text.push_str(delta),
            done @ ChatEvent::Done { .. } => panic!("{done:?} before the end"),
        }
    }
    assert!(deltas.len() >= 2, "{} deltas", deltas.len());
    assert_eq!(answer(&subject.model, request).await.text, text);
}

fn difference_schema() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["statement", "confidence", "tags"],
        "properties": {
            "statement": {"type": "string", "minLength": 1, "maxLength": 60},
            "confidence": {"enum": ["low", "medium", "high"]},
            "tags": {"type": "array", "minItems": 1, "maxItems": 2,
                     "items": {"type": "string", "maxLength": 12}}
        }
    })
}

pub async fn json_schema_output_parses_and_validates(make: Make) {
    let subject = make(Limits::default()).await;
    let schema = difference_schema();
    for (seed, temperature) in [(0, 0.0), (1, 0.9), (2, 0.9)] {
        let mut request = ask("Compare tea with coffee. Answer in JSON.", 200);
        request.schema = Some(schema.clone());
        request.temperature = temperature;
        request.seed = seed;
        let completion = answer(&subject.model, request).await;
        assert_eq!(completion.finish, Finish::Stop, "{}", completion.text);
        let value: Value = serde_json::from_str(&completion.text)
            .unwrap_or_else(|error| panic!("{error} in {}", completion.text));
        let faults = schema::faults(&schema, &value);
        assert!(faults.is_empty(), "{faults:?} in {}", completion.text);
    }
}

pub async fn an_impossible_schema_is_invalid(make: Make) {
    let subject = make(Limits::default()).await;
    let mut request = ask("Anything.", 20);
    request.schema = Some(json!("this is not a schema"));
    let error = refusal(&subject.model, request).await;
    assert!(
        matches!(&error, EngineError::Invalid(text) if text.contains("schema")),
        "{error}"
    );
}

pub async fn the_text_ends_before_a_stop_string(make: Make) {
    let subject = make(Limits::default()).await;
    let request = ask("List five fruits in one sentence.", 40);
    warm(&subject.model, &request).await;
    let full = answer(&subject.model, request.clone()).await.text;
    let chars: Vec<(usize, char)> = full.char_indices().collect();
    assert!(chars.len() >= 20, "too short to cut: {full:?}");
    // Five characters span tokens wherever they are cut out.
    let stop = &full[chars[chars.len() / 2].0..chars[chars.len() / 2 + 5].0];
    let end = full.find(stop).expect("it was cut out of the text");
    let mut request = request;
    request.stop = vec!["never in any text \u{2603}".into(), stop.into()];
    let completion = answer(&subject.model, request).await;
    assert_eq!(completion.text, full[..end], "stop string {stop:?}");
    assert_eq!(completion.finish, Finish::Stop);
}

pub async fn usage_counts_agree_with_count_tokens(make: Make) {
    let subject = make(Limits::default()).await;
    let model = &subject.model;
    assert_eq!(model.count_tokens("").unwrap(), 0);
    let mut before = 0;
    for words in [10, 200] {
        let request = ask(&"The quiet harbour woke slowly. ".repeat(words / 5), 8);
        let counted: u32 = request
            .messages
            .iter()
            .map(|message| model.count_tokens(&message.content).unwrap())
            .sum();
        let most = counted + model.template_tokens(request.messages.len());
        let usage = answer(model, request).await.usage;
        assert!(usage.prompt_tokens > before, "{usage:?}");
        assert!(usage.prompt_tokens <= most, "{usage:?}, counted {most}");
        assert!(usage.cached_tokens <= usage.prompt_tokens, "{usage:?}");
        before = usage.prompt_tokens;
    }
}

pub async fn max_tokens_is_kept(make: Make) {
    let subject = make(Limits::default()).await;
    for max_tokens in [1, 5] {
        let mut request = ask_long();
        request.max_tokens = max_tokens;
        let completion = answer(&subject.model, request).await;
        assert_eq!(completion.finish, Finish::Length);
        assert!(completion.usage.completion_tokens <= max_tokens);
        assert!(completion.usage.completion_tokens > 0);
        assert!(!completion.text.is_empty() || max_tokens == 1);
    }
}

pub async fn a_prompt_longer_than_the_context_is_refused(make: Make) {
    let subject = make(Limits {
        context_tokens: 512,
        ..Limits::default()
    })
    .await;
    assert!(subject.model.info().context_tokens <= 512);
    // The last is a megabyte: it must be refused too, and fast.
    for words in [700, 200_000] {
        let error = refusal(&subject.model, ask(&"word ".repeat(words), 8)).await;
        assert!(
            matches!(
                error,
                EngineError::PromptTooLong { .. } | EngineError::Invalid(_)
            ),
            "{error}"
        );
        assert!(!error.is_transient());
    }
    let mut request = ask("Short.", 8);
    request.max_tokens = 600;
    let error = refusal(&subject.model, request).await;
    assert!(!error.is_transient(), "no room to generate: {error}");
    answer(&subject.model, ask("Short.", 8)).await;
}

pub async fn a_malformed_request_is_invalid(make: Make) {
    let subject = make(Limits::default()).await;
    type Break = fn(&mut ChatRequest);
    let broken: [(&str, Break); 8] = [
        ("messages", |request| request.messages.clear()),
        ("max_tokens", |request| request.max_tokens = 0),
        ("temperature", |request| request.temperature = -1.0),
        ("temperature", |request| request.temperature = f32::NAN),
        ("top_p", |request| request.top_p = 0.0),
        ("frequency_penalty", |request| {
            request.frequency_penalty = -1.0;
        }),
        ("stop", |request| request.stop = vec![String::new()]),
        ("stop", |request| request.stop = vec!["x".into(); 9]),
    ];
    for (field, break_it) in broken {
        let mut request = ask("Fine.", 8);
        break_it(&mut request);
        let error = refusal(&subject.model, request).await;
        assert!(
            matches!(&error, EngineError::Invalid(text) if text.contains(field)),
            "{field}: {error}"
        );
    }
}

pub async fn greedy_answers_repeat(make: Make) {
    let subject = make(Limits::default()).await;
    let request = ask("Name three rivers.", 32);
    warm(&subject.model, &request).await;
    let first = answer(&subject.model, request.clone()).await;
    let second = answer(&subject.model, request).await;
    assert_eq!(first.text, second.text);
}
