use super::*;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum Engine {
    Local { model: String, threads: usize },
    Served { url: String },
}

impl Default for Engine {
    fn default() -> Self {
        Self::Local {
            model: "small.gguf".to_owned(),
            threads: 2,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Section {
    worker: WorkerConfig,
    engine: Engine,
    share: f64,
    labels: BTreeMap<String, String>,
}

impl Default for Section {
    fn default() -> Self {
        Self {
            worker: WorkerConfig {
                permits: 32,
                ..WorkerConfig::default()
            },
            engine: Engine::default(),
            share: 0.5,
            labels: BTreeMap::new(),
        }
    }
}

impl Validate for Section {
    fn validate(&self, faults: &mut Faults) {
        faults.section("worker", &self.worker);
        faults.require(self.share < 1.0, "share", "must be below 1");
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    nats: NatsConfig,
    admin: AdminConfig,
    telemetry: TelemetryConfig,
    shutdown: ShutdownConfig,
    stage: Section,
}

impl Validate for Config {
    fn validate(&self, faults: &mut Faults) {
        self.common().validate(faults);
        faults.section("stage", &self.stage);
    }
}

impl ServiceConfig for Config {
    fn common(&self) -> Common<'_> {
        Common {
            nats: &self.nats,
            admin: &self.admin,
            telemetry: &self.telemetry,
            shutdown: &self.shutdown,
        }
    }
}

fn sources(file: Option<&str>, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Loaded {
    let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        let pairs = pairs.iter();
        pairs
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    };
    let file = file.map(|text| {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("written");
        file
    });
    let result = load(&Sources {
        file: file.as_ref().map(|file| file.path().to_owned()),
        environment: own(environment).into_iter().collect(),
        flags: own(flags),
    });
    Loaded { result }
}

struct Loaded {
    result: Result<Config, ConfigError>,
}

impl Loaded {
    fn config(self) -> Config {
        self.result.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Key and problem of each fault, sorted.
    fn faults(self) -> Vec<(String, String)> {
        let faults = self.result.expect_err("faults").faults;
        let mut pairs: Vec<_> = faults.into_iter().map(|f| (f.key, f.problem)).collect();
        pairs.sort();
        pairs
    }

    fn keys(self) -> Vec<String> {
        self.faults().into_iter().map(|(key, _)| key).collect()
    }
}

#[test]
fn defaults_hold() {
    let config = sources(None, &[], &[]).config();
    assert_eq!(config.stage.worker.permits, 32);
    assert_eq!(config.shutdown.deadline, Duration::from_secs(30));
}

#[test]
fn flags_before_environment_before_file_before_defaults() {
    let file = "[stage.worker]\npermits = 1\nmax_deliveries = 2\ntimeout = \"1m 5s\"";
    let environment = [
        ("FOIL_STAGE__WORKER__PERMITS", "3"),
        ("FOIL_STAGE__SHARE", "0.95"),
    ];
    let flags = [("stage.worker.permits", "4")];
    let config = sources(Some(file), &environment, &flags).config();
    let worker = config.stage.worker;
    assert_eq!((worker.permits, worker.max_deliveries), (4, 2));
    assert_eq!(worker.timeout, Duration::from_secs(65));
    assert_eq!(config.stage.share, 0.95);
    // A section's other defaults are this service's, not the section type's.
    assert_eq!(
        sources(Some("[stage.worker]\nmax_deliveries = 2"), &[], &[])
            .config()
            .stage
            .worker
            .permits,
        32
    );
}

#[test]
fn every_fault_at_once_with_its_origin() {
    let file = r#"
        typo = 1
        [nats]
        ulr = "nats://a"
        [telemetry]
        sampling = 7.0
        log = "xml"
        [stage]
        share = 2.0
        [stage.worker]
        permits = "many"
        tymeout = "3s"
        backoff_base = "5m"
    "#;
    let environment = [
        ("FOIL_SHUTDOWN__DEADLINE", "soon"),
        ("FOIL_STAGE__NOPE__DEEP", "1"),
    ];
    let loaded = sources(Some(file), &environment, &[("admin.listen", "nowhere")]);
    let text = loaded.result.as_ref().expect_err("faults").to_string();
    assert!(text.contains("(from FOIL_SHUTDOWN__DEADLINE)"), "{text}");
    assert!(text.contains("(from --set admin.listen)"), "{text}");
    assert!(
        text.contains("nats.ulr: unknown key; known are url, "),
        "{text}"
    );
    assert_eq!(
        loaded.keys(),
        [
            "admin.listen",
            "nats.ulr",
            "shutdown.deadline",
            "stage.nope",
            "stage.share",
            "stage.worker.backoff_base",
            "stage.worker.permits",
            "stage.worker.tymeout",
            "telemetry.log",
            "telemetry.sampling",
            "typo",
        ]
    );
}

#[test]
fn a_struct_that_forgot_to_deny_unknown_keys_still_does() {
    #[derive(Debug, Default, Serialize, Deserialize)]
    #[serde(default)]
    struct Lax {
        known: u32,
    }
    impl Validate for Lax {
        fn validate(&self, _: &mut Faults) {}
    }
    let environment = BTreeMap::from([("FOIL_A__B".to_owned(), "1".to_owned())]);
    let error = load::<Lax>(&Sources {
        environment,
        ..Sources::default()
    })
    .expect_err("an unknown key");
    assert_eq!(
        error.faults[0].to_string(),
        "a: unknown key (from FOIL_A__B)"
    );
}

#[test]
fn another_variant_does_not_inherit_the_default_ones_keys() {
    let file = "[stage.engine]\nkind = \"served\"\nurl = \"http://llm:8080\"";
    let engine = sources(Some(file), &[], &[]).config().stage.engine;
    assert!(matches!(engine, Engine::Served { url } if url == "http://llm:8080"));
    let wrong = "[stage.engine]\nkind = \"served\"\nurl = \"http://llm\"\nthreads = 3\nx = 1";
    assert_eq!(
        sources(Some(wrong), &[], &[]).keys(),
        ["stage.engine.threads", "stage.engine.x"]
    );
    let incomplete = "[stage.engine]\nkind = \"served\"";
    let faults = sources(Some(incomplete), &[], &[]).faults();
    assert!(faults[0].1.contains("missing field `url`"), "{faults:?}");
}

#[test]
fn a_bare_value_fits_numbers_and_strings() {
    let environment = [
        ("FOIL_NATS__USER", "0123"),
        ("FOIL_NATS__PASSWORD", "0x10"),
        ("FOIL_STAGE__LABELS__REGION", "7"),
        ("FOIL_STAGE__WORKER__PERMITS", "5"),
    ];
    let config = sources(None, &environment, &[]).config();
    assert_eq!(config.nats.user.as_deref(), Some("0123"));
    assert_eq!(config.nats.password.expect("set").expose(), "0x10");
    assert_eq!(config.stage.labels["region"], "7");
    assert_eq!(config.stage.worker.permits, 5);
}

#[test]
fn foreign_variables_are_left_alone() {
    let environment = [
        ("FOIL_NATS_PORT", "tcp://10.0.0.1:4222"),
        ("PATH", "/bin"),
        ("A__B", "1"),
    ];
    sources(None, &environment, &[]).config();
}

#[test]
fn variables_that_name_no_key_are_known() {
    let names = [
        "FOIL_BOGUS",
        "FOIL_CACHE",
        "FOIL_CACHES",
        "FOIL_DEMO_WAIT",
        "FOIL_LLM_PARALLEL",
        "FOIL_LLM__PARALLEL",
        "FOIL_NATS_PORT",
        "FOIL_NATS_PORT_4222_TCP_ADDR",
        "FOIL_NATS_SERVICE_HOST",
        "FOIL_NATS_SERVICE_PORT_CLIENT",
        "FOIL_TEST_LLM_MODEL",
        "PATH",
        "REFOIL_BOGUS",
    ];
    let sources = Sources {
        environment: names.map(|name| (name.to_owned(), String::new())).into(),
        ..Sources::default()
    };
    let strays: Vec<_> = sources.strays().collect();
    assert_eq!(strays, ["FOIL_BOGUS", "FOIL_CACHES", "FOIL_LLM_PARALLEL"]);
}

#[test]
fn a_file_that_is_none() {
    let faults = sources(Some("[nats\nurl"), &[], &[("stage.share", "3")]).faults();
    assert_eq!(
        faults.len(),
        2,
        "the rest is checked all the same: {faults:?}"
    );
    let error = load::<Config>(&Sources {
        file: Some("no/such/file.toml".into()),
        ..Sources::default()
    })
    .expect_err("no file");
    let said = "cannot read no/such/file.toml: ";
    assert!(error.to_string().contains(said), "{error}");
}

#[test]
fn secrets_are_never_shown() {
    let environment = [("FOIL_NATS__USER", "u"), ("FOIL_NATS__PASSWORD", "hunter2")];
    let config = sources(None, &environment, &[]).config();
    let dumped = dump(&config).expect("it is TOML");
    assert!(dumped.contains("password = \"***\""), "{dumped}");
    assert!(!dumped.contains("hunter2") && !format!("{config:?}").contains("hunter2"));
}

#[test]
fn a_secret_on_the_command_line_is_refused() {
    let flags = [("nats.user", "u"), ("nats.password", "hunter2")];
    let faults = sources(None, &[], &flags).faults();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert_eq!(faults[0].0, "nats.password");
    let words = "set FOIL_NATS__PASSWORD, or name a file";
    assert!(faults[0].1.contains(words), "{faults:?}");
    assert!(!format!("{faults:?}").contains("hunter2"), "{faults:?}");
}

#[test]
fn a_secret_that_is_badly_written_is_not_shown() {
    for file in [
        "[nats]\nuser = \"u\"\npassword = hunter2",
        "[nats]\nuser = \"u\"\npassword = \"hunter2",
        "[nats]\nuser = \"u\"\npassword = [\"hunter2\"]",
        "[nats]\nuser = \"u\"\npassword = { hunter2 = 1 }",
        "[nats]\nuser = \"u\"\npassword = 48151623",
        "[nats]\nuser = \"u\"\npassword = 4815.1623",
        "[nats]\nurl = \"nats://u:hunter2@a\"",
        "[telemetry]\notlp_endpoint = \"http://u:hunter2@a\"",
    ] {
        let faults = format!("{:?}", sources(Some(file), &[], &[]).faults());
        for part in ["hunter2", "4815", "1623"] {
            assert!(!faults.contains(part), "{file}: {faults}");
        }
    }
    let faults = sources(Some("[nats]\nuser = \"u\"\npassword = 5 5"), &[], &[]).faults();
    assert!(faults[0].1.starts_with("line 3: "), "{faults:?}");
}

#[test]
fn a_dump_loads_again() {
    let dumped = dump(&sources(None, &[("FOIL_STAGE__SHARE", "0.25")], &[]).config());
    let config = sources(Some(&dumped.expect("it is TOML")), &[], &[]).config();
    assert_eq!(config.stage.share, 0.25);
}

#[test]
fn a_level_that_is_none_is_named() {
    for (level, fault) in [
        ("info,foil_runtime=debug", None),
        ("WARN", None),
        ("loud", Some("loud is none of off")),
        ("info, loud", Some("loud is none of off")),
        ("info,foil=loud", Some("error parsing level filter")),
    ] {
        let config = TelemetryConfig {
            level: level.to_owned(),
            ..TelemetryConfig::default()
        };
        let mut faults = Faults::default();
        faults.section("telemetry", &config);
        let told = format!("{faults:?}");
        assert_eq!(fault.is_none(), !told.contains("telemetry.level"), "{told}");
        assert!(told.contains(fault.unwrap_or_default()), "{told}");
    }
}

#[test]
fn times_and_counts_have_an_upper_end() {
    for key in [
        "nats.request_timeout",
        "shutdown.deadline",
        "stage.worker.backoff_cap",
        "stage.worker.publish_patience",
        "stage.worker.publish_timeout",
        "stage.worker.pull_expiry",
        "stage.worker.timeout",
    ] {
        sources(None, &[], &[(key, "24h")]).config();
        for beyond in ["24h 1s", "200years"] {
            let faults = sources(None, &[], &[(key, beyond)]).faults();
            assert_eq!(faults, [(key.to_owned(), "must be at most 24h".to_owned())]);
        }
    }
    let key = "stage.worker.max_deliveries";
    sources(None, &[], &[(key, "100000")]).config();
    for beyond in ["0", "100001"] {
        assert_eq!(sources(None, &[], &[(key, beyond)]).keys(), [key]);
    }
}
