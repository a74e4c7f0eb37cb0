//! Asks the admin port whether the stages behind it are ready. One small request to a server of our
//! own: an HTTP client would be more than it needs.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(2);
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// What `/readyz` says.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Readiness {
    Ready {
        checks: Vec<String>,
    },
    NotReady {
        down: Vec<String>,
    },
    Unreachable {
        why: String,
    },
    /// The stages are not where this command is.
    NotAsked,
}

#[derive(Deserialize)]
struct Answer {
    ready: bool,
    checks: Vec<Check>,
}

#[derive(Deserialize)]
struct Check {
    name: String,
    up: bool,
}

/// Asks, for at most 2 seconds.
pub async fn readiness(admin: SocketAddr) -> Readiness {
    let unreachable = |why: String| Readiness::Unreachable { why };
    if admin.port() == 0 {
        return unreachable("port 0 says nothing".to_owned());
    }
    let answer = match tokio::time::timeout(PATIENCE, ask(admin)).await {
        Err(_) => return unreachable("no answer within 2 s".to_owned()),
        Ok(Err(error)) => return unreachable(error.to_string()),
        Ok(Ok(answer)) => answer,
    };
    let Some((ready, checks)) = read(&answer) else {
        return unreachable("another program answers there".to_owned());
    };
    let names = |up| -> Vec<String> {
        let wanted = checks.iter().filter(|check| check.up == up);
        wanted.map(|check| check.name.clone()).collect()
    };
    match ready {
        true => Readiness::Ready {
            checks: names(true),
        },
        false => Readiness::NotReady { down: names(false) },
    }
}

async fn ask(admin: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut connection = TcpStream::connect(admin).await?;
    // HTTP/1.0: the answer comes in one piece and ends with the connection.
    let request = format!("GET /readyz HTTP/1.0\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    connection
        .take(ANSWER_BYTES_MAX)
        .read_to_end(&mut answer)
        .await?;
    Ok(answer)
}

fn read(answer: &[u8]) -> Option<(bool, Vec<Check>)> {
    let at = answer.windows(4).position(|part| part == b"\r\n\r\n")?;
    let answer: Answer = serde_json::from_slice(&answer[at + 4..]).ok()?;
    Some((answer.ready, answer.checks))
}
