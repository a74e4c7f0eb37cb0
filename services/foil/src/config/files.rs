//! Whether the files that a configuration names are there.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use foil_embedder::EmbedEngine;
use foil_llm::EngineKind;
use foil_runtime::config::{Fault, Faults};

use super::{FoilConfig, Require};

/// Models of engines in this process, files with keys, and the program of the nats-server.
#[expect(
    clippy::disallowed_methods,
    reason = "where programs are looked for is no setting of Foil"
)]
pub fn file_faults(config: &FoilConfig) -> Vec<Fault> {
    faults(config, std::env::var_os("PATH").as_deref())
}

fn faults(config: &FoilConfig, path: Option<&OsStr>) -> Vec<Fault> {
    let mut faults = Faults::default();
    let mut require = |there: bool, section: &str, key, named: &Path| {
        let problem = format!("no such file: {}", named.display());
        faults.section(section, &Require(there, key, &problem));
    };
    if config.llm.engine != EngineKind::Openai {
        let model = Path::new(&config.llm.model);
        // mistralrs takes a folder too.
        let folder = config.llm.engine == EngineKind::Mistralrs && model.is_dir();
        require(folder || model.is_file(), "llm", "model", model);
    }
    if config.embed.engine != EmbedEngine::Openai {
        let model = Path::new(&config.embed.model);
        require(model.is_file(), "embed", "model", model);
    }
    for (section, key) in [
        ("llm", &config.llm.api_key_file),
        ("embed", &config.embed.api_key_file),
    ] {
        if let Some(key) = key {
            require(key.is_file(), section, "api_key_file", key);
        }
    }
    if let Some(program) = &config.up.nats_server {
        let found = program_is_there(program, path);
        require(found, "up", "nats_server", program);
    }
    faults.into_list()
}

/// As a shell looks for it: a bare name in `path`, anything else as it stands.
fn program_is_there(program: &Path, path: Option<&OsStr>) -> bool {
    let runs = |file: PathBuf| {
        let found = file.metadata();
        found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    if program.components().count() > 1 || program.is_absolute() {
        return runs(program.to_owned());
    }
    path.is_some_and(|path| std::env::split_paths(path).any(|folder| runs(folder.join(program))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(config: &FoilConfig, path: &Path) -> Vec<String> {
        let faults = faults(config, Some(path.as_os_str()));
        faults.into_iter().map(|fault| fault.key).collect()
    }

    #[test]
    fn what_is_not_there_is_named() {
        let folder = tempfile::tempdir().expect("a directory");
        let mut config = FoilConfig::default();
        config.llm.model = "no/such.gguf".to_owned();
        config.embed.model = folder.path().to_string_lossy().into_owned();
        config.llm.api_key_file = Some("no/such.key".into());
        config.up.nats_server = Some("nats-server".into());
        let all = [
            "llm.model",
            "embed.model",
            "llm.api_key_file",
            "up.nats_server",
        ];
        assert_eq!(keys(&config, folder.path()), all);

        let model = folder.path().join("model.gguf");
        std::fs::write(&model, "x").expect("written");
        config.llm.model = model.to_string_lossy().into_owned();
        config.embed.engine = EmbedEngine::Openai;
        config.llm.api_key_file = Some(model);
        let program = folder.path().join("nats-server");
        std::fs::write(&program, "x").expect("written");
        // There, but nothing that runs.
        assert_eq!(keys(&config, folder.path()), ["up.nats_server"]);
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&program, mode).expect("set");
        assert!(keys(&config, folder.path()).is_empty());
        config.up.nats_server = Some(program);
        assert!(keys(&config, Path::new("elsewhere")).is_empty());
    }

    #[test]
    fn a_dump_shows_the_limits_that_hold_and_loads_again() {
        let dumped = crate::config::dump(FoilConfig::default()).expect("it is TOML");
        let table = |name| dumped.split(&format!("[provision.{name}]\n")).nth(1);
        let updates = table("updates").expect("a table");
        assert!(
            updates.starts_with(
                "max_bytes = 1073741824\nmax_messages = 10000000\nmax_age = \"7days\""
            ),
            "{updates}"
        );
        // A profile has no age at which it goes.
        let profiles = table("profiles").expect("a table");
        let until_next = profiles.split('[').next().expect("a part");
        assert!(!until_next.contains("max_age"), "{until_next}");

        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), &dumped).expect("written");
        let sources = foil_runtime::Sources {
            file: Some(file.path().to_owned()),
            ..foil_runtime::Sources::default()
        };
        let config = foil_runtime::config::load(&sources).expect("it holds");
        assert_eq!(crate::config::dump(config).expect("it is TOML"), dumped);
    }
}
