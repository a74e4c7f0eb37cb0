//! From choices to events.

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;

use super::slots::Run;
use crate::chat::{ChatEvent, EngineError, Finish, Usage};

/// Takes one choice and what it forces. `Some` when the answer is complete.
pub(super) fn advance(
    model: &LlamaModel,
    run: &mut Run,
    logits: &[f32],
) -> Result<Option<Finish>, EngineError> {
    let choice = run.job.sampler.choose(logits)?;
    if run.generated == 0 {
        run.first_token = run.job.submitted.elapsed();
    }
    run.feed.clear();
    run.fed = 0;
    let vocab = model.vocab();
    let mut piece = Vec::with_capacity(16);
    let mut text = String::new();
    let mut finish = choice.complete.then_some(Finish::Stop);
    for token in std::iter::once(choice.token).chain(choice.forced) {
        let token = LlamaToken(token.cast_signed());
        if vocab.is_eog(token) {
            finish = Some(Finish::Stop);
            break;
        }
        if run.generated >= run.job.max_tokens {
            finish = Some(Finish::Length);
            break;
        }
        run.generated += 1;
        run.feed.push(token);
        piece.clear();
        vocab.token_to_piece_into(token, &mut piece, false, None);
        text.push_str(&run.job.text.push(&piece));
        if run.job.text.stopped() {
            finish = Some(Finish::Stop);
            break;
        }
    }
    if finish.is_none() && run.generated >= run.job.max_tokens {
        finish = Some(Finish::Length);
    }
    if !text.is_empty() {
        run.job.send(Ok(ChatEvent::Delta(text)));
    }
    Ok(finish)
}

/// Sends what was held back, and the end.
pub(super) fn end(mut run: Run, finish: Finish) {
    let rest = run.job.text.finish();
    if !rest.is_empty() {
        run.job.send(Ok(ChatEvent::Delta(rest)));
    }
    let count = |tokens: usize| u32::try_from(tokens).unwrap_or(u32::MAX);
    let usage = Usage {
        prompt_tokens: count(run.job.prompt.len()),
        cached_tokens: count(run.cached.unwrap_or(0)),
        completion_tokens: run.generated,
        queued: run.queued,
        first_token: run.first_token,
    };
    run.job.send(Ok(ChatEvent::Done { finish, usage }));
}
