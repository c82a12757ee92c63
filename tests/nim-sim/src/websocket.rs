//! A WebSocket that sends back what it gets, HTTP/1.1 only. Fragments come back as the fragments they were; text is
//! not checked.

use crate::answer::Answer;
use crate::body::SimBody;
use crate::record::{Outcome, Ticket};
use crate::routes::Ask;
use crate::socket::Connection;
use crate::state::Shared;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderValue, Response, StatusCode, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use sha1::{Digest, Sha1};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const ACCEPT_SALT: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const MAX_FRAME_BYTES: u64 = 1024 * 1024;
const OPCODE_CLOSE: u8 = 0x8;
const OPCODE_PING: u8 = 0x9;
const OPCODE_PONG: u8 = 0xA;

/// Answers 101 to a proper handshake and 426 to anything else.
pub(crate) fn handshake(ask: &Ask<'_>, _: &Shared) -> Answer {
    let headers = &ask.parts.headers;
    let upgrades =
        headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|_| upgrades && ask.parts.version == Version::HTTP_11);
    let accept = key.and_then(|key| HeaderValue::from_str(&accept_value(key.as_bytes())).ok());
    let websocket = HeaderValue::from_static("websocket");
    let Some(accept) = accept else {
        let message =
            "this path speaks WebSocket over HTTP/1.1: send `upgrade: websocket` and `sec-websocket-key`";
        return Answer::error(StatusCode::UPGRADE_REQUIRED, "UpgradeRequired", None, message)
            .with(UPGRADE, websocket);
    };
    let answer = Answer::empty(StatusCode::SWITCHING_PROTOCOLS)
        .with(UPGRADE, websocket)
        .with(CONNECTION, HeaderValue::from_static("upgrade"))
        .with(SEC_WEBSOCKET_ACCEPT, accept);
    match headers.get(SEC_WEBSOCKET_PROTOCOL).and_then(first_protocol) {
        Some(protocol) => answer.with(SEC_WEBSOCKET_PROTOCOL, protocol),
        None => answer,
    }
}

fn first_protocol(offered: &HeaderValue) -> Option<HeaderValue> {
    HeaderValue::from_str(offered.to_str().ok()?.split(',').next()?.trim()).ok()
}

fn accept_value(key: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(ACCEPT_SALT);
    STANDARD.encode(hash.finalize())
}

/// Sends the 101 and echoes until a close frame, the client's leaving or this server's end.
pub(crate) fn switch(
    answer: Answer,
    upgrade: OnUpgrade,
    connection: Arc<Connection>,
    mut ticket: Ticket,
) -> Response<SimBody> {
    ticket.status(answer.status.as_u16());
    let mut stopped = connection.stopped.clone();
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let mut stream = TokioIo::new(upgraded);
        tokio::select! {
            ended = echo(&mut stream) => if ended.is_ok() {
                ticket.end(Outcome::Answered);
            },
            _ = stopped.changed() => ticket.end(Outcome::Cut),
        }
    });
    let mut response = Response::new(SimBody::empty(connection, None));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response.headers_mut().insert(crate::SIM_HEADER.0, HeaderValue::from_static(crate::SIM_HEADER.1));
    response
}

async fn echo(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> io::Result<()> {
    loop {
        let (first, payload) = read_frame(stream).await?;
        let opcode = first & 0x0F;
        if opcode == OPCODE_PONG {
            continue;
        }
        let first = if opcode == OPCODE_PING { (first & 0xF0) | OPCODE_PONG } else { first };
        stream.write_all(&unmasked_frame(first, &payload)).await?;
        stream.flush().await?;
        if opcode == OPCODE_CLOSE {
            return stream.shutdown().await;
        }
    }
}

/// The first byte of a frame (fin, reserved bits, opcode) and its payload, unmasked.
async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(u8, Vec<u8>)> {
    let first = stream.read_u8().await?;
    let second = stream.read_u8().await?;
    let len = match second & 0x7F {
        126 => u64::from(stream.read_u16().await?),
        127 => stream.read_u64().await?,
        len => u64::from(len),
    };
    if len > MAX_FRAME_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a WebSocket frame above 1 MiB"));
    }
    let mut mask = [0_u8; 4];
    if second & 0x80 != 0 {
        stream.read_exact(&mut mask).await?;
    }
    let mut payload = vec![0_u8; usize::try_from(len).unwrap_or(0)];
    stream.read_exact(&mut payload).await?;
    for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
    Ok((first, payload))
}

fn unmasked_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(len), _) if len < 126 => frame.push(len),
        (_, Ok(len)) => {
            frame.push(126);
            frame.extend(len.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_value_is_the_one_of_the_standard() {
        assert_eq!(accept_value(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[tokio::test]
    async fn frames_of_every_length_form_come_back_unmasked() {
        for len in [0, 125, 126, 65_535, 65_536] {
            let frame = unmasked_frame(0x82, &vec![7; len]);
            let (first, payload) = read_frame(&mut frame.as_slice()).await.unwrap();
            assert_eq!((first, payload), (0x82, vec![7; len]));
        }
    }
}
