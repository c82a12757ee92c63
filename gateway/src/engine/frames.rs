//! Where the frames of an event stream end.

/// Counts events, and knows whether the stream stands between two of them.
pub struct Boundary {
    line_is_empty: bool,
    /// The last whole line was empty, or there was none.
    after_empty_line: bool,
    pub frames: u64,
}

impl Default for Boundary {
    fn default() -> Self {
        Self { line_is_empty: true, after_empty_line: true, frames: 0 }
    }
}

impl Boundary {
    pub fn see(&mut self, bytes: &[u8]) {
        let mut line_start = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            let line = bytes.get(line_start..end).unwrap_or_default();
            let empty = matches!(line, b"" | b"\r") && self.line_is_empty;
            self.frames += u64::from(empty);
            self.after_empty_line = empty;
            line_start = end + 1;
            self.line_is_empty = true;
        }
        // A line that has only begun counts as empty until a byte of its own is seen.
        let rest = bytes.get(line_start..).unwrap_or_default();
        self.line_is_empty &= matches!(rest, b"" | b"\r");
    }

    /// Whether the last byte seen ended a frame, so that another may follow.
    pub fn is_between_frames(&self) -> bool {
        self.line_is_empty && self.after_empty_line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_wherever_they_are_cut() {
        let stream = b"data: a\n\ndata: b\r\n\r\n: ping\n\ndata: c";
        for cut in 0..=stream.len() {
            let mut boundary = Boundary::default();
            boundary.see(&stream[..cut]);
            boundary.see(&stream[cut..]);
            assert!(!boundary.line_is_empty && boundary.after_empty_line, "cut at {cut}");
            assert_eq!(boundary.frames, 3, "cut at {cut}");
        }
        let mut boundary = Boundary::default();
        boundary.see(stream);
        assert_eq!(boundary.frames, 3);
        boundary.see(b"\n\n");
        assert!(boundary.line_is_empty);
    }
}
