//! `foil context USER` and `foil generate USER`

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use foil_generator::client::{CallError, Caller};
use foil_proto::v1::{self, generate_reply::Part};
use futures::StreamExt as _;
use serde_json::json;
use tokio::task::JoinSet;

use super::ingest::wait;
use super::status::table::printable;
use crate::cli::RequestArgs;
use crate::session::Session;
use crate::{out, render};

/// Longest look at whether an item is known: the request itself needs no answer to that.
const ITEM_PATIENCE: Duration = Duration::from_secs(2);

/// What a call gave.
#[derive(Default)]
struct Answer {
    context: v1::Context,
    text: String,
    done: v1::Done,
}

/// Prints the context block.
///
/// # Errors
/// What the call met.
pub async fn context(session: &Session, args: &RequestArgs) -> Result<ExitCode> {
    let mut request = request(session, args);
    request.context_only = true;
    let answer = call(session, args, request, |_| {}).await?;
    if session.json {
        session.print_json(&json!({"context": answer.context, "done": answer.done}))?;
    } else {
        note!("{}", headline(&answer.context));
        say!("{}", answer.context.block.trim_end());
    }
    Ok(code(args, &answer.context))
}

/// Prints the text as it comes.
///
/// # Errors
/// What the call met.
pub async fn generate(session: &Session, args: &RequestArgs) -> Result<ExitCode> {
    let request = request(session, args);
    let quiet = session.json;
    let answer = call(session, args, request, |part| match part {
        _ if quiet => {}
        Part::Context(context) => note!("{}", headline(context)),
        Part::Delta(delta) => {
            let shown = delta.chars().filter(|c| *c == '\n' || !out::steers(*c));
            out::text(&shown.collect::<String>());
        }
        Part::Done(_) | Part::Failure(_) => out::text("\n"),
    })
    .await?;
    if session.json {
        let (context, text, done) = (&answer.context, &answer.text, &answer.done);
        session.print_json(&json!({"context": context, "text": text, "done": done}))?;
    }
    Ok(code(args, &answer.context))
}

/// Failure when the version that was waited for did not come.
fn code(args: &RequestArgs, context: &v1::Context) -> ExitCode {
    match missed(args, context) {
        Some(words) => {
            note!("{words}");
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}

fn missed(args: &RequestArgs, context: &v1::Context) -> Option<String> {
    let (wanted, got) = (args.min_version, context.profile_version);
    // A context without a profile was asked for.
    let none = args.strategy.as_deref() == Some("non-perso");
    (wanted > got && !none).then(|| match got {
        0 => format!("version {wanted} was not reached: there is no profile yet"),
        got => format!("version {wanted} was not reached: this is version {got}"),
    })
}

/// Says so when nothing is known of the item but its id: the text would be about nothing.
async fn say_unknown_item(session: &Session, args: &RequestArgs) {
    let described = !(args.item_title.is_empty() && args.item_description.is_empty());
    if args.item.is_empty() || described {
        return;
    }
    let item = session.store.item(&session.tenant, &args.item);
    if let Ok(Ok(None)) = tokio::time::timeout(ITEM_PATIENCE, item).await {
        note!("{}", unknown_item(&args.item));
    }
}

fn unknown_item(item: &str) -> String {
    let item = printable(item);
    format!("item {item} is not known; give --item-title and --item-description")
}

fn headline(context: &v1::Context) -> String {
    let strategy = context.strategy.as_str();
    let basis = match context.profile_version {
        0 => "no profile".to_owned(),
        version => format!(
            "profile version {version}, {} old",
            render::age(context.profile_age_ms)
        ),
    };
    let degraded = match context.degraded.as_str() {
        "" => String::new(),
        "no_history" => " · this user has written nothing yet".to_owned(),
        // In the place of `dpl`; a request starts the comparison that it needs.
        "no_peers" if strategy == "intsum" => {
            " · not compared with others yet; that has been started".to_owned()
        }
        "no_peers" => {
            format!(" · nobody else's text on the same things is known; served by {strategy}")
        }
        "no_summary" => format!(" · no summary of their texts was made; served by {strategy}"),
        other => format!(" · {other}"),
    };
    format!("[{strategy} · {basis}{degraded}]")
}

fn request(session: &Session, args: &RequestArgs) -> v1::GenerateRequest {
    let deadline =
        render::now_ms() + i64::try_from(args.timeout.as_millis()).unwrap_or(i64::MAX / 2);
    v1::GenerateRequest {
        tenant: session.tenant.clone(),
        user: args.user.clone(),
        item: args.item.clone(),
        item_title: args.item_title.clone(),
        item_description: args.item_description.clone(),
        title: args.title.clone(),
        rating: args.rating,
        strategy: args.strategy.clone().unwrap_or_default(),
        max_tokens: args.max_tokens,
        temperature: args.temperature,
        seed: args.seed,
        deadline_ms: deadline,
        context_only: false,
        wait: args.wait,
        min_version: args.min_version,
    }
}

async fn call(
    session: &Session,
    args: &RequestArgs,
    request: v1::GenerateRequest,
    mut each: impl FnMut(&Part),
) -> Result<Answer> {
    let named = [&args.item, &args.item_title, &args.item_description];
    ensure!(
        named.iter().any(|text| !text.is_empty()),
        "give --item, or --item-title / --item-description"
    );
    say_unknown_item(session, args).await;
    // Dropped, it ends.
    let mut waiting = JoinSet::new();
    if args.wait || args.min_version > 0 {
        waiting.spawn(wait::tell(session.jetstream.clone()));
    }
    let caller = Caller::new(session.nats.clone());
    let mut answer = Answer::default();
    let parts = match caller.generate(request, args.timeout).await {
        Err(CallError::Busy) => bail!("busy: too many requests are waiting; try again"),
        other => other?,
    };
    let mut parts = std::pin::pin!(parts);
    while let Some(part) = parts.next().await {
        let part = part?;
        // The first part ends the wait.
        waiting.abort_all();
        each(&part);
        match part {
            Part::Context(context) => answer.context = context,
            Part::Delta(delta) => answer.text.push_str(&delta),
            Part::Done(done) => {
                answer.done = done;
                return Ok(answer);
            }
            Part::Failure(failure) => bail!("{}: {}", failure.code, failure.message),
        }
    }
    bail!("the answer ended early")
}

#[cfg(test)]
mod tests;
