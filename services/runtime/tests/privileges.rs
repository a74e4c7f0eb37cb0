//! A worker's user can pull its own consumer and publish to its own outputs, nothing else.

mod support;

use std::time::Duration;

use async_nats::HeaderMap;
use foil_runtime::testing::NatsServer;
use foil_runtime::{Health, NatsConfig, Outcome, Secret, Service, Shutdown, nats};
use support::{DEAD, IN, OUT, World, config, output, run_in, spec, stage, until};

const USERS: &str = r#"
authorization {
  users = [
    { user: admin, password: admin }
    { user: worker, password: worker, permissions {
        publish: [
          "$JS.API.CONSUMER.INFO.IN.tester"
          "$JS.API.CONSUMER.MSG.NEXT.IN.tester"
          "$JS.ACK.IN.tester.>"
          "$JS.ACK.*.*.IN.tester.>"
          "foil.v1.out.>"
          "foil.v1.dead.tester.>"
        ]
        subscribe: [ "_INBOX_tester.>" ]
    } }
  ]
}
"#;

fn user(server: &NatsServer, name: &str) -> NatsConfig {
    NatsConfig {
        user: Some(name.to_owned()),
        password: Some(Secret::new(name)),
        inbox_prefix: (name == "worker").then(|| "_INBOX_tester".to_owned()),
        ..server.config()
    }
}

async fn service(config: &NatsConfig) -> Service {
    let health = Health::new();
    let nats = nats::connect_watched(config, "test", &health).await;
    Service {
        health,
        nats: nats.expect("the configuration holds"),
        shutdown: Shutdown::new(Duration::from_secs(5)),
    }
}

#[tokio::test]
async fn a_worker_needs_no_more_than_its_own_subjects() {
    let server = NatsServer::start_with(None, USERS);
    let admin = service(&user(&server, "admin")).await;
    let jetstream = async_nats::jetstream::new(admin.nats.clone());
    let world = World {
        service: admin,
        jetstream,
        server,
    };
    world.provision(Duration::from_secs(30)).await;
    let worker = service(&user(&world.server, "worker")).await;
    let stage = stage(async |input, _, _| Ok(Outcome::Emit(vec![output(&input.text)])));
    let running = run_in(&worker, &stage, spec(), config());
    world.send("a").await;
    world
        .send_bytes(b"\x0a\xff".to_vec(), HeaderMap::new())
        .await;
    until("both are gone", async || world.count(IN).await == 0).await;
    assert_eq!((world.count(OUT).await, world.count(DEAD).await), (1, 1));

    let denied = async_nats::jetstream::new(worker.nats.clone());
    let refused = tokio::time::timeout(Duration::from_secs(2), denied.delete_stream(IN)).await;
    assert!(
        !matches!(refused, Ok(Ok(_))),
        "a worker must not delete streams"
    );
    worker.shutdown.trigger();
    support::ended(running).await.expect("a clean end");
}
