//! Answers that are read on after their client has left, so that what they cost is known: those of hosted providers that
//! say so (`leaving_clients: drain`). A server of one's own is told to stop at once, always.
//!
//! What must stay true: each has a bound in time and in bytes, and so have all of them in number; when there is no room
//! for one more, its provider is told to stop. It is still the request that it was: it holds its provider's place and
//! counts as in flight, and its usage is taken where all answers' is (`Reply::usage`). It ends when the process does.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Instant;

use super::app::App;
use crate::Stop;

/// One answer without a client.
pub struct LeftBehind {
    until: Instant,
    bytes_max: u64,
    bytes: u64,
    end: LeftEnd,
    stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
    _counted: Counted,
}

/// How such an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftEnd {
    Whole,
    /// It broke off, or there was none.
    Cut,
    TooLong,
    TooLarge,
    Stopped,
}

impl LeftEnd {
    pub fn label(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Cut => "cut",
            Self::TooLong => "too_long",
            Self::TooLarge => "too_large",
            Self::Stopped => "stopped",
        }
    }
}

impl LeftBehind {
    /// `None`: there are too many already, or the process is to end.
    pub fn begin(app: &Arc<App>) -> Option<Self> {
        let counted = Counted::enter(app)?;
        let mut stop = app.stop.clone();
        if *stop.borrow() == Stop::Now {
            return None;
        }
        let stopped = Box::pin(async move {
            let _ = stop.wait_for(|stop| *stop == Stop::Now).await;
        });
        Some(Self {
            until: Instant::now() + app.limits.left_behind_timeout,
            bytes_max: app.limits.left_behind_bytes_max as u64,
            bytes: 0,
            end: LeftEnd::Cut,
            stopped,
            _counted: counted,
        })
    }

    pub fn until(&self) -> Instant {
        self.until
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What the gateway itself ended it for, if it did.
    pub fn end(&self) -> LeftEnd {
        self.end
    }

    /// It took too long.
    pub fn expired(&mut self) {
        self.end = LeftEnd::TooLong;
    }

    /// More was read. Gives whether it is too much.
    pub fn read(&mut self, bytes: u64) -> bool {
        self.bytes += bytes;
        let is_too_large = self.bytes > self.bytes_max;
        if is_too_large {
            self.end = LeftEnd::TooLarge;
        }
        is_too_large
    }

    /// Ready when the process ends.
    pub fn poll_stopped(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.stopped.as_mut().poll(cx).map(|()| self.end = LeftEnd::Stopped)
    }
}

/// One of those that are under way.
struct Counted(Arc<App>);

impl Counted {
    fn enter(app: &Arc<App>) -> Option<Self> {
        let before = app.left_behind.fetch_add(1, Ordering::Relaxed);
        app.metrics.left_behind_now.inc();
        let counted = Self(Arc::clone(app));
        (before < app.limits.left_behind_max).then_some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.left_behind.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.left_behind_now.dec();
    }
}
