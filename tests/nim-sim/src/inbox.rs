//! Reads a request body: bounded in what it keeps, and watching for a fault marker as bytes come.

use crate::error::SimError;
use crate::fault::{Fault, FaultError, Scope};
use crate::record::{MAX_BODY_BYTES, Ticket};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use memchr::memmem;
use sha2::{Digest, Sha256};

const MARKER_START: &[u8] = b"[[sim:";
const MARKER_END: &[u8] = b"]]";
/// A marker longer than this is text.
const MAX_MARKER_BYTES: usize = 1024;

pub(crate) struct Inbox {
    /// The first [`MAX_BODY_BYTES`].
    pub bytes: Bytes,
    pub len: u64,
    pub sha256: Option<[u8; 32]>,
    /// True when the fault said to answer before the body's end.
    pub early: bool,
}

/// What is wanted of the body besides its bytes.
pub(crate) struct Wanted {
    pub sha256: bool,
    /// False when a header already chose the fault.
    pub marker: bool,
}

/// Reads the body to its end, or to where `fault.early_after` says. A marker in it replaces `fault`.
pub(crate) async fn read(
    mut incoming: Incoming,
    fault: &mut Result<Fault, FaultError>,
    wanted: Wanted,
    ticket: &Ticket,
) -> Result<Inbox, SimError> {
    let mut kept = BytesMut::new();
    let mut len = 0_u64;
    let mut hash = wanted.sha256.then(Sha256::new);
    let mut scan = MarkerScan { from: 0, done: !wanted.marker };
    let early = loop {
        let limit = fault.as_ref().ok().and_then(|fault| fault.early_after);
        if limit.is_some_and(|limit| len >= limit as u64) {
            break true;
        }
        let data = match incoming.frame().await {
            None => break false,
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            Some(Err(error)) => {
                ticket.body(kept.freeze(), len, false);
                return Err(SimError::RequestBody(error));
            }
        };
        len += data.len() as u64;
        if let Some(hash) = &mut hash {
            hash.update(&data);
        }
        kept.extend_from_slice(&data[..data.len().min(MAX_BODY_BYTES - kept.len())]);
        if let Some(spec) = scan.look(&kept) {
            *fault = Fault::parse(&spec, Scope::Request);
        }
    };
    let bytes = kept.freeze();
    ticket.body(bytes.clone(), len, !early);
    Ok(Inbox { bytes, len, sha256: hash.map(|hash| hash.finalize().into()), early })
}

/// Looks for the first marker in a body that grows.
struct MarkerScan {
    from: usize,
    done: bool,
}

impl MarkerScan {
    fn look(&mut self, body: &[u8]) -> Option<String> {
        while !self.done {
            let Some(found) = memmem::find(&body[self.from..], MARKER_START) else {
                self.from = self.from.max((body.len() + 1).saturating_sub(MARKER_START.len()));
                return None;
            };
            let start = self.from + found + MARKER_START.len();
            let rest = &body[start..body.len().min(start + MAX_MARKER_BYTES)];
            match memmem::find(rest, MARKER_END) {
                Some(end) => {
                    self.done = true;
                    return Some(String::from_utf8_lossy(&rest[..end]).into_owned());
                }
                None if rest.len() == MAX_MARKER_BYTES => self.from = start,
                None => {
                    self.from += found;
                    return None;
                }
            }
        }
        None
    }
}

/// The text without its markers, so that a reply put into the next request asks for nothing.
pub(crate) fn without_markers(text: &str) -> String {
    let mut rest = text;
    let mut clean = String::with_capacity(text.len());
    while let Some((before, marked)) = rest.split_once("[[sim:") {
        let Some((_, after)) = marked.split_once("]]") else { break };
        clean.push_str(before);
        rest = after;
    }
    clean.push_str(rest);
    clean.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_found_however_the_body_is_cut() {
        let body = br#"{"x":"[[si","y":"say [[sim: status=503 ]] twice [[sim: hang]]"}"#;
        for first in 0..body.len() {
            let mut scan = MarkerScan { from: 0, done: false };
            let found = scan.look(&body[..first]).or_else(|| scan.look(body));
            assert_eq!(found.as_deref(), Some(" status=503 "), "cut at {first}");
            assert_eq!(scan.look(body), None);
        }
    }

    #[test]
    fn an_endless_marker_is_text() {
        let mut body = b"[[sim:".to_vec();
        body.extend([b'x'; 2 * MAX_MARKER_BYTES]);
        body.extend(b"[[sim:hang]]");
        let mut scan = MarkerScan { from: 0, done: false };
        assert_eq!(scan.look(&body).as_deref(), Some("hang"));
    }

    #[test]
    fn markers_are_not_echoed() {
        assert_eq!(without_markers("[[sim: hang]] hello [[sim:close]]"), "hello");
        assert_eq!(without_markers("a [[sim: open"), "a [[sim: open");
    }
}
