//! `foil erase`: publishes the update that erases, waits until it is done and until the bytes are gone
//! from the files, and prints a receipt.

mod receipt;
#[cfg(test)]
mod tests;
mod wait;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use foil_proto::names::{event, header, stream, subject};
use foil_proto::v1::update::Change;
use foil_proto::{check, v1};
use foil_runtime::telemetry;
use foil_store::RecordKey;
use prost::Message as _;
use uuid::Uuid;

use crate::cli::EraseArgs;
use crate::session::Session;
use wait::Watch;

/// Erases and waits.
///
/// # Errors
/// When there is nothing to erase, when it is not confirmed in time, or when it was given up.
pub async fn run(session: &Session, args: &EraseArgs) -> Result<ExitCode> {
    let change = change(session, args).await?;
    let record = match &change {
        Change::RecordDelete(gone) => Some(RecordKey::new(&session.tenant, &gone.user, &gone.item)),
        _ => None,
    };
    let kind = match change {
        Change::TenantErase(_) => event::TENANT_ERASED,
        Change::RecordDelete(_) => event::RECORD_ERASED,
        _ => event::USER_ERASED,
    };
    let update = v1::Update {
        tenant: session.tenant.clone(),
        change: Some(change),
    };
    check::update(&update, jiff::Timestamp::now().as_millisecond())?;
    let end = Instant::now() + args.timeout;
    let events = subject::event(kind, &session.tenant, check::user_of(&update));
    // Before the message, so that its receipt cannot be missed.
    let watch = Watch::open(session, &events).await?;
    let sequence = publish(session, &update).await?;
    note!("erase: stored as message {sequence} of {}", stream::UPDATES);
    let told = watch.receipt(sequence, end).await.with_context(|| {
        format!("not confirmed, though message {sequence} of FOIL_UPDATES asks for it")
    })?;
    let removed_from = session.store.compactions().await?;
    let waiting = wait::compacted(&session.store, &removed_from, end).await?;
    let mut receipt = receipt::Receipt::of(&told, removed_from, &waiting)?;
    receipt.files.in_raft_logs = replicated(session, &receipt.files.overwritten).await;
    if session.json {
        session.print_json(&receipt)?;
    } else {
        crate::out::text(&receipt.to_string());
    }
    let mut code = ExitCode::SUCCESS;
    if let Some(record) = record
        && let Some(newer) = session.store.record(&record).await?
    {
        note!(
            "foil: the record is still stored, in the newer revision {0}: `--revision {0}` erases \
             that one too",
            newer.revision
        );
        code = ExitCode::FAILURE;
    }
    if !waiting.is_empty() {
        note!(
            "foil: erased, but within --timeout its bytes were not gone from the files of {}; they \
             go without a further call",
            waiting.join(", ")
        );
        code = ExitCode::FAILURE;
    }
    Ok(code)
}

/// Those of the streams that have replicas.
async fn replicated(session: &Session, names: &[&'static str]) -> Vec<&'static str> {
    let mut replicated = Vec::new();
    for name in names {
        let replicas = match session.jetstream.get_stream(*name).await {
            Ok(stream) => stream.cached_info().config.num_replicas,
            // It is erased all the same, and the receipt rather says too much.
            Err(_) => session.config.provision.replicas.into(),
        };
        if replicas > 1 {
            replicated.push(*name);
        }
    }
    replicated
}

async fn change(session: &Session, args: &EraseArgs) -> Result<Change> {
    if let Some(tenant) = &args.all_of_tenant {
        ensure!(
            *tenant == session.tenant,
            "--all-of-tenant: repeats the tenant's name, and --tenant is {}",
            session.tenant
        );
        let tenant = tenant.clone();
        return Ok(Change::TenantErase(v1::TenantErase { tenant }));
    }
    let user = args.user.clone().context("USER: is missing")?;
    let Some(item) = args.record.clone() else {
        return Ok(Change::UserErase(v1::UserErase { user }));
    };
    let revision = match args.revision {
        Some(revision) => revision,
        None => {
            let key = RecordKey::new(&session.tenant, &user, &item);
            match session.store.record(&key).await? {
                Some(record) => record.revision,
                None => bail!(
                    "--record: no such record is stored; to have older messages of it removed all \
                     the same, name a --revision"
                ),
            }
        }
    };
    Ok(Change::RecordDelete(v1::RecordDelete {
        user,
        item,
        revision,
    }))
}

async fn publish(session: &Session, update: &v1::Update) -> Result<u64> {
    let mut headers = async_nats::HeaderMap::new();
    // Its own in every run: the same erasure may be meant again, after new records.
    headers.insert(header::MESSAGE_ID, format!("erase.{}", Uuid::new_v4()));
    let span = tracing::info_span!(
        parent: None,
        "publish update",
        otel.kind = "producer",
        messaging.system = "nats",
        messaging.operation.type = "send",
        messaging.destination.name = "foil.v1.update",
    );
    span.in_scope(|| telemetry::inject(&mut headers));
    let subject = subject::update(&update.tenant, check::user_of(update));
    let payload = update.encode_to_vec().into();
    let sent = session
        .jetstream
        .publish_with_headers(subject, headers, payload)
        .await;
    let stored = sent.context("cannot publish")?.await;
    Ok(stored.context("not stored; nothing was erased")?.sequence)
}
