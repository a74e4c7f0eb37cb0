//! Server-sent events, as far as chat completions use them: the `data` of each event.

/// Splits bytes into events. What it holds is bounded by what it was fed.
#[derive(Default)]
pub(super) struct Events {
    /// Bytes of the line that is not whole yet.
    partial: Vec<u8>,
    /// `data` lines of the event that is not whole yet.
    data: Option<String>,
}

/// A line that is not UTF-8.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotText;

impl Events {
    /// Takes the next bytes and returns the data of every event that they complete.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<String>, NotText> {
        let mut events = Vec::new();
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            self.partial.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            let line = std::mem::take(&mut self.partial);
            events.extend(self.line(&line)?);
        }
        self.partial.extend_from_slice(rest);
        Ok(events)
    }

    /// The event that the end of the body leaves without its blank line, as some servers do.
    pub(super) fn finish(mut self) -> Result<Option<String>, NotText> {
        let line = std::mem::take(&mut self.partial);
        self.line(&line)?;
        Ok(self.data)
    }

    fn line(&mut self, line: &[u8]) -> Result<Option<String>, NotText> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Ok(self.data.take());
        }
        // Comments (keep-alives) and the other fields say nothing here.
        if let Some(data) = line.strip_prefix(b"data:") {
            let data = data.strip_prefix(b" ").unwrap_or(data);
            let data = std::str::from_utf8(data).map_err(|_| NotText)?;
            match &mut self.data {
                Some(whole) => {
                    whole.push('\n');
                    whole.push_str(data);
                }
                none => *none = Some(data.to_owned()),
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(parts: &[&[u8]]) -> Vec<String> {
        let mut events = Events::default();
        let mut found: Vec<String> = parts
            .iter()
            .flat_map(|part| events.feed(part).unwrap())
            .collect();
        found.extend(events.finish().unwrap());
        found
    }

    #[test]
    fn any_split_of_the_bytes_gives_the_same_events() {
        let body = ": hello\r\ndata: {\"a\":1}\r\n\r\nevent: x\ndata:b\ndata: é\n\ndata: [DONE]";
        let expected = ["{\"a\":1}", "b\né", "[DONE]"];
        assert_eq!(all(&[body.as_bytes()]), expected);
        for cut in 0..body.len() {
            let (left, right) = body.as_bytes().split_at(cut);
            assert_eq!(all(&[left, right]), expected, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = body.as_bytes().chunks(1).collect();
        assert_eq!(all(&bytes), expected);
    }

    #[test]
    fn bytes_that_are_not_text_are_refused() {
        assert_eq!(Events::default().feed(b"data: \xff\n\n"), Err(NotText));
    }

    #[test]
    fn blank_lines_alone_are_no_events() {
        assert!(all(&[b"\n\n\n: ping\n\n"]).is_empty());
    }
}
