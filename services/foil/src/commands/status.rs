//! `foil status`: is it running, and is it keeping up?

pub mod probe;
mod survey;
pub mod table;

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::StatusArgs;
use crate::render;
use crate::session::Session;
use probe::Readiness;
use survey::{Status, StreamStatus};
use table::{Align, printable, table, terminal_width};

/// Prints what there is. Exit code 1 when something is missing, unreachable or not ready.
///
/// # Errors
/// When the answer cannot be printed.
pub async fn run(session: &Session, args: &StatusArgs) -> Result<ExitCode> {
    let status = survey::look(session, args).await;
    if session.json {
        session.print_json(&status)?;
    } else {
        print(&status);
    }
    Ok(if status.healthy {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print(status: &Status) {
    say!("{}\n", streams(&status.streams));
    say!("{}\n", consumers(status));
    let stages = match &status.stages {
        Readiness::Ready { checks } => {
            format!("ready ({})", render::count(checks.len() as u64, "check"))
        }
        Readiness::NotReady { down } => format!("not ready: {}", down.join(", ")),
        Readiness::Unreachable { why } => {
            format!(
                "cannot be asked at {} (admin.listen): {why}; --stages-elsewhere if they run on other \
                 machines",
                status.admin
            )
        }
        Readiness::NotAsked => "not asked (--stages-elsewhere)".to_owned(),
    };
    say!("stages        {}", printable(&stages));
    let qdrant = match &status.qdrant {
        Ok(()) => "ready".to_owned(),
        Err(error) => error.clone(),
    };
    say!("qdrant        {}", printable(&qdrant));
    match status.dead {
        Some(0) => say!("dead letters  none"),
        Some(dead) => say!("dead letters  {dead}: `foil dead list` shows why"),
        None => say!("dead letters  unknown"),
    }
    say!("\n{}", status.words);
}

fn streams(streams: &[StreamStatus]) -> String {
    let head = [
        ("stream", Align::Left),
        ("messages", Align::Right),
        ("size", Align::Right),
        ("oldest", Align::Right),
    ];
    let row = |stream: &StreamStatus| match &stream.state {
        Ok(state) => vec![
            stream.name.to_owned(),
            state.messages.to_string(),
            size(state.bytes),
            state.oldest_ms.map_or("-".to_owned(), render::age),
        ],
        Err(error) => vec![
            stream.name.to_owned(),
            "-".into(),
            "-".into(),
            error.to_string(),
        ],
    };
    let rows: Vec<_> = streams.iter().map(row).collect();
    table(&head, &rows, terminal_width())
}

fn consumers(status: &Status) -> String {
    let head = [
        ("stage", Align::Left),
        ("waiting", Align::Right),
        ("in work", Align::Right),
        ("redelivered", Align::Right),
    ];
    let rows: Vec<_> = status
        .consumers
        .iter()
        .map(|consumer| match &consumer.lag {
            Ok(lag) => vec![
                consumer.stage.to_owned(),
                lag.waiting.to_string(),
                lag.in_work.to_string(),
                lag.redelivered.to_string(),
            ],
            Err(error) => vec![
                consumer.stage.to_owned(),
                "-".into(),
                "-".into(),
                error.to_string(),
            ],
        })
        .collect();
    table(&head, &rows, terminal_width())
}

fn size(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} B"),
        10_240..10_485_760 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes / (1024 * 1024)),
    }
}

#[cfg(test)]
mod tests;
