//! From token bytes to text that may be sent: whole characters, and never a stop string.

/// Holds back what may still become a stop string or a character.
#[derive(Debug)]
pub(crate) struct TextGate {
    stops: Vec<String>,
    /// The beginning of a character whose other bytes come with the next token.
    bytes: Vec<u8>,
    /// Text that may be the beginning of a stop string.
    held: String,
    stopped: bool,
}

impl TextGate {
    pub(crate) fn new(stops: Vec<String>) -> Self {
        Self {
            stops,
            bytes: Vec::new(),
            held: String::new(),
            stopped: false,
        }
    }

    /// Whether a stop string was met; nothing comes out any more.
    pub(crate) fn stopped(&self) -> bool {
        self.stopped
    }

    /// Takes a token's bytes and gives the text that is certain.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> String {
        if self.stopped {
            return String::new();
        }
        self.bytes.extend_from_slice(bytes);
        self.decode();
        self.release()
    }

    /// The rest, when no more tokens come. Half a character is dropped.
    pub(crate) fn finish(&mut self) -> String {
        self.bytes.clear();
        if self.stopped {
            return String::new();
        }
        std::mem::take(&mut self.held)
    }

    /// Moves whole characters from `bytes` to `held`.
    fn decode(&mut self) {
        loop {
            match std::str::from_utf8(&self.bytes) {
                Ok(text) => {
                    self.held.push_str(text);
                    self.bytes.clear();
                    return;
                }
                Err(error) => {
                    let valid = error.valid_up_to();
                    self.held
                        .push_str(&String::from_utf8_lossy(&self.bytes[..valid]));
                    let Some(invalid) = error.error_len() else {
                        self.bytes.drain(..valid);
                        return;
                    };
                    self.held.push(char::REPLACEMENT_CHARACTER);
                    self.bytes.drain(..valid + invalid);
                }
            }
        }
    }

    fn release(&mut self) -> String {
        if self.stops.is_empty() {
            return std::mem::take(&mut self.held);
        }
        let found = self
            .stops
            .iter()
            .filter_map(|stop| self.held.find(stop.as_str()))
            .min();
        if let Some(at) = found {
            self.stopped = true;
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let keep = self
            .stops
            .iter()
            .map(|stop| overlap(&self.held, stop))
            .max()
            .unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        std::mem::replace(&mut self.held, rest)
    }
}

/// Bytes at the end of `text` that are a beginning of `stop`.
fn overlap(text: &str, stop: &str) -> usize {
    let ends = stop.char_indices().map(|(at, _)| at).rev();
    ends.take_while(|&at| at > 0)
        .filter(|&at| at <= text.len())
        .find(|&at| text.as_bytes().ends_with(&stop.as_bytes()[..at]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(stops: &[&str], parts: &[&[u8]]) -> (Vec<String>, bool) {
        let mut gate = TextGate::new(stops.iter().map(|&stop| stop.into()).collect());
        let mut out: Vec<String> = parts.iter().map(|part| gate.push(part)).collect();
        out.push(gate.finish());
        (out, gate.stopped())
    }

    #[test]
    fn a_character_split_over_tokens_comes_whole() {
        let sea = "a\u{1f30a}b".as_bytes();
        let (out, _) = run(&[], &[&sea[..2], &sea[2..4], &sea[4..]]);
        assert_eq!(out, ["a", "", "\u{1f30a}b", ""]);
    }

    #[test]
    fn invalid_bytes_become_the_replacement_character_and_a_half_is_dropped() {
        let (out, _) = run(&[], &[b"a\xff\xfeb", b"\xf0\x9f"]);
        assert_eq!(out.concat(), "a\u{fffd}\u{fffd}b");
    }

    #[test]
    fn a_stop_string_over_tokens_is_held_back() {
        let (out, stopped) = run(&["\nEND"], &[b"one\nE", b"N", b"D two", b"three"]);
        assert_eq!(out, ["one", "", "", "", ""]);
        assert!(stopped);
    }

    #[test]
    fn what_only_began_like_a_stop_string_comes_later() {
        let (out, stopped) = run(&["abcd", "bx"], &[b"zab", b"c", b"e"]);
        assert_eq!(out.concat(), "zabce");
        assert_eq!(out[0], "z");
        assert!(!stopped);
    }

    #[test]
    fn the_first_of_several_stop_strings_counts() {
        let (out, stopped) = run(&["three", "two"], &[b"one two three"]);
        assert_eq!(out.concat(), "one ");
        assert!(stopped);
    }

    proptest! {
        /// However the bytes are cut, the text is the one before the first stop string.
        #[test]
        fn cuts_do_not_matter(text in "[abé\u{1f30a}]{0,24}", stop in "[abé]{1,4}", cuts in prop::collection::vec(0usize..80, 0..8)) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.push(0);
            cuts.push(bytes.len());
            cuts.sort_unstable();
            let parts: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            let (out, stopped) = run(&[&stop], &parts);
            let end = text.find(&stop);
            prop_assert_eq!(out.concat(), &text[..end.unwrap_or(text.len())]);
            prop_assert_eq!(stopped, end.is_some());
        }
    }
}
