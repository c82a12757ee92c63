//! The fault grammar: comma-separated `key` or `key=value`, parsed once into a [`Fault`].
//!
//! | key | what happens |
//! |---|---|
//! | `status=503` | this status with an error body |
//! | `retry-after=7` | the header, on whatever is answered |
//! | `hang` | the request is read, nothing is ever answered |
//! | `delay-ms=N` | a pause before the head |
//! | `silent-ms=N` | the head at once, then a pause before the first byte of body |
//! | `token-ms=N`, `tokens=N` | the pause between tokens, and how many there are |
//! | `cut-after=N`, `reset-after=N` | FIN or RST after N bytes of body, in a stream at the latest before its clean end |
//! | `cut-utf8` | multi-byte text, FIN inside a character |
//! | `no-continue` | `continue_final_message` is not known: not named in `/openapi.json`, and ignored |
//! | `no-done` | a stream that ends cleanly without `[DONE]` |
//! | `crlf`, `comments` | CRLF line ends; `: ping` comments and `event:` lines among the frames |
//! | `big=N` | about N bytes of content |
//! | `split=N`, `drip-ms=N` | writes of N bytes regardless of frames; a pause after each piece |
//! | `close`, `http10` | `connection: close`; an HTTP/1.0 answer ended by closing |
//! | `early=N` | 413 (or `status`) once N bytes of the body came, the rest is not read |
//! | `redirect=URL`, `set-cookie` | 307 to that URL (or `status`); a cookie |
//! | `echo-auth` | 401 with the received `authorization` in its body |
//! | `refuse`, `times=N`, `path=/p` | process only: close connections at once; for N requests; for targets that start so |
//!
//! On HTTP/2 a cut ends one stream (RST_STREAM) and a reset the whole connection; `close` and `http10` do nothing there.

use http::{HeaderValue, StatusCode};
use std::num::NonZeroUsize;
use std::time::Duration;

/// The longest pause that can be asked for.
pub const MAX_PAUSE_MS: u64 = 3_600_000;
/// The most content `big` can ask for.
pub const MAX_BIG_BYTES: u64 = 256 * 1024 * 1024;
/// The most tokens a reply can have.
pub const MAX_TOKENS: u64 = 1_000_000;

/// What one request (or, without one of its own, every request) is to suffer. The default is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    pub status: Option<StatusCode>,
    pub retry_after_s: Option<u64>,
    pub hang: bool,
    pub delay: Duration,
    pub silent: Duration,
    pub token_gap: Option<Duration>,
    pub tokens: Option<usize>,
    pub cut: Option<Cut>,
    pub no_continue: bool,
    pub no_done: bool,
    pub crlf: bool,
    pub comments: bool,
    pub big_bytes: Option<usize>,
    pub split: Option<NonZeroUsize>,
    pub drip: Duration,
    pub close: bool,
    pub http10: bool,
    pub early_after: Option<usize>,
    pub redirect: Option<HeaderValue>,
    pub set_cookie: bool,
    pub echo_auth: bool,
    pub refuse: bool,
    pub times: Option<u64>,
    pub path: Option<String>,
}

/// Where and how a connection is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// FIN after so many bytes of body.
    After(u64),
    /// RST after so many bytes of body.
    ResetAfter(u64),
    /// FIN after the first byte of a multi-byte character.
    InsideCharacter,
}

/// Who set the fault: some keys make sense for the whole process only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Request,
    Process,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    #[error("fault key `{0}` is unknown; the keys are listed in the documentation of nim_sim::fault")]
    UnknownKey(String),
    #[error("fault key `{0}` is for the whole process; set it with PUT /__sim/fault or the fault option")]
    ProcessOnly(String),
    #[error("fault key `{key}` needs {wanted}, not `{value}`")]
    BadValue { key: String, value: String, wanted: &'static str },
}

impl Fault {
    /// Parses a specification; an empty one is no fault.
    pub fn parse(spec: &str, scope: Scope) -> Result<Self, FaultError> {
        let mut fault = Self::default();
        for part in spec.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let entry = Entry { key: key.trim(), value: value.trim() };
            if scope == Scope::Request && matches!(entry.key, "refuse" | "times" | "path") {
                return Err(FaultError::ProcessOnly(entry.key.to_owned()));
            }
            fault.apply(&entry)?;
        }
        Ok(fault)
    }

    fn apply(&mut self, entry: &Entry<'_>) -> Result<(), FaultError> {
        match entry.key {
            "status" => self.status = Some(entry.status()?),
            "retry-after" => self.retry_after_s = Some(entry.number(u64::MAX)?),
            "hang" => self.hang = entry.flag()?,
            "delay-ms" => self.delay = entry.pause()?,
            "silent-ms" => self.silent = entry.pause()?,
            "token-ms" => self.token_gap = Some(entry.pause()?),
            "tokens" => self.tokens = Some(entry.size(MAX_TOKENS)?),
            "cut-after" => self.cut = Some(Cut::After(entry.number(u64::MAX)?)),
            "reset-after" => self.cut = Some(Cut::ResetAfter(entry.number(u64::MAX)?)),
            "cut-utf8" => self.cut = entry.flag()?.then_some(Cut::InsideCharacter),
            "no-continue" => self.no_continue = entry.flag()?,
            "no-done" => self.no_done = entry.flag()?,
            "crlf" => self.crlf = entry.flag()?,
            "comments" => self.comments = entry.flag()?,
            "big" => self.big_bytes = Some(entry.size(MAX_BIG_BYTES)?),
            "split" => self.split = Some(entry.nonzero()?),
            "drip-ms" => self.drip = entry.pause()?,
            "close" => self.close = entry.flag()?,
            "http10" => self.http10 = entry.flag()?,
            "early" => self.early_after = Some(entry.size(u64::MAX)?),
            "redirect" => self.redirect = Some(entry.header_value()?),
            "set-cookie" => self.set_cookie = entry.flag()?,
            "echo-auth" => self.echo_auth = entry.flag()?,
            "refuse" => self.refuse = entry.flag()?,
            "times" => self.times = Some(entry.number(u64::MAX)?),
            "path" => self.path = Some(entry.value.to_owned()),
            unknown => return Err(FaultError::UnknownKey(unknown.to_owned())),
        }
        Ok(())
    }
}

struct Entry<'a> {
    key: &'a str,
    value: &'a str,
}

impl Entry<'_> {
    fn bad(&self, wanted: &'static str) -> FaultError {
        FaultError::BadValue { key: self.key.to_owned(), value: self.value.to_owned(), wanted }
    }

    fn flag(&self) -> Result<bool, FaultError> {
        if self.value.is_empty() { Ok(true) } else { Err(self.bad("no value")) }
    }

    fn number(&self, max: u64) -> Result<u64, FaultError> {
        let number = self.value.parse::<u64>().map_err(|_| self.bad("a whole number"))?;
        if number <= max { Ok(number) } else { Err(self.bad("a smaller number")) }
    }

    fn size(&self, max: u64) -> Result<usize, FaultError> {
        usize::try_from(self.number(max)?).map_err(|_| self.bad("a smaller number"))
    }

    fn nonzero(&self) -> Result<NonZeroUsize, FaultError> {
        NonZeroUsize::new(self.size(u64::MAX)?).ok_or_else(|| self.bad("a number above 0"))
    }

    fn pause(&self) -> Result<Duration, FaultError> {
        self.number(MAX_PAUSE_MS).map(Duration::from_millis)
    }

    fn status(&self) -> Result<StatusCode, FaultError> {
        let wanted = "a final status from 200 to 599";
        let status = self.value.parse::<StatusCode>().map_err(|_| self.bad(wanted))?;
        if (200..600).contains(&status.as_u16()) { Ok(status) } else { Err(self.bad(wanted)) }
    }

    fn header_value(&self) -> Result<HeaderValue, FaultError> {
        if self.value.is_empty() {
            return Err(self.bad("a URL"));
        }
        HeaderValue::from_str(self.value).map_err(|_| self.bad("a URL"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_specification_is_no_fault() {
        assert_eq!(Fault::parse(" , ", Scope::Request), Ok(Fault::default()));
    }

    #[test]
    fn keys_combine() {
        let fault = Fault::parse("status=503, retry-after=7,delay-ms=20", Scope::Request).unwrap();
        assert_eq!(fault.status, Some(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(fault.retry_after_s, Some(7));
        assert_eq!(fault.delay, Duration::from_millis(20));
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = Fault::parse("status=503,explode", Scope::Request).unwrap_err();
        assert_eq!(error, FaultError::UnknownKey("explode".to_owned()));
        assert!(error.to_string().contains("`explode`"));
    }

    #[test]
    fn a_value_that_does_not_fit_is_named_with_its_key() {
        for spec in
            ["status=99", "status=101", "tokens=many", "split=0", "hang=5", "delay-ms=3600001", "redirect"]
        {
            let key = spec.split('=').next().unwrap();
            let error = Fault::parse(spec, Scope::Request).unwrap_err();
            assert!(
                matches!(&error, FaultError::BadValue { key: named, .. } if named == key),
                "{spec}: {error}"
            );
        }
    }

    #[test]
    fn keys_for_the_process_are_refused_in_a_request() {
        for key in ["refuse", "times=1", "path=/v1/chat"] {
            assert!(matches!(Fault::parse(key, Scope::Request), Err(FaultError::ProcessOnly(_))));
            assert!(Fault::parse(key, Scope::Process).is_ok());
        }
    }

    #[test]
    fn sizes_have_limits() {
        assert!(Fault::parse(&format!("big={}", MAX_BIG_BYTES + 1), Scope::Request).is_err());
        assert!(Fault::parse(&format!("tokens={}", MAX_TOKENS + 1), Scope::Request).is_err());
    }
}
