//! What the `openai` adapter makes of a server that fails, lies, or does not answer.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use foil_llm::config::{EngineConfig, EngineKind};
use foil_llm::openai::OpenAi;
use foil_llm::stub::{Mode, StubConfig, StubServer, UsageStyle};
use foil_llm::{
    ChatEvent, ChatRequest, Completion, EngineError, Finish, LanguageModel, Message, Role, collect,
};
use futures::StreamExt as _;

/// Well above what a loopback answer takes on a busy machine, well below a test's patience.
const TIMEOUT: Duration = Duration::from_secs(3);

fn config(base_url: String) -> EngineConfig {
    EngineConfig {
        engine: EngineKind::Openai,
        model: "stub".into(),
        base_url: Some(base_url),
        timeout: TIMEOUT,
        ..EngineConfig::default()
    }
}

fn pair(stub: StubConfig) -> (StubServer, OpenAi) {
    let stub = StubServer::start(stub).unwrap();
    let model = OpenAi::new(&config(stub.base_url())).unwrap();
    (stub, model)
}

fn in_mode(mode: Mode) -> (StubServer, OpenAi) {
    pair(StubConfig {
        mode,
        ..StubConfig::default()
    })
}

fn request(max_tokens: u32) -> ChatRequest {
    let message = Message {
        role: Role::User,
        content: "a private prompt".into(),
    };
    ChatRequest::new(vec![message], max_tokens)
}

async fn answer(model: &OpenAi, request: ChatRequest) -> Result<Completion, EngineError> {
    collect(model.chat(request).await?).await
}

async fn failure(model: &OpenAi) -> EngineError {
    answer(model, request(32)).await.unwrap_err()
}

/// Polls until `ready`; the other side of a socket notices things a little later.
async fn eventually(what: &str, ready: impl Fn() -> bool) {
    let since = Instant::now();
    while !ready() {
        assert!(
            since.elapsed() < Duration::from_secs(10),
            "{what} never came"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_failing_status_is_classified_and_not_retried() {
    let (stub, model) = in_mode(Mode::Ok);
    let statuses = [302, 307, 400, 401, 403, 404, 413, 422, 429, 500, 502, 503];
    for (calls, status) in statuses.into_iter().enumerate() {
        stub.set_mode(Mode::Status(status));
        let error = failure(&model).await;
        let forever = matches!(status, 400 | 413 | 422);
        assert_eq!(error.is_transient(), !forever, "{status}: {error}");
        assert!(error.to_string().contains(&status.to_string()), "{error}");
        assert_eq!(
            stub.calls(),
            calls + 1,
            "status {status} was retried or followed"
        );
    }
    stub.set_mode(Mode::Ok);
    answer(&model, request(32)).await.unwrap();
}

#[tokio::test]
async fn a_stream_that_breaks_is_a_death() {
    for mode in [
        Mode::InvalidJson,
        Mode::CutMidStream,
        Mode::EndEarly,
        Mode::ErrorInStream,
        Mode::Die,
    ] {
        let (stub, model) = in_mode(mode);
        let mut stream = model.chat(request(32)).await.unwrap();
        let first = stream.next().await.unwrap();
        assert!(
            matches!(first, Ok(ChatEvent::Delta(_))),
            "{mode:?}: {first:?}"
        );
        let error = collect(stream).await.unwrap_err();
        assert!(matches!(error, EngineError::Died(_)), "{mode:?}: {error}");
        assert_eq!(stub.calls(), 1, "{mode:?} was retried");
    }
}

#[tokio::test]
async fn a_server_that_never_answers_costs_the_timeout() {
    for mode in [Mode::Hang, Mode::Stall, Mode::Slow(Duration::from_secs(2))] {
        let (stub, model) = in_mode(mode);
        let since = Instant::now();
        let error = failure(&model).await;
        assert!(
            matches!(error, EngineError::Unavailable(_)),
            "{mode:?}: {error}"
        );
        let took = since.elapsed();
        assert!(took >= TIMEOUT && took < TIMEOUT * 3, "{mode:?}: {took:?}");
        eventually("the closed connection", || stub.in_flight() == 0).await;
    }
}

#[tokio::test]
async fn waiting_counts_towards_the_timeout() {
    let stub = StubServer::start(StubConfig {
        mode: Mode::Hang,
        ..StubConfig::default()
    })
    .unwrap();
    let mut config = config(stub.base_url());
    config.parallel = 1;
    let model = OpenAi::new(&config).unwrap();
    let since = Instant::now();
    let (first, second) = tokio::join!(failure(&model), failure(&model));
    assert!(first.is_transient() && second.is_transient());
    assert!(since.elapsed() < TIMEOUT * 3 / 2, "{:?}", since.elapsed());
    assert_eq!(stub.max_in_flight(), 1);
}

#[tokio::test]
async fn an_endless_answer_is_cut_by_its_bytes() {
    let (stub, model) = in_mode(Mode::Flood);
    let error = failure(&model).await;
    assert!(
        matches!(&error, EngineError::Unavailable(text) if text.contains("bytes")),
        "{error}"
    );
    eventually("the closed connection", || stub.disconnects() == 1).await;
}

#[tokio::test]
async fn dropping_the_stream_closes_the_connection() {
    let (stub, model) = in_mode(Mode::Stall);
    let mut stream = model.chat(request(32)).await.unwrap();
    stream.next().await.unwrap().unwrap();
    assert_eq!((stub.in_flight(), stub.disconnects()), (1, 0));
    drop(stream);
    eventually("the closed connection", || stub.disconnects() == 1).await;

    // Before any byte of the answer, too.
    stub.set_mode(Mode::Hang);
    let stream = model.chat(request(32)).await.unwrap();
    eventually("the request", || stub.in_flight() == 1).await;
    drop(stream);
    eventually("the closed connection", || stub.disconnects() == 2).await;
}

#[tokio::test]
async fn no_more_requests_run_than_may() {
    let stub = StubServer::start(StubConfig {
        latency: Duration::from_millis(50),
        ..StubConfig::default()
    })
    .unwrap();
    let mut config = config(stub.base_url());
    config.parallel = 3;
    config.queue = 20;
    let model = Arc::new(OpenAi::new(&config).unwrap());
    let requests = (0..20).map(|_| {
        let model = Arc::clone(&model);
        async move { answer(&model, request(32)).await.unwrap().usage.queued }
    });
    let queued = futures::future::join_all(requests).await;
    assert_eq!((stub.calls(), stub.max_in_flight()), (20, 3));
    assert!(
        queued.iter().any(|wait| *wait >= Duration::from_millis(50)),
        "{queued:?}"
    );
}

#[tokio::test]
async fn usage_is_found_wherever_the_server_puts_it() {
    for usage in [
        UsageStyle::LastChunk,
        UsageStyle::FinishChunk,
        UsageStyle::Missing,
    ] {
        let (_stub, model) = pair(StubConfig {
            usage,
            text: "one two three four".into(),
            ..StubConfig::default()
        });
        let whole = answer(&model, request(32)).await.unwrap();
        assert_eq!(whole.text, "one two three four");
        assert_eq!(whole.finish, Finish::Stop);
        assert_eq!(whole.usage.completion_tokens, 4, "{usage:?}");
        match usage {
            // "a private prompt" and 4 for the message, by the stub's own count.
            UsageStyle::LastChunk | UsageStyle::FinishChunk => {
                assert_eq!(whole.usage.prompt_tokens, 7);
            }
            UsageStyle::Missing => assert!(whole.usage.prompt_tokens >= 7),
        }
        let cut = answer(&model, request(2)).await.unwrap();
        assert_eq!((cut.text.as_str(), cut.finish), ("one two", Finish::Length));
    }
}

#[tokio::test]
async fn the_servers_context_limit_is_a_prompt_too_long() {
    let (stub, model) = pair(StubConfig {
        context_tokens: 20,
        ..StubConfig::default()
    });
    let error = answer(&model, request(32)).await.unwrap_err();
    assert!(
        matches!(
            error,
            EngineError::PromptTooLong {
                max_tokens: 32,
                context: 2048,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(stub.calls(), 1);
}

#[tokio::test]
async fn the_key_goes_out_and_nothing_else_shows_it() {
    let folder = std::env::temp_dir().join(format!("foil-llm-key-{}", std::process::id()));
    std::fs::write(&folder, "sk-secret\n").unwrap();
    let stub = StubServer::start(StubConfig::default()).unwrap();
    let mut config = config(stub.base_url());
    config.api_key_file = Some(folder.clone());
    let model = OpenAi::new(&config).unwrap();
    answer(&model, request(32)).await.unwrap();
    std::fs::remove_file(&folder).unwrap();
    let sent = stub.last_request();
    assert_eq!(sent.authorization.as_deref(), Some("Bearer sk-secret"));
    assert_eq!(sent.body["stream_options"]["include_usage"], true);

    config.api_key_file = None;
    config.api_key = Some(foil_runtime::Secret::new("sk-secret"));
    assert!(!format!("{config:?}").contains("sk-secret"));
    config.api_key = Some(foil_runtime::Secret::new("line\nbreak"));
    let error = OpenAi::new(&config).err().unwrap().to_string();
    assert!(
        error.contains("llm.api_key: ") && !error.contains("break"),
        "{error}"
    );
    config.api_key = None;
    config.api_key_file = Some("/nowhere/key".into());
    let error = OpenAi::new(&config).err().unwrap().to_string();
    assert!(error.contains("llm.api_key_file: "), "{error}");
}

#[tokio::test]
async fn a_server_that_is_down_is_unavailable_until_it_is_back() {
    let (mut stub, model) = in_mode(Mode::Ok);
    answer(&model, request(32)).await.unwrap();
    stub.stop();
    let error = failure(&model).await;
    assert!(
        matches!(&error, EngineError::Unavailable(text) if text.contains("127.0.0.1")),
        "{error}"
    );
    stub.restart().unwrap();
    answer(&model, request(32)).await.unwrap();
}

#[tokio::test]
async fn a_port_that_speaks_no_http_is_unavailable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            use tokio::io::AsyncWriteExt as _;
            let _ = socket.write_all(b"SSH-2.0-nothing here\r\n").await;
        }
    });
    let model = OpenAi::new(&config(format!("http://{address}/v1"))).unwrap();
    let error = failure(&model).await;
    assert!(matches!(error, EngineError::Unavailable(_)), "{error}");
    server.abort();
}
