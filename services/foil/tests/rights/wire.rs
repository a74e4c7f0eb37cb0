//! As much of NATS's protocol as it takes to ask whether one subject is allowed. The answer to a ping
//! comes behind every complaint about what went before it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

pub struct Wire {
    stream: BufReader<TcpStream>,
}

impl Wire {
    /// Connects as the user whose seed this is; none: as nobody.
    ///
    /// # Errors
    /// What the server says.
    pub fn connect(address: &str, seed: Option<&str>) -> Result<Self, String> {
        let stream = TcpStream::connect(address).expect("the server listens");
        let limit = Duration::from_secs(20);
        stream.set_read_timeout(Some(limit)).expect("it is set");
        let stream = BufReader::new(stream);
        let mut wire = Self { stream };
        let info = wire.line();
        let info = info.strip_prefix("INFO ").expect("the server's state");
        let info: Value = serde_json::from_str(info).expect("it is JSON");
        let mut options = json!({
            "verbose": false, "pedantic": false, "echo": false, "lang": "test", "version": "0",
            "protocol": 1, "headers": true, "no_responders": true,
        });
        if let Some(seed) = seed {
            let pair = KeyPair::from_seed(seed.trim()).expect("a seed");
            let nonce = info["nonce"].as_str().expect("a nonce");
            let signature = pair.sign(nonce.as_bytes()).expect("signed");
            options["nkey"] = pair.public_key().into();
            options["sig"] = URL_SAFE_NO_PAD.encode(signature).into();
        }
        match wire.complaint(&format!("CONNECT {options}\r\n")) {
            Some(complaint) => Err(complaint),
            None => Ok(wire),
        }
    }

    /// Whether the server takes a message to it.
    pub fn may_publish(&mut self, subject: &str) -> bool {
        let complaint = self.complaint(&format!("PUB {subject} 0\r\n\r\n"));
        allowed(complaint, "Publish", subject)
    }

    /// Whether the server takes a subscription to it.
    pub fn may_subscribe(&mut self, subject: &str) -> bool {
        let complaint = self.complaint(&format!("SUB {subject} 1\r\nUNSUB 1\r\n"));
        allowed(complaint, "Subscription", subject)
    }

    fn say(&mut self, text: &str) {
        let sent = self.stream.get_mut().write_all(text.as_bytes());
        sent.expect("the server reads");
    }

    /// What the server has against `said`, if anything.
    fn complaint(&mut self, said: &str) -> Option<String> {
        // In one write: whoever is refused is cut off.
        self.say(&format!("{said}PING\r\n"));
        let mut complaint = None;
        loop {
            let line = self.line();
            match line.split(' ').next() {
                Some("PONG") => return complaint,
                Some("-ERR") => complaint = Some(line),
                Some("PING") => self.say("PONG\r\n"),
                Some("MSG" | "HMSG") => self.skip_payload(&line),
                Some("INFO") => {}
                // The server has hung up.
                Some("") if complaint.is_some() => return complaint,
                _ => panic!("unexpected: {line:?}"),
            }
        }
    }

    fn skip_payload(&mut self, line: &str) {
        let length = line
            .rsplit(' ')
            .next()
            .and_then(|n| n.parse::<usize>().ok());
        let mut payload = vec![0; length.expect("a length") + 2];
        self.stream.read_exact(&mut payload).expect("a payload");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        // A refused client is cut off, maybe in the middle.
        if self.stream.read_line(&mut line).is_err() {
            return String::new();
        }
        line.trim_end().to_owned()
    }
}

fn allowed(complaint: Option<String>, what: &str, subject: &str) -> bool {
    let Some(complaint) = complaint else {
        return true;
    };
    let wanted = format!("Permissions Violation for {what} to \"{subject}\"");
    assert!(complaint.contains(&wanted), "{subject}: {complaint}");
    false
}
