//! `foil eval prepare`.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::{Result, bail};
use foil_eval::data::Prepared;
use foil_eval::data::filter::{Filters, Size, Statistics};
use foil_eval::data::read::{self, Format, Raw, Sources};
use serde_json::json;

use super::with_ndjson;
use crate::cli::Global;
use crate::cli::eval::{FilterArgs, PrepareArgs, Preset};
use crate::out;

/// Below so many held-out records a result says little.
const TARGETS_FEW: usize = 30;

pub fn run(global: &Global, args: &PrepareArgs) -> Result<ExitCode> {
    let filters = filters(args.preset, &args.filters);
    if let Err(fault) = filters.check() {
        bail!("{fault}");
    }
    let sources = Sources {
        reviews: args.reviews.clone(),
        meta: args.meta.clone(),
        format: args.format.as_deref().and_then(Format::named),
        faults_max: args.faults_max,
    };
    let mut raw = with_ndjson(global, |ndjson| read::read(&sources, ndjson))?;
    let left_out = LeftOut::of(&mut raw);
    // Before anything can fail: bad lines may be why nothing is left.
    for fault in &left_out.faults {
        note!("{} line {}: {}", fault.file, fault.line, fault.error);
    }
    let prepared = Prepared::new(raw, filters);
    if let Some(filter) = prepared.statistics.emptied(&prepared.filters) {
        bail!("{filter} (of {} records)", prepared.statistics.read.records);
    }
    prepared.write(&args.out, global.tenant())?;
    if global.json {
        let object = json!({
            "filters": prepared.filters,
            "statistics": prepared.statistics,
            "faults": left_out.fault_count,
            "refused": left_out.refused,
            "other_tenants": left_out.other_tenants,
        });
        say!("{}", out::json(&serde_json::to_string_pretty(&object)?));
        return Ok(ExitCode::SUCCESS);
    }
    out::text(&text(&prepared, &left_out));
    say!("written to {}", args.out.display());
    if prepared.statistics.targets < TARGETS_FEW && matches!(args.preset, Preset::Paper) {
        note!("few records are held out: --preset small keeps more of small data");
    }
    Ok(ExitCode::SUCCESS)
}

/// Lines that are no part of the data.
struct LeftOut {
    faults: Vec<read::Fault>,
    fault_count: u64,
    refused: u64,
    other_tenants: u64,
}

impl LeftOut {
    fn of(raw: &mut Raw) -> Self {
        Self {
            faults: std::mem::take(&mut raw.faults),
            fault_count: raw.fault_count,
            refused: raw.refused,
            other_tenants: raw.other_tenants,
        }
    }
}

fn filters(preset: Preset, args: &FilterArgs) -> Filters {
    let preset = match preset {
        Preset::Paper => Filters::default(),
        Preset::Small => Filters::small(),
    };
    let or = |given: Option<usize>, preset: usize| given.unwrap_or(preset);
    Filters {
        text_chars_min: or(args.text_chars_min, preset.text_chars_min),
        description_chars_min: or(args.description_chars_min, preset.description_chars_min),
        description_chars_max: or(args.description_chars_max, preset.description_chars_max),
        item_users_min: or(args.item_users_min, preset.item_users_min),
        user_records_min: or(args.user_records_min, preset.user_records_min),
        user_records_max: or(args.user_records_max, preset.user_records_max),
        hold_out: or(args.hold_out, preset.hold_out),
        comparable_users_min: or(args.comparable_users_min, preset.comparable_users_min),
        comparable_records_min: or(args.comparable_records_min, preset.comparable_records_min),
    }
}

fn text(prepared: &Prepared, left_out: &LeftOut) -> String {
    let (f, s): (&Filters, &Statistics) = (&prepared.filters, &prepared.statistics);
    let mut out = format!("{:<44}{:>9}{:>9}{:>9}\n", "", "records", "users", "items");
    let described = format!(
        "description of {} to {} characters",
        f.description_chars_min, f.description_chars_max
    );
    for (
        step,
        Size {
            records,
            users,
            items,
        },
    ) in [
        ("read".to_owned(), s.read),
        (
            format!("text of {} or more characters", f.text_chars_min),
            s.long_enough,
        ),
        (described, s.described),
        (
            format!("items with {} or more users", f.item_users_min),
            s.kept,
        ),
    ] {
        let _ = writeln!(out, "{step:<44}{records:>9}{users:>9}{items:>9}");
    }
    let date = |ms: i64| match jiff::Timestamp::from_millisecond(ms) {
        Ok(time) if ms > 0 => time.strftime("%Y-%m-%d").to_string(),
        _ => "unknown".to_owned(),
    };
    let range = format!(
        "users with {} to {} records",
        f.user_records_min, f.user_records_max
    );
    for (what, value) in [
        (range, s.users_in_range.to_string()),
        ("records held out".to_owned(), s.targets.to_string()),
        ("their users".to_owned(), s.target_users.to_string()),
        (
            "records before one, median".to_owned(),
            s.history.to_string(),
        ),
        (
            "words of a text, median".to_owned(),
            s.words_per_text.to_string(),
        ),
        (
            "records of a user, median".to_owned(),
            s.records_per_user.to_string(),
        ),
        (
            "users of an item, median".to_owned(),
            s.users_per_item.to_string(),
        ),
        (
            "items with title and description".to_owned(),
            s.items_described.to_string(),
        ),
        ("records without a time".to_owned(), s.untimed.to_string()),
        ("from".to_owned(), date(s.first_ms)),
        ("to".to_owned(), date(s.last_ms)),
        (
            "bad lines, left out".to_owned(),
            left_out.fault_count.to_string(),
        ),
        (
            "blank or too long, left out".to_owned(),
            left_out.refused.to_string(),
        ),
        (
            "lines of other tenants, left out".to_owned(),
            left_out.other_tenants.to_string(),
        ),
    ] {
        let _ = writeln!(out, "{what:<44}{value:>9}");
    }
    out
}
