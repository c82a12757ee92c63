//! Waiting without paying for it: one timer and one stop watch a connection, kept across requests.
//!
//! Setting a timer costs a lock and a place in the runtime's wheel, and nearly every deadline is met.
//! So the timer is left where it is when a later deadline is asked for; when it fires early, it is
//! set to the deadline of that moment.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pingora::server::ShutdownWatch;
use tokio::time::{Instant, Sleep};

#[derive(Default)]
pub struct LazyTimer(Option<Pin<Box<Sleep>>>);

impl LazyTimer {
    /// Ready once `at` has passed.
    pub fn poll_until(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if sleep.deadline() > at {
            sleep.as_mut().reset(at);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= at {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(at);
        }
        Poll::Pending
    }
}

/// Resolves when the process is asked to stop.
pub struct StopWatch(Option<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl StopWatch {
    pub fn new(shutdown: &ShutdownWatch) -> Self {
        let mut shutdown = shutdown.clone();
        Self(Some(Box::pin(async move {
            let _ = shutdown.wait_for(|stop| *stop).await;
        })))
    }

    /// Ready when it was asked; and ever after.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(asked) = &mut self.0 {
            std::task::ready!(asked.as_mut().poll(cx));
            self.0 = None;
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_timer_that_is_moved_fires_at_its_last_deadline() {
        let (start, mut timer) = (Instant::now(), LazyTimer::default());
        for (first_s, last_s) in [(5, 10), (20, 7)] {
            let (first, last) =
                (Instant::now() + Duration::from_secs(first_s), Instant::now() + Duration::from_secs(last_s));
            std::future::poll_fn(|cx| {
                assert!(timer.poll_until(cx, first).is_pending());
                Poll::Ready(())
            })
            .await;
            std::future::poll_fn(|cx| timer.poll_until(cx, last)).await;
            assert_eq!(Instant::now(), last);
        }
        assert_eq!(start.elapsed(), Duration::from_secs(17));
    }

    #[tokio::test]
    async fn a_stop_is_seen_once_and_for_all() {
        let (stop, stopping) = tokio::sync::watch::channel(false);
        let mut watch = StopWatch::new(&stopping);
        std::future::poll_fn(|cx| {
            assert!(watch.poll(cx).is_pending());
            Poll::Ready(())
        })
        .await;
        stop.send_replace(true);
        for _ in 0..2 {
            std::future::poll_fn(|cx| watch.poll(cx)).await;
        }
    }
}
