//! Connections that are opened and then only held: idle ones, and streams that go on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::{Failure, Target};
use crate::error::BenchError;
use crate::wire::Reply;

const READ_BYTES: usize = 4096;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How far the one request of each connection gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// The answer is complete; the connection is idle.
    Answered,
    /// The first bytes of the body are there; the rest is not read.
    Begun,
}

/// Opens `count` connections; dropping what comes back closes them.
pub fn hold(target: &Target, count: usize, until: Until) -> Result<Vec<TcpStream>, BenchError> {
    let wrong = |error: Failure| BenchError::wrong(target.address.to_string(), error.to_string());
    (0..count).map(|number| open(target, number, until).map_err(wrong)).collect()
}

fn open(target: &Target, number: usize, until: Until) -> Result<TcpStream, Failure> {
    let mut stream = TcpStream::connect(target.address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(&target.request(number))?;
    let mut reply = Reply::new();
    let mut buffer = [0; READ_BYTES];
    while !reply.is_done() && (until == Until::Answered || reply.body_bytes == 0) {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        reply.feed(buffer.get(..count).unwrap_or_default())?;
    }
    if until == Until::Answered {
        target.check(&reply)?;
    } else if reply.status != 200 {
        return Err(Failure::Status(reply.status));
    }
    Ok(stream)
}
