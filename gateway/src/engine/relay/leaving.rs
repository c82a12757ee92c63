//! Clients that leave: the upstream is given up, or its answer read on; see `left_behind`.

use super::{Relay, RelayEnd};
use crate::engine::left_behind::{LeftBehind, LeftEnd};

impl Relay<'_, '_> {
    /// The client has left. Gives whether the answer is read on.
    pub(super) fn reads_on(&mut self) -> bool {
        let Some(app) = self.plan.reads_on.take() else { return false };
        // What was not asked whole costs nothing yet; what was read whole is known.
        let is_asked = self.up.wrote() && !self.up.has_output() && !self.uploading && !self.upload_failed;
        self.left_behind = (is_asked && !self.finished).then(|| LeftBehind::begin(app)).flatten();
        if self.left_behind.is_none() {
            return false;
        }
        self.context.left();
        self.down.forget();
        // Nobody hears comments, or how it goes on elsewhere.
        (self.plan.silence, self.plan.resume) = (None, None);
        true
    }

    /// An attempt's end, as it is told: an answer that was read on ends as a client that has left.
    pub(super) fn without_client(&mut self, end: RelayEnd) -> RelayEnd {
        let Some(left_behind) = self.left_behind.take() else { return end };
        let how = match end {
            RelayEnd::Delivered | RelayEnd::DeliveredFailure => LeftEnd::Whole,
            _ => left_behind.end(),
        };
        self.context.left_behind(how, left_behind.bytes());
        RelayEnd::ClientGone
    }
}
