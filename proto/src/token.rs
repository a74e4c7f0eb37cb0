//! Ids as subject tokens and bucket keys.
//!
//! An id may hold any bytes; a NATS subject token may not. Letters, digits, `-` and `_` stay as they
//! are, every other byte becomes `=XX` (upper-case hex), and the empty id becomes a lone `=`. The
//! result is reversible, holds only characters that subjects and bucket keys allow, and is at most
//! three times as long as the id.

/// Longest id that is accepted, in bytes. Its token is at most 768 bytes, so that a subject of
/// three ids stays below the server's limit for a protocol line (4,096 bytes).
pub const ID_BYTES_MAX: usize = 256;

/// Encodes `id` as one token.
pub fn encode(id: impl AsRef<[u8]>) -> String {
    let id = id.as_ref();
    if id.is_empty() {
        return "=".to_owned();
    }
    let mut token = String::with_capacity(id.len());
    for &byte in id {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            token.push(char::from(byte));
        } else {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            token.push('=');
            token.push(char::from(HEX[usize::from(byte >> 4)]));
            token.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    token
}

/// Why a token is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an encoded id: fault at byte {at}")]
pub struct TokenError {
    /// Offset of the first faulty byte.
    pub at: usize,
}

/// Decodes a token made by [`encode`]. Accepts nothing that [`encode`] does not make.
///
/// # Errors
/// [`TokenError`] names the first faulty byte.
pub fn decode(token: &str) -> Result<Vec<u8>, TokenError> {
    let bytes = token.as_bytes();
    if bytes == b"=" {
        return Ok(Vec::new());
    }
    if bytes.is_empty() {
        return Err(TokenError { at: 0 });
    }
    let mut id = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            id.push(byte);
            at += 1;
        } else if byte == b'=' {
            let decoded = bytes
                .get(at + 1..at + 3)
                .and_then(hex_pair)
                .ok_or(TokenError { at })?;
            id.push(decoded);
            at += 3;
        } else {
            return Err(TokenError { at });
        }
    }
    // `=61` is not how `a` is written: one id has one token.
    if encode(&id) == token {
        Ok(id)
    } else {
        Err(TokenError { at: 0 })
    }
}

fn hex_pair(pair: &[u8]) -> Option<u8> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    };
    Some(digit(pair[0])? << 4 | digit(pair[1])?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn readable_ids_stay_readable() {
        assert_eq!(encode("mara-7_B"), "mara-7_B");
        assert_eq!(encode("a.b *>\n"), "a=2Eb=20=2A=3E=0A");
        assert_eq!(encode(""), "=");
    }

    #[test]
    fn a_second_spelling_is_refused() {
        for token in ["=61", "=2e", "a.b", "", "==", "a=", "=2", "=ZZ", "é"] {
            assert!(decode(token).is_err(), "{token:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(id in proptest::collection::vec(any::<u8>(), 0..=ID_BYTES_MAX)) {
            let token = encode(&id);
            prop_assert!(token.len() <= 3 * ID_BYTES_MAX);
            prop_assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_=".contains(&b)));
            prop_assert_eq!(decode(&token), Ok(id));
        }

        #[test]
        fn decoding_never_panics(token in ".*") {
            let _ = decode(&token);
        }
    }
}
