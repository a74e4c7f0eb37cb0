use foil_llm::stub::Scripted;
use foil_llm::{Message, collect};

use super::*;

/// Fails so often before it answers, and never at once.
struct Failing {
    model: Arc<Scripted>,
    left: AtomicUsize,
    fault: fn() -> EngineError,
}

impl LanguageModel for Failing {
    fn info(&self) -> &ModelInfo {
        self.model.info()
    }

    fn count_tokens(&self, text: &str) -> Result<u32, EngineError> {
        self.model.count_tokens(text)
    }

    fn template_tokens(&self, messages: usize) -> u32 {
        self.model.template_tokens(messages)
    }

    fn chat(&self, request: ChatRequest) -> BoxFuture<'_, Result<ChatStream, EngineError>> {
        async move {
            tokio::task::yield_now().await;
            let less = |left: usize| left.checked_sub(1);
            let order = Ordering::SeqCst;
            match self.left.fetch_update(order, order, less) {
                Ok(_) => Err((self.fault)()),
                Err(_) => self.model.chat(request).await,
            }
        }
        .boxed()
    }
}

fn away() -> EngineError {
    EngineError::Unavailable("it is gone".to_owned())
}

fn too_long() -> EngineError {
    EngineError::PromptTooLong {
        tokens: 9,
        max_tokens: 9,
        context: 9,
    }
}

fn script() -> Arc<Scripted> {
    let answers = ["one", "two"].map(str::to_owned).to_vec();
    Scripted::then(answers, "three".to_owned())
}

fn engine(model: Arc<dyn LanguageModel>, identity: &str) -> Engine {
    Engine {
        model,
        identity: identity.to_owned(),
        pause: Duration::ZERO,
    }
}

fn failing(model: &Arc<Scripted>, times: usize, fault: fn() -> EngineError) -> Engine {
    let model = Failing {
        model: Arc::clone(model),
        left: AtomicUsize::new(times),
        fault,
    };
    engine(Arc::new(model), "script")
}

fn open(path: &Path, engine: Engine) -> Arc<Cache> {
    Arc::new(Cache::open(path, engine).unwrap())
}

fn request(text: &str, seed: u64) -> ChatRequest {
    let message = Message {
        role: Role::User,
        content: text.to_owned(),
    };
    ChatRequest {
        seed,
        ..ChatRequest::new(vec![message], 8)
    }
}

async fn asked(cache: &Arc<Cache>, request: ChatRequest) -> (String, Cost) {
    let meter = Meter::new(cache);
    let stream = meter.chat(request).await.unwrap();
    let text = collect(stream).await.unwrap().text;
    (text, meter.cost())
}

#[tokio::test]
async fn what_was_asked_once_is_read_back_at_the_same_cost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answers.jsonl");
    let model = script();
    let cache = open(&path, engine(Arc::clone(&model) as _, "script"));
    let first = asked(&cache, request("a", 1)).await;
    assert_eq!(first.0, "one");
    assert_eq!(asked(&cache, request("a", 1)).await, first);
    // Another seed is another question.
    assert_eq!(asked(&cache, request("a", 2)).await.0, "two");
    assert_eq!((cache.hits(), cache.calls(), model.calls()), (1, 2, 2));
    drop(cache);

    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, [&whole[..], b"{\"key\":\"torn"].concat()).unwrap();
    let cache = open(&path, engine(Arc::clone(&model) as _, "script"));
    assert_eq!(std::fs::read(&path).unwrap(), whole);
    assert_eq!(asked(&cache, request("a", 1)).await, first);
    assert_eq!(asked(&cache, request("b", 1)).await.0, "three");
    assert_eq!((cache.hits(), cache.calls()), (1, 1));
}

#[tokio::test]
async fn another_model_of_the_same_name_is_asked_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answers.jsonl");
    let model = script();
    for (identity, answer) in [("first", "one"), ("second", "two"), ("first", "one")] {
        let cache = open(&path, engine(Arc::clone(&model) as _, identity));
        assert_eq!(asked(&cache, request("a", 1)).await.0, answer, "{identity}");
    }
    assert_eq!(model.calls(), 2);
}

#[tokio::test]
async fn a_bad_line_is_named_and_nothing_behind_it_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answers.jsonl");
    let cache = open(&path, engine(script(), "script"));
    asked(&cache, request("a", 1)).await;
    asked(&cache, request("b", 1)).await;
    drop(cache);
    let text = std::fs::read_to_string(&path).unwrap();
    let (first, second) = text.split_once('\n').unwrap();
    let damaged = format!("{first}\nsecret words\n{second}");
    std::fs::write(&path, &damaged).unwrap();
    let error = Cache::open(&path, engine(script(), "script"))
        .err()
        .unwrap();
    let error = format!("{error:#}");
    assert!(
        error.contains("answers.jsonl: line 2: is no answer") && !error.contains("secret"),
        "{error}"
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), damaged);
}

#[tokio::test]
async fn the_first_answer_of_a_question_counts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answers.jsonl");
    let cache = open(&path, engine(script(), "script"));
    asked(&cache, request("a", 1)).await;
    drop(cache);
    let line = std::fs::read_to_string(&path).unwrap();
    let again = line.replace("\"one\"", "\"later\"");
    assert_ne!(line, again);
    std::fs::write(&path, line + &again).unwrap();
    let cache = open(&path, engine(script(), "script"));
    assert_eq!(asked(&cache, request("a", 1)).await.0, "one");
    assert_eq!((cache.hits(), cache.calls()), (1, 0));
}

#[tokio::test]
async fn a_question_that_is_asked_twice_at_once_is_put_once() {
    let folder = tempfile::tempdir().unwrap();
    let model = script();
    let cache = open(
        &folder.path().join("answers.jsonl"),
        failing(&model, 0, away),
    );
    let (first, second) = tokio::join!(
        asked(&cache, request("a", 1)),
        asked(&cache, request("a", 1))
    );
    assert_eq!((first.0.as_str(), &first), ("one", &second));
    assert_eq!((cache.hits(), cache.calls(), model.calls()), (1, 1, 1));
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answers.jsonl");
    let cache = open(&path, engine(script(), "script"));
    let error = Cache::open(&path, engine(script(), "script"))
        .err()
        .unwrap();
    let error = format!("{error:#}");
    assert!(
        error.contains("answers.jsonl: another foil eval is at work"),
        "{error}"
    );
    drop(cache);
    open(&path, engine(script(), "script"));
}

#[tokio::test]
async fn a_model_that_is_away_is_asked_three_times_and_one_that_refuses_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answers.jsonl");
    let model = script();
    let cache = open(&path, failing(&model, 2, away));
    assert_eq!(asked(&cache, request("a", 1)).await.0, "one");
    drop(cache);

    let cache = open(&path, failing(&model, 3, away));
    let meter = Meter::new(&cache);
    let error = meter.chat(request("b", 1)).await.err().unwrap();
    assert!(matches!(error, EngineError::Unavailable(_)), "{error}");
    // Whoever asks next begins anew.
    assert_eq!(asked(&cache, request("b", 1)).await.0, "two");
    drop(meter);
    drop(cache);

    let cache = open(&path, failing(&model, 1, too_long));
    let error = Meter::new(&cache).chat(request("c", 1)).await.err();
    assert!(matches!(error, Some(EngineError::PromptTooLong { .. })));
    assert_eq!((cache.calls(), model.calls()), (0, 2));
}
