//! The contract suite for the `openai` adapter, against the stub server.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use foil_llm::config::{EngineConfig, EngineKind};
use foil_llm::openai::OpenAi;
use foil_llm::stub::{Mode, StubConfig, StubServer};
use futures::FutureExt as _;
use futures::future::BoxFuture;

mod contract;

/// Slow enough that a long answer takes seconds, fast enough that a short one does not.
const TOKEN: Duration = Duration::from_millis(25);

fn make(limits: contract::Limits) -> BoxFuture<'static, contract::Subject> {
    let stub = StubServer::start(StubConfig {
        mode: if limits.slow {
            Mode::Slow(TOKEN)
        } else {
            Mode::Ok
        },
        context_tokens: limits.context_tokens,
        text: "one two three four five six seven eight nine ten ".repeat(20),
        ..StubConfig::default()
    })
    .expect("the stub starts");
    let config = EngineConfig {
        engine: EngineKind::Openai,
        model: "stub".into(),
        base_url: Some(stub.base_url()),
        context_tokens: limits.context_tokens,
        parallel: limits.parallel,
        queue: limits.queue,
        ..EngineConfig::default()
    };
    let model = Arc::new(OpenAi::new(&config).expect("the configuration is right"));
    let stub = Arc::new(Mutex::new(stub));
    let crashed = Arc::clone(&stub);
    let subject = contract::Subject {
        model,
        crash: Box::new(move || {
            crashed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .stop()
        }),
        recover: Box::new(move || {
            let mut stub = stub.lock().unwrap_or_else(PoisonError::into_inner);
            stub.restart().expect("the port is free again");
            std::future::ready(()).boxed()
        }),
    };
    std::future::ready(subject).boxed()
}

contract_tests!(make);
