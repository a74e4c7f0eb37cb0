//! What the runtime costs against a bare loop.

use std::time::Duration;

use foil_runtime::config::TelemetryConfig;
use foil_runtime::testing::NatsServer;
use foil_runtime::{bus, telemetry};

#[tokio::test(flavor = "multi_thread")]
async fn a_no_op_stage_has_at_least_half_the_rate_of_a_bare_loop() {
    // With spans and counters, as in service.
    telemetry::init(&TelemetryConfig::default(), "test").expect("telemetry is set up");
    let server = NatsServer::start(None);
    let service = server.service(Duration::from_secs(10)).await;
    let report = bus::measure(&service, 20_000, 64).await.expect("measured");
    let ratio = report.ratio();
    assert!(ratio >= 0.5, "ratio {ratio:.2} of {report:?}");
    println!("{report:?}, ratio {ratio:.2}");
}
