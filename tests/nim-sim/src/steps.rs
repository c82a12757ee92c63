//! A body as a list of steps, and the faults that reshape it. Pure: nothing here sleeps or writes.

use crate::fault::{Cut, Fault};
use crate::socket::CutKind;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::time::Duration;

/// The most that goes to the socket in one step.
const MAX_STEP_BYTES: usize = 64 * 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Data(Bytes),
    Pause(Duration),
    /// Lets what was written so far reach the socket.
    Yield,
    Cut(CutKind),
}

pub(crate) type Steps = Box<dyn Iterator<Item = Step> + Send>;

/// One server-sent event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A token: paced.
    Token(String),
    /// Anything else in JSON: goes with what came before it.
    Note(String),
    /// Bytes as they are.
    Raw(String),
    Pause(Duration),
    Done,
    /// The connection closes here.
    Cut,
}

pub(crate) type Frames = Box<dyn Iterator<Item = Frame> + Send>;

/// The steps of a body known as a whole.
pub(crate) fn whole(bytes: Bytes) -> Steps {
    let mut rest = bytes;
    Box::new(std::iter::from_fn(move || {
        let size = rest.len().min(MAX_STEP_BYTES);
        (size > 0).then(|| Step::Data(rest.split_to(size)))
    }))
}

/// The steps of an event stream.
pub(crate) fn events(frames: Frames, token_gap: Duration, fault: &Fault) -> Steps {
    let (crlf, comments, no_done) = (fault.crlf, fault.comments, fault.no_done);
    let mut tokens = 0_usize;
    let steps = frames.filter(move |frame| !(no_done && *frame == Frame::Done)).enumerate().flat_map(
        move |(index, frame)| {
            let is_token = matches!(frame, Frame::Token(_));
            tokens += usize::from(is_token);
            let gap = (is_token && tokens > 1 && !token_gap.is_zero()).then_some(Step::Pause(token_gap));
            gap.into_iter().chain([step(frame, index, crlf, comments)])
        },
    );
    Box::new(steps)
}

fn step(frame: Frame, index: usize, crlf: bool, comments: bool) -> Step {
    match frame {
        Frame::Token(data) | Frame::Note(data) => Step::Data(encode(&data, index, crlf, comments)),
        Frame::Done => Step::Data(encode("[DONE]", index, crlf, comments)),
        Frame::Raw(text) => Step::Data(text.into()),
        Frame::Pause(gap) => Step::Pause(gap),
        Frame::Cut => Step::Cut(CutKind::Fin),
    }
}

fn encode(data: &str, index: usize, crlf: bool, comments: bool) -> Bytes {
    let end = if crlf { "\r\n" } else { "\n" };
    let mut text = String::with_capacity(data.len() + 64);
    if comments {
        if index.is_multiple_of(2) {
            text.extend([": ping", end, end]);
        }
        text.extend(["event: message", end]);
    }
    text.extend(["data: ", data, end, end]);
    Bytes::from(text)
}

/// Puts the faults that concern the body's bytes around it.
pub(crate) fn disturb(steps: Steps, fault: &Fault) -> Steps {
    let mut steps = steps;
    if fault.split.is_some() || !fault.drip.is_zero() {
        steps = Box::new(Split::new(steps, fault.split, fault.drip));
    }
    if let Some(cut) = fault.cut {
        steps = Box::new(CutAt { inner: steps, cut, written: 0, ready: VecDeque::new(), done: false });
    }
    if !fault.silent.is_zero() {
        steps = Box::new([Step::Yield, Step::Pause(fault.silent)].into_iter().chain(steps));
    }
    steps
}

/// Pieces of one size, each written by itself; without a size the pieces stay as they are.
struct Split {
    inner: Steps,
    size: Option<NonZeroUsize>,
    gap: Step,
    buffer: BytesMut,
    ready: VecDeque<Step>,
    ended: bool,
}

impl Split {
    fn new(inner: Steps, size: Option<NonZeroUsize>, drip: Duration) -> Self {
        let gap = if drip.is_zero() { Step::Yield } else { Step::Pause(drip) };
        Self { inner, size, gap, buffer: BytesMut::new(), ready: VecDeque::new(), ended: false }
    }

    fn piece(&mut self) -> Option<Bytes> {
        let full = self.size.map_or(self.buffer.len(), |size| size.get());
        let enough = self.buffer.len() >= full || self.ended;
        let count = full.min(self.buffer.len());
        (enough && count > 0).then(|| self.buffer.split_to(count).freeze())
    }
}

impl Iterator for Split {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        loop {
            if let Some(step) = self.ready.pop_front() {
                return Some(step);
            }
            if let Some(piece) = self.piece() {
                self.ready.push_back(self.gap.clone());
                return Some(Step::Data(piece));
            }
            if self.ended {
                return None;
            }
            match self.inner.next() {
                Some(Step::Data(bytes)) => self.buffer.extend_from_slice(&bytes),
                Some(other) => return Some(other),
                None => self.ended = true,
            }
        }
    }
}

/// Ends the body at a cut.
struct CutAt {
    inner: Steps,
    cut: Cut,
    written: u64,
    ready: VecDeque<Step>,
    done: bool,
}

impl CutAt {
    fn kind(&self) -> CutKind {
        match self.cut {
            Cut::ResetAfter(_) => CutKind::Rst,
            Cut::After(_) | Cut::InsideCharacter => CutKind::Fin,
        }
    }

    /// How many of these bytes still go out, when the cut is within them.
    fn cut_within(&self, bytes: &[u8]) -> Option<usize> {
        match self.cut {
            Cut::After(limit) | Cut::ResetAfter(limit) => {
                let left = usize::try_from(limit - self.written.min(limit)).unwrap_or(usize::MAX);
                (left <= bytes.len()).then_some(left)
            }
            // The first byte of a multi-byte character is 0xC0 or above.
            Cut::InsideCharacter => bytes.iter().position(|&b| b >= 0xC0).map(|at| at + 1),
        }
    }
}

impl Iterator for CutAt {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if let Some(step) = self.ready.pop_front() {
            return Some(step);
        }
        if self.done {
            return None;
        }
        let cut = Step::Cut(self.kind());
        let step = match self.inner.next() {
            Some(Step::Data(mut bytes)) => {
                let Some(keep) = self.cut_within(&bytes) else {
                    self.written += bytes.len() as u64;
                    return Some(Step::Data(bytes));
                };
                if keep == 0 {
                    cut
                } else {
                    bytes.truncate(keep);
                    self.ready.push_back(cut);
                    Step::Data(bytes)
                }
            }
            Some(other) => return Some(other),
            None => cut,
        };
        self.done = true;
        Some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Scope;

    fn disturbed(body: &'static [u8], spec: &str) -> Vec<Step> {
        disturb(whole(Bytes::from_static(body)), &Fault::parse(spec, Scope::Request).unwrap()).collect()
    }

    fn data(bytes: &'static [u8]) -> Step {
        Step::Data(Bytes::from_static(bytes))
    }

    #[test]
    fn a_cut_comes_after_exactly_so_many_bytes() {
        assert_eq!(disturbed(b"hello", "cut-after=2"), [data(b"he"), Step::Cut(CutKind::Fin)]);
        assert_eq!(disturbed(b"hello", "reset-after=5"), [data(b"hello"), Step::Cut(CutKind::Rst)]);
        assert_eq!(disturbed(b"hello", "cut-after=0"), [Step::Cut(CutKind::Fin)]);
    }

    #[test]
    fn a_cut_beyond_the_body_still_prevents_its_clean_end() {
        assert_eq!(disturbed(b"hello", "cut-after=99"), [data(b"hello"), Step::Cut(CutKind::Fin)]);
    }

    #[test]
    fn a_cut_inside_a_character_leaves_half_of_it() {
        let steps = disturbed("né!".as_bytes(), "cut-utf8");
        assert_eq!(steps, [data(b"n\xC3"), Step::Cut(CutKind::Fin)]);
    }

    #[test]
    fn pieces_ignore_frames() {
        let frames: Frames = Box::new([Frame::Token("a".into()), Frame::Done].into_iter());
        let fault = Fault::parse("split=10", Scope::Request).unwrap();
        let steps: Vec<Step> = disturb(events(frames, Duration::ZERO, &fault), &fault).collect();
        let pieces: Vec<Step> = steps.into_iter().filter(|step| *step != Step::Yield).collect();
        assert_eq!(pieces, [data(b"data: a\n\nd"), data(b"ata: [DONE"), data(b"]\n\n")]);
    }

    #[test]
    fn only_the_gaps_between_tokens_are_paced() {
        let frames =
            [Frame::Note("r".into()), Frame::Token("a".into()), Frame::Token("b".into()), Frame::Done];
        let gap = Duration::from_millis(5);
        let steps = events(Box::new(frames.into_iter()), gap, &Fault::default());
        let paused: Vec<bool> = steps.map(|step| step == Step::Pause(gap)).collect();
        assert_eq!(paused, [false, false, true, false, false]);
    }

    #[test]
    fn line_ends_and_comments_are_as_asked() {
        let fault = Fault::parse("crlf,comments,no-done", Scope::Request).unwrap();
        let frames: Frames = Box::new([Frame::Token("a".into()), Frame::Done].into_iter());
        let steps: Vec<Step> = events(frames, Duration::ZERO, &fault).collect();
        assert_eq!(steps, [data(b": ping\r\n\r\nevent: message\r\ndata: a\r\n\r\n")]);
    }

    #[test]
    fn a_large_body_goes_in_bounded_steps() {
        let steps = whole(Bytes::from(vec![b'x'; 3 * MAX_STEP_BYTES - 1])).count();
        assert_eq!(steps, 3);
    }
}
