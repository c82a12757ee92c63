//! The connection of one attempt: found or made, written to, and given back.

use pingora::protocols::tls::ALPN;

use super::attempt::Address;
use super::{Errand, Forwarded};
use crate::engine::down::Down;
use crate::engine::exchange::Exchange;
use crate::engine::plan::{Length, Receiver, UpstreamHead, join_small, upstream_path};
use crate::engine::silence::Gone;
use crate::engine::up::Up;
use crate::engine::up_h1::H1Up;
use crate::engine::up_h2::H2Up;
use crate::engine::{ReplyParts, tunnel};
use crate::metrics::Outcome;
use crate::refusal::Refusal;
use crate::upstream::{ConnectError, Connection, Endpoint};

impl Errand<'_, '_> {
    /// A connection, unless the client leaves first (`Err(None)`).
    pub async fn connect(
        &mut self,
        endpoint: &Endpoint,
        fresh: bool,
    ) -> Result<Connection, Option<ConnectError>> {
        // An upgrade needs HTTP/1, and a connection of its own.
        let upgrades = self.asks.request.websocket;
        if !fresh
            && !upgrades
            && let Some(connection) = self.app.connector.reuse(endpoint).await
        {
            return Ok(connection);
        }
        self.context.connects();
        let alpn = if upgrades { ALPN::H1 } else { ALPN::H2H1 };
        // Boxed: two thirds of what a request would carry about are of handshakes, and most need none.
        let connecting = Box::pin(self.app.connector.connect(endpoint, alpn));
        if let Some(silence) = &mut self.silence {
            let connected = Box::pin(silence.cover(self.down, self.context, connecting)).await;
            return connected.map_err(|Gone| None)?.map_err(Some);
        }
        tokio::select! {
            biased;
            connection = connecting => connection.map_err(Some),
            _ = std::future::poll_fn(|cx| self.down.poll_gone(cx)) => Err(None),
        }
    }

    /// Queues the request on the connection.
    pub fn prepare(
        &self,
        address: Address<'_>,
        exchange: &mut Exchange<'_>,
        connection: Connection,
    ) -> Result<Up, Refusal> {
        let Address { candidate, replica, .. } = address;
        let (asks, provider) = (self.asks, candidate.provider);
        let parts = exchange.parts.take();
        let path = upstream_path(replica, &exchange.tail, asks.query);
        let length = Length::of(&asks.body, parts.as_ref(), asks.request.method);
        let head = UpstreamHead {
            request: asks.request,
            receiver: Receiver::Provider(provider, replica),
            path: &path,
            length,
            request_id: self.context.id.as_bytes(),
            // A key can be blotted out of an error only while it can be seen there; what is read must be plain.
            identity_only: candidate.rewrite.is_some() || !provider.key.is_empty() || exchange.is_read,
        };
        let streaming = asks.body.is_stream();
        match connection {
            Connection::H1 { stream, reused } => {
                let method = asks.request.method.clone();
                let mut up = H1Up::new(stream, reused, method, self.app.limits.upstream_head_bytes_max);
                if asks.request.websocket {
                    up.expect_upgrade();
                }
                let (first, rest) = join_small(head.encode_h1(), parts);
                let rest = rest.into_iter().flat_map(|parts| parts.segments);
                up.send_request(first, rest, !streaming, length == Length::Chunked);
                Ok(Up::H1(up))
            }
            Connection::H2 { session, peer, reused } => {
                if asks.request.websocket {
                    return Err(Refusal::UpgradeNotHere);
                }
                let mut up = H2Up::new(session, peer, reused);
                let ends = !streaming && parts.as_ref().is_none_or(|parts| parts.len == 0);
                let head = head.encode_h2(provider, replica)?;
                // A connection that went away since is found out by the relay, as a stream not processed.
                let _ = up.send_request(head, ends);
                if let Some(parts) = parts {
                    parts.segments.into_iter().for_each(|segment| up.send_data(segment));
                }
                if !ends && !streaming {
                    up.send_end();
                }
                Ok(Up::H2(up))
            }
        }
    }

    pub fn release(&self, endpoint: &Endpoint, up: Up) {
        match up {
            Up::H1(up) => {
                if let Some(stream) = up.into_reusable() {
                    endpoint.pool.give_back(stream);
                }
            }
            Up::H2(up) => up.release(&self.app.connector, endpoint.timeouts.pool_idle),
        }
    }

    /// The connection speaks another protocol from here on.
    pub async fn switch(&mut self, up: Up, head: Option<Box<ReplyParts>>) -> Forwarded {
        if let (Down::H1(h1), Up::H1(up), Some(ReplyParts::H1(head))) = (&mut *self.down, up, head.as_deref())
        {
            self.context.bytes_sent += tunnel::run(h1, up, head, self.context.id.as_bytes()).await;
            self.context.ended(Outcome::Ok);
        }
        Forwarded::ClientGone
    }
}
