//! A refusal that comes after the stream was begun from here: it is told as an event, in the client's dialect.

use bytes::Bytes;

use super::{Errand, Forwarded};
use crate::dialect::Operation;
use crate::dialect::responses::reply::{FaultKind, UpstreamFault, failed_events};
use crate::engine::choice::Choice;
use crate::engine::exchange::{Conversion, Exchange};
use crate::engine::last_words::Dialect;
use crate::engine::translated::opening;
use crate::refusal::Refusal;

impl Errand<'_, '_> {
    /// Tells what would have been the whole answer.
    pub async fn tell(&mut self, refusal: &Refusal, choice: &Choice) -> Forwarded {
        // The head went down with it.
        const STATUS: u16 = 200;
        self.context.refused(STATUS, refusal.code());
        let failed = match self.asks.operation {
            Operation::Response { .. } => self.failed_response(refusal, choice),
            _ => None,
        };
        if let Some(events) = failed {
            // A response that failed is complete: its last event says that it is.
            self.send(events);
            self.down.send_end(None);
            let flushed = self.down.flush_within(self.app.limits.write_stall_timeout).await;
            return flushed.map_or(Forwarded::ClientGone, |()| Forwarded::Delivered);
        }
        self.send(Dialect::of_tail(self.asks.tail).error_event(&refusal.body().error));
        Forwarded::Cut
    }

    fn send(&mut self, events: Bytes) {
        self.context.bytes_sent += events.len() as u64;
        self.down.send_data(&mut vec![events]);
    }

    /// All events of a response that failed. `None`: no response can be made of the request.
    fn failed_response(&self, refusal: &Refusal, choice: &Choice) -> Option<Bytes> {
        let candidate = choice.candidates(&self.asks.body).find(|c| c.provider.translates_responses())?;
        let Some(Conversion::Response(turn)) = Exchange::of(self.asks, candidate).ok()?.conversion else {
            return None;
        };
        let fault = fault_of(refusal);
        let opening = opening(*turn);
        let now_s = opening.now_s;
        Some(failed_events(opening, &fault, now_s).freeze())
    }
}

/// A refusal as a response tells it.
fn fault_of(refusal: &Refusal) -> UpstreamFault {
    let error = refusal.body().error;
    let kind = FaultKind::Server;
    let status = refusal.status().as_u16();
    UpstreamFault { status, kind, code: error.code, message: error.message, retry_after: None }
}
