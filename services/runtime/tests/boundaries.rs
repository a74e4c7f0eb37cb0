//! The runtime knows no domain message, and names stand in one place.

use std::path::{Path, PathBuf};

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn each_source(mut check: impl FnMut(&str, &str)) {
    let mut found = Vec::new();
    sources(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut found,
    );
    assert!(found.len() > 15, "the sources are where they were");
    for path in found {
        let text = std::fs::read_to_string(&path).expect("it is text");
        check(&path.display().to_string(), &text);
    }
}

#[test]
fn of_the_contract_only_names_tokens_and_the_length_of_a_tenant_are_used() {
    each_source(|path, text| {
        for (at, _) in text.match_indices("foil_proto") {
            let rest = &text[at + "foil_proto".len()..];
            let allowed = [
                "::names",
                "::token",
                "::{names, token}",
                "::check::TENANT_BYTES_MAX",
            ];
            let fine = allowed.iter().any(|name| rest.starts_with(name));
            assert!(
                fine,
                "{path}: foil_proto{}",
                rest.lines().next().unwrap_or_default()
            );
        }
    });
}

#[test]
fn the_environment_is_read_in_the_configuration_only() {
    each_source(|path, text| {
        let allowed = path.ends_with("src/config.rs") || path.ends_with("src/testing.rs");
        assert!(allowed || !text.contains("env::var"), "{path}");
    });
}

#[test]
fn metric_names_stand_in_one_file() {
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/metrics/catalogue.rs");
    let list = std::fs::read_to_string(list).expect("it is text");
    for metric in foil_runtime::metrics::ALL {
        let name = metric.name;
        assert_eq!(list.matches(&format!("\"{name}\"")).count(), 1, "{name}");
        each_source(|path, text| {
            let elsewhere = !path.ends_with("src/metrics/catalogue.rs") && text.contains(name);
            assert!(!elsewhere, "{path} names {name}");
        });
    }
}

#[test]
fn names_of_attributes_stand_in_one_file() {
    each_source(|path, text| {
        for prefix in ["\"messaging.", "\"gen_ai.", "\"db.", "\"error.type"] {
            let elsewhere = !path.ends_with("telemetry/semconv.rs") && text.contains(prefix);
            assert!(!elsewhere, "{path} has {prefix}");
        }
    });
}
