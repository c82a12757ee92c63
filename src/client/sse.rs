//! Server-sent events out of bytes that are cut anywhere. No I/O.

/// Longest line kept. Beyond: the stream is given up.
const LINE_BYTES_MAX: usize = 4 * 1024 * 1024;

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Event {
    pub name: String,
    pub data: String,
}

#[derive(Debug, Default)]
pub struct Events {
    line: Vec<u8>,
    event: Event,
    has_data: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineTooLong;

impl Events {
    /// Takes bytes, gives the events that they complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Event>, LineTooLong> {
        let mut done = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + part.len() > LINE_BYTES_MAX {
                return Err(LineTooLong);
            }
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                done.extend(self.take_line(&line));
            }
        }
        Ok(done)
    }

    fn take_line(&mut self, line: &[u8]) -> Option<Event> {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            let event = std::mem::take(&mut self.event);
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let (field, value) = text.split_once(':').unwrap_or((text, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            "event" => value.clone_into(&mut self.event.name),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str =
        ": hello\r\n\r\nevent: error\ndata: é1\ndata: 2\n\ndata:[DONE]\r\n\r\nid: 7\n\ndata: cut";

    #[test]
    fn events_are_the_same_wherever_the_bytes_are_cut() {
        let whole = Events::default().feed(STREAM.as_bytes()).unwrap();
        let expected = [("error", "é1\n2"), ("", "[DONE]")]
            .map(|(name, data)| Event { name: name.into(), data: data.into() });
        assert_eq!(whole, expected);
        for cut in 0..STREAM.len() {
            let (head, tail) = STREAM.as_bytes().split_at(cut);
            let mut events = Events::default();
            let mut found = events.feed(head).unwrap();
            found.extend(events.feed(tail).unwrap());
            assert_eq!(found, expected, "cut at {cut}");
        }
    }

    #[test]
    fn a_line_without_end_is_given_up() {
        let mut events = Events::default();
        let chunk = vec![b'x'; LINE_BYTES_MAX / 2];
        assert!(events.feed(&chunk).is_ok() && events.feed(&chunk).is_ok());
        assert_eq!(events.feed(&chunk), Err(LineTooLong));
    }
}
