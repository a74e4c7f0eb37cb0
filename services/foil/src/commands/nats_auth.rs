//! `foil nats-auth DIR`: a key for each role, and the server's configuration that knows them.

mod accounts;

use std::collections::BTreeSet;
use std::fs::{DirBuilder, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use foil_proto::token;
use nkeys::{KeyPair, KeyPairType};
use serde::Serialize;
use tempfile::NamedTempFile;

use crate::cli::NatsAuthArgs;
use crate::roles::{bound_users, token_of, users};

const FILE: &str = "foil-auth.conf";
const KEYS: &str = "nk";
/// Of the system account: what watches the server itself.
const SYSTEM: &str = "system";
/// As an update may have.
const TENANT_BYTES_MAX: usize = 64;
/// Most tenants with users of their own.
const TENANTS_MAX: usize = 10_000;

#[derive(Serialize)]
struct Report {
    configuration: PathBuf,
    changed: bool,
    /// Users whose keys were made now.
    made: Vec<String>,
    /// Users whose keys were there.
    kept: Vec<String>,
}

/// Makes what is missing, and prints what it did.
///
/// # Errors
/// When the directory cannot be written, or a key in it is none, or is open to others.
pub fn run(json: bool, args: &NatsAuthArgs) -> Result<ExitCode> {
    let report = write(&args.directory, &args.for_tenants)?;
    if json {
        say!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(ExitCode::SUCCESS);
    }
    for (words, names) in [("made", &report.made), ("kept", &report.kept)] {
        if !names.is_empty() {
            say!("keys {words}: {}", names.join(", "));
        }
    }
    let file = report.configuration.display();
    match report.changed {
        true => say!("{file} is new: include it in nats-server.conf, and reload the server"),
        false => say!("{file} is as it was"),
    }
    Ok(ExitCode::SUCCESS)
}

fn write(directory: &Path, tenants: &[String]) -> Result<Report> {
    let mut maker = DirBuilder::new();
    let made = maker.recursive(true).mode(0o700).create(directory);
    made.with_context(|| format!("cannot make {}", directory.display()))?;
    let mut report = Report {
        configuration: directory.join(FILE),
        changed: false,
        made: Vec::new(),
        kept: Vec::new(),
    };
    let mut known = users();
    for tenant in all_tenants(directory, tenants)? {
        known.extend(bound_users(&tenant));
    }
    let mut keys = Vec::new();
    for user in &known {
        keys.push(public_key(directory, &user.name, &mut report)?);
    }
    let system = public_key(directory, SYSTEM, &mut report)?;
    let text = accounts::configuration(&known, &keys, &system);
    report.changed = std::fs::read_to_string(&report.configuration).ok().as_ref() != Some(&text);
    if report.changed {
        replace(directory, &report.configuration, &text)?;
    }
    Ok(report)
}

/// Those named, and those whose keys are there: no call takes another's tenant away.
fn all_tenants(directory: &Path, named: &[String]) -> Result<BTreeSet<String>> {
    let mut tenants = BTreeSet::new();
    for tenant in named {
        ensure!(
            (1..=TENANT_BYTES_MAX).contains(&tenant.len()),
            "--for-tenant: {tenant:?} is not within 1 and {TENANT_BYTES_MAX} bytes"
        );
        tenants.insert(tenant.clone());
    }
    let files = directory.read_dir();
    for file in files.with_context(|| format!("cannot read {}", directory.display()))? {
        let path = file?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let token = stem.filter(|_| path.extension().is_some_and(|e| e == KEYS));
        let tenant = token
            .and_then(token_of)
            .and_then(|t| token::decode(&t).ok());
        if let Some(tenant) = tenant.and_then(|tenant| String::from_utf8(tenant).ok()) {
            tenants.insert(tenant);
        }
    }
    ensure!(
        tenants.len() <= TENANTS_MAX,
        "more than {TENANTS_MAX} tenants"
    );
    Ok(tenants)
}

/// Of the key in the directory, made if it is missing. What a faulty file holds is not told.
fn public_key(directory: &Path, name: &str, report: &mut Report) -> Result<String> {
    let path = directory.join(format!("{name}.{KEYS}"));
    match path.metadata() {
        Ok(found) => {
            let mode = found.permissions().mode() & 0o777;
            ensure!(
                mode & 0o077 == 0,
                "{}: others may read this key (mode {mode:03o}); chmod 600 it, or delete it to \
                 have a new one made",
                path.display()
            );
            let text = std::fs::read_to_string(&path);
            let text = text.with_context(|| format!("cannot read {}", path.display()))?;
            report.kept.push(name.to_owned());
            match KeyPair::from_seed(text.trim()) {
                Ok(pair) if pair.key_pair_type() == KeyPairType::User => Ok(pair.public_key()),
                _ => bail!(
                    "{}: holds no seed of an nkey user; delete it to have a new one made",
                    path.display()
                ),
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let pair = KeyPair::new_user();
            let seed = pair.seed().ok().context("cannot make a key")?;
            let mut file = NamedTempFile::new_in(directory)
                .with_context(|| format!("cannot write to {}", directory.display()))?;
            // Whole or not at all, and open to its owner only.
            writeln!(file, "{seed}")?;
            file.as_file().sync_all()?;
            let kept = file.persist_noclobber(&path);
            kept.with_context(|| format!("cannot make {}", path.display()))?;
            report.made.push(name.to_owned());
            Ok(pair.public_key())
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// A server that reads it meanwhile finds the old or the new one.
fn replace(directory: &Path, path: &Path, text: &str) -> Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    let mut file = NamedTempFile::new_in(directory).with_context(cannot)?;
    file.write_all(text.as_bytes()).with_context(cannot)?;
    // The server may run as another user.
    let open = Permissions::from_mode(0o644);
    file.as_file().set_permissions(open).with_context(cannot)?;
    file.as_file().sync_all().with_context(cannot)?;
    file.persist(path).with_context(cannot)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(directory: &Path, name: &str) -> String {
        let path = directory.join(format!("{name}.nk"));
        std::fs::read_to_string(path).expect("a key")
    }

    #[test]
    fn a_second_call_changes_nothing_and_a_deleted_key_is_made_anew() {
        let folder = tempfile::tempdir().expect("a directory");
        let directory = folder.path().join("nats");
        let tenants = ["acme".to_owned(), "a.b".to_owned()];
        let first = write(&directory, &tenants).expect("written");
        assert!(first.changed && first.kept.is_empty());
        assert!(first.made.contains(&"producer-a=2Eb".to_owned()));
        for file in directory.read_dir().expect("a directory") {
            let path = file.expect("a file").path();
            let mode = path.metadata().expect("its state").permissions().mode() & 0o777;
            let wanted = if path.ends_with(FILE) { 0o644 } else { 0o600 };
            assert_eq!(mode, wanted, "{}", path.display());
        }
        let text = std::fs::read_to_string(&first.configuration).expect("written");
        assert!(
            !text.contains(seed(&directory, "operator").trim()),
            "a seed is in it"
        );

        // Tenants stay known without being named again.
        let again = write(&directory, &[]).expect("written");
        assert!(!again.changed && again.made.is_empty());
        assert_eq!(again.kept, first.made);

        let old = seed(&directory, "operator");
        std::fs::remove_file(directory.join("operator.nk")).expect("removed");
        let renewed = write(&directory, &[]).expect("written");
        assert_eq!(
            (renewed.changed, renewed.made),
            (true, vec!["operator".to_owned()])
        );
        assert_ne!(seed(&directory, "operator"), old);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().expect("a directory");
        let fails = |tenants: &[String]| {
            let error = write(folder.path(), tenants).err().expect("an error");
            format!("{error:#}")
        };
        assert!(fails(&[String::new()]).starts_with("--for-tenant: "));
        write(folder.path(), &[]).expect("written");
        let key = folder.path().join("selector.nk");
        std::fs::write(&key, "hunter2").expect("written");
        let words = fails(&[]);
        assert!(words.contains("selector.nk: holds no seed"), "{words}");
        assert!(!words.contains("hunter2"), "{words}");
        std::fs::set_permissions(&key, Permissions::from_mode(0o640)).expect("set");
        assert!(fails(&[]).contains("others may read this key (mode 640)"));
        let file = write(&key, &[]).err().expect("an error");
        assert!(format!("{file:#}").starts_with("cannot make "), "{file:#}");
    }
}
