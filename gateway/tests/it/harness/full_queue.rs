//! A port that lets nobody in: its accept queue is full, so connecting neither succeeds nor fails.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

pub struct FullQueue {
    address: SocketAddr,
    _listener: socket2::Socket,
    _queued: Vec<TcpStream>,
}

impl FullQueue {
    pub fn new() -> Self {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let mut queued = vec![];
        // The first that does not get in tells that the queue is full.
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
            queued.push(stream);
        }
        Self { address, _listener: listener, _queued: queued }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// A port that refuses: nobody listens there.
pub async fn refusing_url() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}
