//! The contract suite against llama.cpp in this process.
#![allow(clippy::unwrap_used)]

use foil_llm::llama_cpp::{LlamaCpp, LlamaCppConfig};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use std::sync::Arc;

mod contract;

fn make(limits: contract::Limits) -> BoxFuture<'static, contract::Subject> {
    async move {
        let config = LlamaCppConfig {
            context_tokens: limits.context_tokens,
            parallel: limits.parallel,
            queue: limits.queue,
            ..LlamaCppConfig::new(contract::test_model())
        };
        let engine = LlamaCpp::load(config).unwrap();
        contract::Subject {
            model: Arc::<LlamaCpp>::clone(&engine),
            crash: Box::new(move || engine.crash_for_test()),
            // The next request starts the thread again.
            recover: Box::new(|| async {}.boxed()),
        }
    }
    .boxed()
}

contract_tests!(make);
