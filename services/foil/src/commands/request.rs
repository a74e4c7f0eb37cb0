//! `foil context USER` and `foil generate USER`

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use foil_generator::client::{CallError, Caller};
use foil_proto::v1::{self, generate_reply::Part};
use futures::StreamExt as _;
use serde_json::json;

use crate::cli::RequestArgs;
use crate::render;
use crate::session::Session;

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
    let answer = call(session, request, args.timeout, |_| {}).await?;
    if session.json {
        session.print_json(&json!({"context": answer.context, "done": answer.done}))?;
    } else {
        eprintln!("{}", headline(&answer.context));
        println!("{}", answer.context.block.trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the text as it comes.
///
/// # Errors
/// What the call met.
pub async fn generate(session: &Session, args: &RequestArgs) -> Result<ExitCode> {
    let request = request(session, args);
    let quiet = session.json;
    let answer = call(session, request, args.timeout, |part| {
        let mut out = std::io::stdout();
        match part {
            _ if quiet => {}
            Part::Context(context) => eprintln!("{}", headline(context)),
            Part::Delta(delta) => {
                let shown = delta.chars().filter(|c| *c == '\n' || !c.is_control());
                // A closed pipe is no reason to stop: the answer's end still decides the exit code.
                let _ = write!(out, "{}", shown.collect::<String>());
                let _ = out.flush();
            }
            Part::Done(_) | Part::Failure(_) => {
                let _ = writeln!(out);
            }
        }
    })
    .await?;
    if session.json {
        let (context, text, done) = (&answer.context, &answer.text, &answer.done);
        session.print_json(&json!({"context": context, "text": text, "done": done}))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn headline(context: &v1::Context) -> String {
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
        "no_peers" => " · not compared with others yet; that has been started".to_owned(),
        other => format!(" · {other}"),
    };
    format!("[{} · {basis}{degraded}]", context.strategy)
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
        strategy: args.strategy.clone(),
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
    request: v1::GenerateRequest,
    timeout: Duration,
    mut each: impl FnMut(&Part),
) -> Result<Answer> {
    let caller = Caller::new(session.nats.clone());
    let mut answer = Answer::default();
    let parts = match caller.generate(request, timeout).await {
        Err(CallError::Busy) => bail!("busy: too many requests are waiting; try again"),
        other => other?,
    };
    let mut parts = std::pin::pin!(parts);
    while let Some(part) = parts.next().await {
        let part = part?;
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
