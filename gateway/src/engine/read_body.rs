//! Reading a request's body whole, for the routes that look into it.

use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::app::{App, BodyRoom};
use super::down::{Down, DownError, Upload};
use super::down_h1::H1Down;
use crate::h1::head::BodyLength;
use crate::refusal::Refusal;

/// Why a body was not read.
pub enum ReadError {
    Refused(Refusal),
    ClientGone,
}

impl From<Refusal> for ReadError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<DownError> for ReadError {
    fn from(error: DownError) -> Self {
        match error {
            DownError::Gone => Self::ClientGone,
            DownError::Framing(why) => Self::Refused(Refusal::Framing(why)),
        }
    }
}

/// Reads a body whole, within the limits of size, time and rate.
pub async fn read_body(
    app: &Arc<App>,
    down: &mut Down<'_>,
    length: BodyLength,
) -> Result<(Bytes, BodyRoom), ReadError> {
    let limit_bytes = app.limits.body_bytes_max;
    let announced = match length {
        BodyLength::Known(length) => Some(usize::try_from(length).unwrap_or(usize::MAX)),
        _ => None,
    };
    if announced.is_some_and(|length| length > limit_bytes) {
        return Err(Refusal::BodyTooLarge { limit_bytes }.into());
    }
    let mut room = app.room_for_body(announced.unwrap_or(0)).ok_or(Refusal::Overloaded)?;
    down.want_body();
    let bytes = match (down, announced) {
        (Down::H1(h1), Some(length)) => read_contiguous(app, h1, length, &mut room).await?,
        (down, _) => read_pieces(app, down, &mut room).await?,
    };
    Ok((bytes, room))
}

/// HTTP/1 with a length: the body gathers in the connection's buffer and is cut out of it in one piece.
async fn read_contiguous(
    app: &App,
    down: &mut H1Down,
    length: usize,
    room: &mut BodyRoom,
) -> Result<Bytes, ReadError> {
    let mut pace = Pace::new(app);
    while down.wire.input.len() < length {
        let have = down.wire.input.len();
        let reading = std::future::poll_fn(|cx| {
            // A pending "100 Continue" goes out first.
            if down.has_output() && down.poll_flush(cx)?.is_pending() {
                return Poll::Pending;
            }
            down.poll_contiguous(cx, length)
        });
        pace.keep(have, reading).await??;
        hold(room, down.wire.input.len().min(length))?;
    }
    hold(room, length)?;
    Ok(down.take_contiguous(length))
}

async fn read_pieces(app: &App, down: &mut Down<'_>, room: &mut BodyRoom) -> Result<Bytes, ReadError> {
    let limit_bytes = app.limits.body_bytes_max;
    let (mut pace, mut whole) = (Pace::new(app), Whole::default());
    loop {
        let have = whole.len;
        let reading = std::future::poll_fn(|cx| {
            if down.has_output() && down.poll_flush(cx)?.is_pending() {
                return Poll::Pending;
            }
            down.poll_body(cx, &mut |bytes| whole.push(bytes))
        });
        let upload = pace.keep(have, reading).await?;
        if whole.len > limit_bytes {
            return Err(Refusal::BodyTooLarge { limit_bytes }.into());
        }
        hold(room, whole.len)?;
        if let Upload::End { .. } = upload? {
            return Ok(whole.into_bytes());
        }
    }
}

fn hold(room: &mut BodyRoom, total_bytes: usize) -> Result<(), Refusal> {
    if room.grow_to(total_bytes) { Ok(()) } else { Err(Refusal::Overloaded) }
}

/// A body that comes in pieces of unknown number. One piece stays as it is.
#[derive(Default)]
struct Whole {
    first: Option<Bytes>,
    joined: BytesMut,
    len: usize,
}

impl Whole {
    fn push(&mut self, bytes: Bytes) {
        self.len += bytes.len();
        if self.first.is_none() && self.joined.is_empty() {
            self.first = Some(bytes);
            return;
        }
        if let Some(first) = self.first.take() {
            self.joined.extend_from_slice(&first);
        }
        self.joined.extend_from_slice(&bytes);
    }

    fn into_bytes(self) -> Bytes {
        self.first.unwrap_or_else(|| self.joined.freeze())
    }
}

/// Holds a body to its least rate and its deadline.
struct Pace<'a> {
    app: &'a App,
    began: Option<Instant>,
}

impl<'a> Pace<'a> {
    fn new(app: &'a App) -> Self {
        Self { app, began: None }
    }

    /// Waits for `reading`, as long as a body of which `have` bytes came may take.
    async fn keep<T>(&mut self, have: usize, reading: impl Future<Output = T>) -> Result<T, Refusal> {
        let limits = &self.app.limits;
        let began = *self.began.get_or_insert_with(Instant::now);
        let earned = limits.time_for_body(have as u64);
        let deadline = (began + limits.body_rate_grace + earned).min(began + limits.body_timeout);
        tokio::time::timeout_at(deadline.into(), reading).await.map_err(|_| Refusal::BodyTooSlow)
    }
}
