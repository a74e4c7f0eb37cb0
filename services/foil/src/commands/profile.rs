//! `foil profile USER`

use std::process::ExitCode;

use anyhow::Result;
use foil_proto::v1;

use crate::cli::ProfileArgs;
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
        println!(
            "{user} has no profile yet. One is made once somebody asks for the user:\n  \
             foil context {user} --item ITEM --wait"
        );
    }
    for profile in &versions {
        print(profile);
    }
    Ok(code(&versions))
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
    println!(
        "{} · version {} · {} old · {} of {} records compared · {}",
        profile.user,
        profile.version,
        render::age(render::now_ms() - provenance.created_at_ms),
        compared,
        provenance.sources.len(),
        profile.strategy,
    );
    println!("\n{}\n", render::wrapped(&profile.summary, 2));
    if !profile.evidence.is_empty() {
        println!(
            "  measured, mean over the compared records (bar: against all who wrote on the item)"
        );
        println!("{}", render::evidence(&profile.evidence, 2));
    }
    println!(
        "  by {} with {}\n",
        provenance.model, provenance.prompt_version
    );
}
