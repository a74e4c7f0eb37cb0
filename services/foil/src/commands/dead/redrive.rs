//! `foil dead redrive`: back to where they came from.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::Stream;
use foil_proto::names::header;
use serde::Serialize;
use tokio::time::MissedTickBehavior;

use super::letter::Letter;
use crate::cli::dead::RedriveArgs;
use crate::render;
use crate::session::Session;

#[derive(Debug, Default, Serialize)]
struct Report {
    dry_run: bool,
    redriven: Vec<u64>,
    refused: Vec<Refused>,
    /// The first failure: nothing after it was tried.
    error: Option<String>,
    more: bool,
}

#[derive(Debug, Serialize)]
struct Refused {
    sequence: u64,
    why: &'static str,
}

pub async fn run(session: &Session, dead: &Stream, args: &RedriveArgs) -> Result<ExitCode> {
    ensure!(
        (1..=10_000).contains(&args.rate),
        "--rate: is not within 1 and 10000"
    );
    let found = super::choose("redrive", session, dead, args.sequence, &args.filter).await?;
    let mut report = Report {
        dry_run: args.dry_run,
        more: found.more,
        ..Report::default()
    };
    let mut pace = tokio::time::interval(Duration::from_secs(1) / args.rate);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for letter in &found.letters {
        let sequence = letter.sequence;
        if let Err(why) = may_go(letter) {
            report.refused.push(Refused { sequence, why });
            continue;
        }
        if !args.dry_run {
            pace.tick().await;
            match redrive(session, dead, sequence).await {
                Ok(true) => {}
                Ok(false) => {
                    report.refused.push(Refused {
                        sequence,
                        why: "it is gone: purged, erased or redriven by another",
                    });
                    continue;
                }
                Err(error) => {
                    report.error = Some(format!("{sequence}: {error:#}"));
                    break;
                }
            }
        }
        report.redriven.push(sequence);
    }
    if session.json {
        session.print_json(&report)?;
    } else {
        print(&report, args);
    }
    // Of many, those that cannot go back are passed over; one that was named is not.
    let refused = args.sequence.is_some() && !report.refused.is_empty();
    let failed = report.error.is_some() || refused;
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn print(report: &Report, args: &RedriveArgs) {
    let verb = if args.dry_run {
        "would redrive"
    } else {
        "redrove"
    };
    say!(
        "{verb} {}, refused {}",
        report.redriven.len(),
        report.refused.len()
    );
    for refused in &report.refused {
        say!("  {}: {}", refused.sequence, refused.why);
    }
    if let Some(error) = &report.error {
        note!("stopped at {error}");
    }
    if report.more {
        note!("there are more than {}: --limit", args.filter.limit);
    }
}

/// Whether it makes sense to send it again.
fn may_go(letter: &Letter) -> Result<(), &'static str> {
    match letter.subject.split('.').nth(2) {
        Some("generate") => {
            Err("a request for text: its caller was answered long ago, and must ask again")
        }
        Some("update" | "select" | "extract" | "profile")
            if letter.subject.starts_with("foil.v1.") =>
        {
            Ok(())
        }
        _ => Err("its original subject is none of Foil's"),
    }
}

/// The copy goes only after the stream has stored the message. When that fails the letter is
/// redriven twice, which every stage stands. False: it is not there any more.
async fn redrive(session: &Session, dead: &Stream, sequence: u64) -> Result<bool> {
    // Read now that its turn has come: its user may have been erased since it was listed.
    let Some(letter) = super::find_one(dead, sequence).await? else {
        return Ok(false);
    };
    let mut headers = letter.original_headers();
    // The original id would be swallowed as a duplicate soon after the first publication.
    let original = letter.message_id.as_deref().unwrap_or("dead");
    let id = format!("{original}~r{}-{}", letter.sequence, render::now_ms());
    headers.insert(header::MESSAGE_ID, id);
    let message = PublishMessage::build()
        .headers(headers)
        .payload(letter.payload.clone());
    let ack = session
        .jetstream
        .send_publish(letter.subject.clone(), message)
        .await;
    ack.context("not sent")?.await.context("not stored")?;
    let deleted = dead.delete_message(letter.sequence).await;
    deleted.context("redriven, but its copy remains")?;
    Ok(true)
}
