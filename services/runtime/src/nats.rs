//! The connection to NATS: tried until it stands, and again whenever it falls.

use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, ServerAddr};

use crate::config::NatsConfig;
use crate::health::{Health, HealthCheck};

/// No wait between two attempts to connect is longer.
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(5);

/// Why a connection cannot even be tried.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// Not an address.
    #[error("nats.url: {address:?} is no server address")]
    Address { address: String },
    /// The credentials file cannot be read.
    #[error("nats.credentials: {path}: {cause}")]
    Credentials {
        path: String,
        #[source]
        cause: std::io::Error,
    },
    /// The options do not fit together.
    #[error("nats: {0}")]
    Connect(#[from] async_nats::ConnectError),
}

/// The servers that a comma-separated list names.
///
/// # Errors
/// [`NatsError::Address`] with the first part that is none.
pub fn addresses(list: &str) -> Result<Vec<ServerAddr>, NatsError> {
    let mut addresses = Vec::new();
    for part in list.split(',').map(str::trim) {
        match part.parse::<ServerAddr>() {
            Ok(address) if !part.is_empty() => addresses.push(address),
            _ => {
                // An address may carry a password.
                let address = part.rsplit('@').next().unwrap_or_default().to_owned();
                return Err(NatsError::Address { address });
            }
        }
    }
    Ok(addresses)
}

/// Connects. The client comes back at once and keeps trying until a server is there; `name` is what
/// the server shows for it.
///
/// # Errors
/// When the configuration cannot be used at all; never because a server is away.
pub async fn connect(config: &NatsConfig, name: &str) -> Result<Client, NatsError> {
    connect_watched(config, name, &Health::new()).await
}

/// Like [`connect`], with the state of the connection in the check `nats` of `health`.
///
/// # Errors
/// As for [`connect`].
pub async fn connect_watched(
    config: &NatsConfig,
    name: &str,
    health: &Health,
) -> Result<Client, NatsError> {
    let check = health.register("nats");
    let options = options(config, name)
        .await?
        .event_callback(move |event| observe(event, check.clone()));
    let addresses = addresses(&config.url)?;
    Ok(options.connect(addresses).await?)
}

async fn options(config: &NatsConfig, name: &str) -> Result<ConnectOptions, NatsError> {
    let mut options = ConnectOptions::new()
        .name(name)
        .retry_on_initial_connect()
        .max_reconnects(None)
        .request_timeout(Some(config.request_timeout))
        .connection_timeout(config.request_timeout)
        .reconnect_delay_callback(|attempts| {
            let doublings = u32::try_from(attempts.min(16)).unwrap_or(16);
            (Duration::from_millis(50) * 2_u32.pow(doublings)).min(RECONNECT_DELAY_MAX)
        });
    if let Some(path) = &config.credentials {
        let result = options.credentials_file(path).await;
        options = result.map_err(|cause| NatsError::Credentials {
            path: path.display().to_string(),
            cause,
        })?;
    }
    if let (Some(user), Some(password)) = (&config.user, &config.password) {
        options = options.user_and_password(user.clone(), password.expose().to_owned());
    }
    if let Some(token) = &config.token {
        options = options.token(token.expose().to_owned());
    }
    if let Some(path) = &config.root_certificate {
        options = options.add_root_certificates(path.clone());
    }
    if let Some(prefix) = &config.inbox_prefix {
        options = options.custom_inbox_prefix(prefix);
    }
    Ok(options.require_tls(config.require_tls))
}

async fn observe(event: Event, check: HealthCheck) {
    match event {
        Event::Connected => {
            check.set(true);
            tracing::info!("connected to nats");
        }
        Event::Disconnected => {
            check.set(false);
            tracing::warn!("disconnected from nats");
        }
        // By this process: at the end of its shutdown.
        Event::Closed => {
            check.set(false);
            tracing::info!("connection to nats closed");
        }
        Event::Draining | Event::LameDuckMode => tracing::info!(%event, "nats"),
        Event::SlowConsumer(_) | Event::ServerError(_) | Event::ClientError(_) => {
            tracing::warn!(%event, "nats");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_servers() {
        assert_eq!(addresses("nats://a:4222, b:4333").expect("a list").len(), 2);
        for list in ["", "nats://a:4222,", "nats://a:notaport"] {
            assert!(addresses(list).is_err(), "{list:?}");
        }
    }

    #[test]
    fn a_faulty_address_does_not_show_its_password() {
        let error = addresses("nats://user:hunter2@host:notaport").expect_err("no address");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
