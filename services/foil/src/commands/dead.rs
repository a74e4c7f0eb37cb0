//! `foil dead`: what no stage could work on.

mod letter;
mod payload;
mod redrive;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use async_nats::jetstream::stream::{DirectGetErrorKind, Stream};
use foil_proto::names::{stage, stream, subject};
use foil_proto::token;
use foil_runtime::Reason;
use serde_json::json;

use super::status::table::{Align, printable, table, terminal_width};
use crate::cli::dead::{DeadFilter, DeadVerb, PurgeArgs, ShowArgs};
use crate::render;
use crate::session::Session;
use letter::Letter;

/// Runs one of the verbs.
///
/// # Errors
/// When FOIL_DEAD cannot be read, or the letter asked for is not there.
pub async fn run(session: &Session, verb: &DeadVerb) -> Result<ExitCode> {
    let dead = session.jetstream.get_stream(stream::DEAD).await;
    let dead = dead.with_context(|| format!("{} (run `foil provision`)", stream::DEAD))?;
    match verb {
        DeadVerb::List(filter) => list(session, &dead, filter).await,
        DeadVerb::Show(args) => show(session, &dead, args).await,
        DeadVerb::Redrive(args) => redrive::run(session, &dead, args).await,
        DeadVerb::Purge(args) => purge(session, &dead, args).await,
    }
}

/// Letters that a filter lets through, oldest first, without their payloads: all of these together
/// may be larger than the memory.
struct Found {
    letters: Vec<Letter>,
    /// Whether the limit cut the list.
    more: bool,
}

/// One letter, if it is there.
async fn find_one(dead: &Stream, sequence: u64) -> Result<Option<Letter>> {
    match dead.direct_get(sequence).await {
        Ok(message) => Ok(Some(Letter::new(message))),
        Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context(stream::DEAD),
    }
}

/// One letter.
///
/// # Errors
/// When it is not there or the filter does not let it through, which nobody can tell apart, or when the
/// stream cannot be read.
async fn get(
    session: &Session,
    dead: &Stream,
    sequence: u64,
    filter: &DeadFilter,
) -> Result<Letter> {
    let wanted = wanted(session, filter)?;
    let letter = find_one(dead, sequence).await?;
    let letter = letter.filter(|l| is_filed(&l.filed, &wanted) && passes(l, filter));
    letter.with_context(|| {
        let whose = match filter.this_tenant {
            true => format!(" of tenant {}", printable(&session.tenant)),
            false => String::new(),
        };
        let which = if filter.is_narrower() {
            " that the filters let through"
        } else {
            ""
        };
        format!("there is no dead letter {sequence}{whose}{which}")
    })
}

/// The subjects of what a filter may let through.
///
/// # Errors
/// When it names a stage or a reason that is none.
fn wanted(session: &Session, filter: &DeadFilter) -> Result<String> {
    known("--stage", filter.stage.as_deref(), &stage::ALL)?;
    known(
        "--reason",
        filter.reason.as_deref(),
        &Reason::ALL.map(Reason::as_str),
    )?;
    let stage = filter.stage.as_ref().map_or("*".to_owned(), token::encode);
    let tenant = match filter.this_tenant {
        true => token::encode(&session.tenant),
        false => "*".to_owned(),
    };
    Ok(subject::DEAD_ALL.replace('>', &format!("{stage}.{tenant}")))
}

/// Whether `subject` is among those `wanted`, as NATS sees it.
fn is_filed(subject: &str, wanted: &str) -> bool {
    let (mut is, mut shall) = (subject.split('.'), wanted.split('.'));
    loop {
        match (is.next(), shall.next()) {
            (None, None) => return true,
            (Some(_), Some("*")) => {}
            (is, shall) if is == shall => {}
            _ => return false,
        }
    }
}

/// Reads one letter after the other: that needs no consumer, and so no right to make one.
async fn find(session: &Session, dead: &Stream, filter: &DeadFilter) -> Result<Found> {
    ensure!(filter.limit > 0, "--limit: is 0");
    let wanted = wanted(session, filter)?;
    // What comes meanwhile is for the next call, so that this one ends.
    let last = dead.cached_info().state.last_sequence;
    let mut next = dead.cached_info().state.first_sequence.max(1);
    let mut letters = Vec::new();
    while next <= last {
        let ask = dead.direct_get_builder().sequence(next);
        let message = match ask.next_by_subject(wanted.as_str()).send().await {
            Ok(message) => message,
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => break,
            Err(error) => return Err(error).context(stream::DEAD),
        };
        if message.sequence > last {
            break;
        }
        next = message.sequence + 1;
        let letter = Letter::new(message).without_payload();
        if !passes(&letter, filter) {
            continue;
        }
        if letters.len() == filter.limit {
            return Ok(Found {
                letters,
                more: true,
            });
        }
        letters.push(letter);
    }
    Ok(Found {
        letters,
        more: false,
    })
}

fn known(option: &str, value: Option<&str>, all: &[&str]) -> Result<()> {
    if let Some(value) = value.filter(|value| !all.contains(value)) {
        bail!("{option}: {value:?} is none of {}", all.join(", "));
    }
    Ok(())
}

fn passes(letter: &Letter, filter: &DeadFilter) -> bool {
    let reason = filter.reason.as_ref();
    let age = Duration::from_millis(letter.age_ms().unsigned_abs());
    reason.is_none_or(|reason| *reason == letter.reason)
        && filter.older_than.is_none_or(|limit| age >= limit)
        && filter.newer_than.is_none_or(|limit| age < limit)
}

/// A letter by its number, or those a filter lets through. `verb` changes them: nobody should touch
/// all by leaving something out.
async fn choose(
    verb: &str,
    session: &Session,
    dead: &Stream,
    sequence: Option<u64>,
    filter: &DeadFilter,
) -> Result<Found> {
    ensure!(
        sequence.is_some() || filter.is_given(),
        "{verb} needs --sequence, --stage, --reason, --this-tenant, --newer-than or --older-than \
         (0s for all)"
    );
    let Some(sequence) = sequence else {
        return find(session, dead, filter).await;
    };
    let letter = get(session, dead, sequence, filter).await?;
    Ok(Found {
        letters: vec![letter],
        more: false,
    })
}

async fn list(session: &Session, dead: &Stream, filter: &DeadFilter) -> Result<ExitCode> {
    let found = find(session, dead, filter).await?;
    if session.json {
        let letters: Vec<_> = found.letters.iter().map(Letter::summary).collect();
        session.print_json(&json!({ "letters": letters, "more": found.more }))?;
        return Ok(ExitCode::SUCCESS);
    }
    if found.letters.is_empty() {
        say!("no dead letters");
        return Ok(ExitCode::SUCCESS);
    }
    let head = [
        ("sequence", Align::Right),
        ("age", Align::Right),
        ("stage", Align::Left),
        ("reason", Align::Left),
        ("tenant", Align::Left),
        ("user", Align::Left),
        ("error", Align::Left),
    ];
    let row = |letter: &Letter| {
        vec![
            letter.sequence.to_string(),
            render::age(letter.age_ms()),
            letter.stage.clone(),
            letter.reason.clone(),
            letter.tenant().unwrap_or_default(),
            letter.user().unwrap_or_default(),
            letter.error.clone(),
        ]
    };
    let rows: Vec<_> = found.letters.iter().map(row).collect();
    say!("{}", table(&head, &rows, terminal_width()));
    say_more(&found, filter);
    Ok(ExitCode::SUCCESS)
}

fn say_more(found: &Found, filter: &DeadFilter) {
    if found.more {
        note!("there are more than {}: --limit", filter.limit);
    }
}

async fn show(session: &Session, dead: &Stream, args: &ShowArgs) -> Result<ExitCode> {
    let letter = get(session, dead, args.sequence, &args.filter).await?;
    let fields = payload::fields(&letter.subject, &letter.payload);
    if session.json {
        let mut value = serde_json::to_value(letter.summary())?;
        value["headers"] = serde_json::to_value(letter.headers())?;
        value["bytes"] = letter.payload.len().into();
        match fields {
            Ok(fields) => value["message"] = fields.into_json(),
            Err(error) => value["undecodable"] = error.into(),
        }
        session.print_json(&value)?;
        return Ok(ExitCode::SUCCESS);
    }
    let line = |name: &str, value: &str| say!("{name:<12}{}", printable(value));
    line("error", &letter.error);
    line("reason", &letter.reason);
    line("stage", &letter.stage);
    line("age", &render::age(letter.age_ms()));
    line("subject", &letter.subject);
    line(
        "from",
        &format!("{} {}", letter.stream, letter.stream_sequence),
    );
    line("deliveries", &letter.deliveries);
    say!("headers");
    for (name, values) in letter.headers() {
        for value in values {
            say!("  {}: {}", printable(&name), printable(&value));
        }
    }
    say!("message     {} bytes", letter.payload.len());
    match fields {
        Ok(fields) => {
            for (name, value) in fields.list() {
                say!("  {name}: {}", printable(&value));
            }
        }
        Err(error) => say!("  {error}"),
    }
    Ok(ExitCode::SUCCESS)
}

async fn purge(session: &Session, dead: &Stream, args: &PurgeArgs) -> Result<ExitCode> {
    let filter = &args.filter;
    let found = choose("purge", session, dead, args.sequence, filter).await?;
    let mut purged = Vec::new();
    let mut failed = None;
    for letter in &found.letters {
        if !args.dry_run
            && let Err(error) = dead.delete_message(letter.sequence).await
        {
            failed = Some(format!("{}: {error}", letter.sequence));
            break;
        }
        purged.push(letter.sequence);
    }
    if session.json {
        let value = json!({
            "dry_run": args.dry_run, "purged": purged, "more": found.more, "error": failed,
        });
        session.print_json(&value)?;
    } else {
        let verb = if args.dry_run {
            "would purge"
        } else {
            "purged"
        };
        say!("{verb} {}", purged.len());
        if let Some(error) = &failed {
            note!("stopped at {error}");
        }
        say_more(&found, filter);
    }
    Ok(if failed.is_some() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

#[cfg(test)]
mod tests;
