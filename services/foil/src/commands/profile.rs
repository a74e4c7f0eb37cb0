//! `foil profile USER`

use std::process::ExitCode;

use anyhow::Result;
use foil_proto::v1;

use super::status::table::printable;
use crate::cli::{ProfileArgs, TENANT};
use crate::render;
use crate::session::Session;

/// Prints the newest version, or all of them.
///
/// # Errors
/// From the store.
pub async fn run(session: &Session, args: &ProfileArgs) -> Result<ExitCode> {
    let (tenant, user) = (&session.tenant, &args.user);
    let stored = if args.history {
        session.store.profile_history(tenant, user).await?
    } else {
        session
            .store
            .profile(tenant, user)
            .await?
            .into_iter()
            .collect()
    };
    let versions: Vec<v1::Profile> = stored.into_iter().map(|stored| stored.profile).collect();
    if session.json {
        if args.history {
            session.print_json(&versions)?;
        } else {
            session.print_json(&versions.first())?;
        }
        return Ok(code(&versions));
    }
    if versions.is_empty() {
        let records = session.store.count_user_records(tenant, user).await?;
        say!("{}", no_profile(tenant, user, records));
    }
    for profile in &versions {
        print(profile);
    }
    Ok(code(&versions))
}

fn no_profile(tenant: &str, user: &str, records: u64) -> String {
    if records == 0 {
        return format!("{user} has no records in tenant {tenant}");
    }
    let option = match tenant {
        TENANT => String::new(),
        tenant => format!(" --tenant {tenant}"),
    };
    format!(
        "{user} has no profile yet. One is made once somebody asks for the user:\n  \
         foil context {user} --item ITEM --wait{option}"
    )
}

fn code(versions: &[v1::Profile]) -> ExitCode {
    if versions.is_empty() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn print(profile: &v1::Profile) {
    let provenance = profile.provenance.clone().unwrap_or_default();
    let compared = provenance.sources.iter().filter(|s| s.compared).count();
    say!(
        "{} · version {} · {} old · {} of {} records compared · {}",
        printable(&profile.user),
        profile.version,
        render::age(render::now_ms() - provenance.created_at_ms),
        compared,
        provenance.sources.len(),
        profile.strategy,
    );
    say!("\n{}\n", render::wrapped(&profile.summary, 2));
    if !profile.evidence.is_empty() {
        say!(
            "  measured, mean over the compared records; everyone: all who wrote on the same items"
        );
        say!("{}", render::evidence(&profile.evidence, 2));
    }
    say!(
        "  by {} with {}\n",
        provenance.model,
        provenance.prompt_version
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_told_from_somebody_without_a_profile() {
        let nobody = no_profile("shop", "mara", 0);
        assert_eq!(nobody, "mara has no records in tenant shop");
        let command = "foil context mara --item ITEM --wait";
        assert!(no_profile(TENANT, "mara", 3).ends_with(command));
        let elsewhere = no_profile("shop", "mara", 3);
        assert!(elsewhere.ends_with("--wait --tenant shop"), "{elsewhere}");
    }
}
