//! The times that an attempt may take, all on one timer.

use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::{BACKLOG_BYTES_MAX, NoAnswer, Relay, RelayEnd, Step, UploadFault};
use crate::dialect::responses::reply::End;
use crate::engine::clock::Limit;
use crate::engine::reply::Reply;
use crate::engine::up::UpError;

/// After a failed upload: how long an answer that explains it may take.
const EARLY_ANSWER_WAIT: Duration = Duration::from_secs(1);

/// After the last event of a translated stream: how long its upstream may take to end.
const LAST_WORDS_WAIT: Duration = Duration::from_secs(1);

/// How often a client is looked at that is not read from, and so can't be heard leaving.
const CLIENT_LOOK_INTERVAL: Duration = Duration::from_millis(100);

impl Relay<'_, '_> {
    pub(super) fn on_expired(&mut self, limit: Limit) -> Option<RelayEnd> {
        match limit {
            Limit::DownStall => {
                // It is still there, and to be let go at once.
                self.plan.reads_on = None;
                Some(RelayEnd::ClientGone)
            }
            Limit::ClientLook => {
                self.clock.looked = Instant::now();
                self.down.has_left().then_some(RelayEnd::ClientGone)
            }
            Limit::KeepAlive => {
                self.clock.beat = Instant::now();
                if let Some(reply) = &mut self.reply {
                    reply.keep_alive(&mut self.pieces);
                }
                self.pass_pieces();
                None
            }
            Limit::Show => {
                self.context.show();
                None
            }
            Limit::LeftBehind => {
                self.left_behind.as_mut()?.expired();
                Some(RelayEnd::ClientGone)
            }
            Limit::Silence => {
                let silence = self.plan.silence.as_mut()?;
                silence.speak(self.down, self.context).err().map(|_| RelayEnd::ClientGone)
            }
            Limit::LastWords => self.on_end(None),
            Limit::UploadRate => Some(self.on_bad_upload(UploadFault::TooSlow)),
            Limit::UpStall if self.upload_failed => self.on_up_error(UpError::Cut),
            _ if !self.head_sent => Some(RelayEnd::NoAnswer(NoAnswer::Timeout)),
            Limit::Total => {
                self.break_off(End::TimedOut, "the request took longer than its limit", "request_timeout")
            }
            _ => self.broke_off(End::TimedOut, "the upstream sent nothing for too long", "upstream_stalled"),
        }
    }

    /// The limit that runs out next, and when.
    pub(super) fn next_limit(&self) -> (Instant, Limit) {
        let (clock, times) = (&self.clock, &self.plan.timeouts);
        let mut next = (clock.started + times.total, Limit::Total);
        let mut consider = |at: Instant, limit| {
            if at < next.0 {
                next = (at, limit);
            }
        };
        if !self.hears_client() {
            consider(clock.looked + CLIENT_LOOK_INTERVAL, Limit::ClientLook);
        }
        if self.down.has_output() {
            consider(clock.down_wrote + self.plan.limits.write_stall_timeout, Limit::DownStall);
        }
        if self.upload_failed {
            consider(clock.up_wrote + EARLY_ANSWER_WAIT, Limit::UpStall);
        } else if self.up.has_output() {
            consider(clock.up_wrote.max(clock.sent) + times.idle, Limit::UpStall);
        } else if self.uploading {
            consider(self.upload_deadline(), Limit::UploadRate);
        } else if self.reply.is_none() {
            consider(clock.sent.max(clock.up_wrote) + times.first_byte, Limit::FirstByte);
        }
        if self.reply.is_some() && !self.finished && self.down.backlog() < BACKLOG_BYTES_MAX {
            consider(clock.up_read.max(clock.unblocked) + times.idle, Limit::Idle);
        }
        if self.speaks_for_itself() {
            consider(clock.down_wrote.max(clock.beat) + self.plan.limits.stream_keep_alive, Limit::KeepAlive);
        }
        if let Some(at) = self.context.due_to_show() {
            consider(at, Limit::Show);
        }
        if let Some(left_behind) = &self.left_behind {
            consider(left_behind.until(), Limit::LeftBehind);
        }
        if let Some(silence) = &self.plan.silence
            && self.is_silent()
        {
            consider(silence.due(), Limit::Silence);
        }
        if let Some(at) = clock.said_all.filter(|_| !self.finished) {
            consider(at + LAST_WORDS_WAIT, Limit::LastWords);
        }
        next
    }

    /// Whether a silent upstream is covered for: its client's idle timer heeds events alone.
    pub(super) fn speaks_for_itself(&self) -> bool {
        let translated = self.reply.as_ref().and_then(Reply::translated);
        translated.is_some_and(|translated| translated.is_stream() && !translated.has_said_all())
            && !self.finished
            && !self.down.has_output()
    }

    /// Whether nobody has said anything, and a comment can go down.
    fn is_silent(&self) -> bool {
        let is_before_answer = self.reply.is_none() || (self.awaits_body && self.takes_comments);
        is_before_answer && !self.finished && !self.down.has_output()
    }

    /// When a body that goes on at the least rate would have had to bring its next byte.
    pub(super) fn upload_deadline(&self) -> Instant {
        let limits = self.plan.limits;
        self.clock.sent + limits.body_rate_grace + limits.time_for_body(self.clock.uploaded_bytes)
    }

    /// One timer for all limits. When it fires, the limits are looked at again.
    pub(super) fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        let (at, limit) = self.next_limit();
        self.down.timer().poll_until(cx, at.into()).map(|()| Step::Expired(limit))
    }
}
