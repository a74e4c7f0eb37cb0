//! The least there is to a stage's binary: it repeats what it gets. The runtime's tests run it.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use foil_runtime::{
    AdminConfig, Classify, Common, Context, Emit, Faults, NatsConfig, Outcome, RunError, Service,
    ServiceConfig, ShutdownConfig, Stage, StageError, StageSpec, TelemetryConfig, Validate,
    WorkerConfig, main_with, run_stage,
};
use serde::{Deserialize, Serialize};

const NAME: &str = "echo";
/// What an ordinary input takes.
const WORK: Duration = Duration::from_millis(20);

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    nats: NatsConfig,
    admin: AdminConfig,
    telemetry: TelemetryConfig,
    shutdown: ShutdownConfig,
    echo: EchoConfig,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct EchoConfig {
    worker: WorkerConfig,
}

impl Validate for Config {
    fn validate(&self, faults: &mut Faults) {
        self.common().validate(faults);
        faults.section("echo", &self.echo);
    }
}

impl Validate for EchoConfig {
    fn validate(&self, faults: &mut Faults) {
        faults.section("worker", &self.worker);
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

#[derive(Clone, PartialEq, prost::Message)]
struct Note {
    #[prost(string, tag = "1")]
    text: String,
}

struct Echo;

impl Stage for Echo {
    type Input = Note;

    async fn handle(&self, input: Note, _cx: &Context) -> Result<Outcome, StageError> {
        match input.text.as_str() {
            "sleep" => tokio::time::sleep(Duration::from_secs(50)).await,
            "block" => std::thread::sleep(Duration::from_secs(50)),
            "abort" => std::process::abort(),
            "fatal" => return Err("told to be broken").fatal(),
            text if text.starts_with("work") => tokio::time::sleep(WORK).await,
            _ => {}
        }
        let emit = Emit::new("foil.v1.out.acme.u1".to_owned(), &input);
        Ok(Outcome::Emit(vec![emit]))
    }
}

async fn run(config: Config, service: Service) -> Result<(), RunError> {
    let spec = StageSpec {
        consumer: "tester",
        ..StageSpec::new(NAME, "IN")
    };
    run_stage(Arc::new(Echo), spec, config.echo.worker, &service).await
}

fn main() -> ExitCode {
    main_with(NAME, run)
}
