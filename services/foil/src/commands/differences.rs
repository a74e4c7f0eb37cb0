//! `foil differences USER`

use std::process::ExitCode;

use anyhow::Result;
use foil_proto::v1;
use foil_store::Record;
use serde_json::json;

use super::status::table::printable;
use crate::cli::DifferencesArgs;
use crate::render;
use crate::session::Session;

/// Most records shown.
const RECORDS_MAX: usize = 256;

/// Prints each record's difference: findings by criterion, and the evidence as a chart.
///
/// # Errors
/// From the store.
pub async fn run(session: &Session, args: &DifferencesArgs) -> Result<ExitCode> {
    let records = session
        .store
        .user_records(&session.tenant, &args.user, RECORDS_MAX)
        .await?;
    let records: Vec<Record> = records
        .into_iter()
        .filter(|record| {
            args.item
                .as_ref()
                .is_none_or(|item| record.key.item == *item)
        })
        .collect();
    if session.json {
        let rows: Vec<serde_json::Value> = records.iter().map(as_json).collect();
        session.print_json(&rows)?;
    } else if records.is_empty() {
        say!(
            "{} has no records{} in tenant {}",
            args.user,
            if args.item.is_some() {
                " on that item"
            } else {
                ""
            },
            session.tenant
        );
    } else {
        let items: Vec<&str> = records.iter().map(|r| r.key.item.as_str()).collect();
        let items = session.store.items(&session.tenant, &items).await?;
        for record in &records {
            let title = items.get(&record.key.item).map(|item| item.title.as_str());
            print(
                record,
                title.filter(|t| !t.is_empty()).unwrap_or(&record.key.item),
            );
        }
    }
    // "Not compared yet" is an answer; a user without records is not.
    Ok(if records.is_empty() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// The provenance that names other users' records stays inside.
fn as_json(record: &Record) -> serde_json::Value {
    let mut difference = json!(record.difference);
    let provenance = difference.pointer_mut("/provenance");
    if let Some(provenance) = provenance.and_then(|found| found.as_object_mut()) {
        provenance.remove("representatives");
    }
    json!({
        "item": record.key.item,
        "revision": record.revision,
        "occurred_at_ms": record.occurred_at_ms,
        "due": record.due.is_some(),
        "difference": difference,
    })
}

fn print(record: &Record, title: &str) {
    say!(
        "{} · on {} · revision {}",
        printable(&record.key.user),
        printable(title),
        render::revision(record.revision)
    );
    let Some(difference) = &record.difference else {
        let state = if record.due.is_some() {
            "is being compared"
        } else {
            "not compared yet"
        };
        say!("  {state}\n");
        return;
    };
    let provenance = difference.provenance.clone().unwrap_or_default();
    for finding in &difference.findings {
        print_finding(finding);
    }
    say!("{}", render::evidence(&difference.evidence, 2));
    say!(
        "  against {} of {} who wrote on it, {} ago, by {} with {}\n",
        provenance.representatives.len(),
        provenance
            .selection
            .as_ref()
            .map_or(0, |s| s.records.saturating_sub(1)),
        render::age(render::now_ms() - provenance.created_at_ms),
        provenance.model,
        provenance.prompt_version,
    );
}

fn print_finding(finding: &v1::Finding) {
    say!("  {}", finding.criterion);
    say!("{}", render::wrapped(&finding.statement, 4));
}

#[cfg(test)]
mod tests {
    use foil_store::RecordKey;

    use super::*;

    #[test]
    fn json_names_no_other_user() {
        let provenance = v1::DifferenceProvenance {
            representatives: vec!["11112222-secret".to_owned()],
            model: "m".to_owned(),
            ..v1::DifferenceProvenance::default()
        };
        let mut record = Record::new(RecordKey::new("demo", "mara", "kettle"), "Good.");
        assert_eq!(as_json(&record)["difference"], serde_json::Value::Null);
        record.difference = Some(v1::Difference {
            provenance: Some(provenance),
            ..v1::Difference::default()
        });
        let shown = as_json(&record);
        assert_eq!(shown["difference"]["provenance"]["model"], "m");
        assert!(!shown.to_string().contains("representatives"), "{shown}");
        assert!(!shown.to_string().contains("secret"), "{shown}");
    }
}
