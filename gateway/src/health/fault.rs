//! Whose fault it is that a request ended as it did.

use http::StatusCode;

/// What the end of one attempt says about the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Ok,
    Fault(Fault),
    /// It works, and has too much to do.
    Busy,
    /// Nothing.
    Neutral,
}

/// What an address did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    Dns,
    Connect,
    Tls,
    /// It closed the connection before or in its answer, or said what can't be understood.
    Reset,
    /// It did not begin to answer, or fell silent in its answer.
    Timeout,
    Status,
}

impl Fault {
    /// Whether no request could have got through.
    pub fn is_unreachable(self) -> bool {
        matches!(self, Self::Dns | Self::Connect | Self::Tls)
    }

    /// A stable word for metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Status => "status",
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Answered {
        status: StatusCode,
        retry_after: bool,
    },
    NotFound,
    NotConnected,
    NoTls,
    /// Without an answer, on a connection of its own.
    Cut,
    /// Without an answer, on a connection that was idle before and may have been closed meanwhile.
    CutWhenReused,
    /// It said that it did not look at the request.
    NotProcessed,
    Silent,
    /// In the middle of its answer.
    AnswerCut,
    ClientLeft,
    /// The client's body could not be read.
    UploadFailed,
    /// Our own rules, limits or plans.
    Ours,
}

impl Ended {
    pub fn event(self) -> Event {
        match self {
            Self::Answered { status, retry_after } => status_event(status, retry_after),
            Self::NotFound => Event::Fault(Fault::Dns),
            Self::NotConnected => Event::Fault(Fault::Connect),
            Self::NoTls => Event::Fault(Fault::Tls),
            Self::Cut | Self::AnswerCut => Event::Fault(Fault::Reset),
            Self::Silent => Event::Fault(Fault::Timeout),
            Self::CutWhenReused | Self::NotProcessed | Self::ClientLeft | Self::UploadFailed | Self::Ours => {
                Event::Neutral
            }
        }
    }
}

/// What an answer's status says. 529 is what some hosted providers answer when they have too much to do; 501
/// and 505 are about the request.
pub fn status_event(status: StatusCode, retry_after: bool) -> Event {
    match status.as_u16() {
        429 | 529 => Event::Busy,
        503 if retry_after => Event::Busy,
        501 | 505 => Event::Neutral,
        500..=599 => Event::Fault(Fault::Status),
        400..=499 => Event::Neutral,
        _ => Event::Ok,
    }
}
