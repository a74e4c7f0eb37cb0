//! The contract suite against mistralrs in this process, on the CPU.
#![cfg(feature = "mistralrs")]
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use foil_llm::config::{EngineConfig, EngineKind};
use foil_llm::mistral::Mistral;
use futures::FutureExt as _;
use futures::future::BoxFuture;

mod contract;

fn make(limits: contract::Limits) -> BoxFuture<'static, contract::Subject> {
    async move {
        let config = EngineConfig {
            engine: EngineKind::Mistralrs,
            model: contract::test_model(),
            context_tokens: limits.context_tokens,
            parallel: limits.parallel,
            queue: limits.queue,
            ..EngineConfig::default()
        };
        let model = Arc::new(Mistral::load(&config).await.expect("the model loads"));
        contract::Subject {
            model: Arc::<Mistral>::clone(&model),
            crash: Box::new(move || model.crash_for_test()),
            // The next request loads the engine again.
            recover: Box::new(|| std::future::ready(()).boxed()),
        }
    }
    .boxed()
}

contract_tests!(make);
