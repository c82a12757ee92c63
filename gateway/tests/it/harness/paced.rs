//! An upstream that waits for the test between two pieces of its answer.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::scripted::{LAST_CHUNK, SSE_HEAD, Scripted, chunk};

/// An upstream that sends one piece each time the test lets it.
pub struct Paced {
    pub upstream: Scripted,
    steps: Arc<Semaphore>,
}

impl Paced {
    /// The pieces are the whole answer, head and all.
    pub async fn start(pieces: Vec<Vec<u8>>) -> Self {
        let steps = Arc::new(Semaphore::new(0));
        let (pieces, gate) = (Arc::new(pieces), Arc::clone(&steps));
        let upstream = Scripted::start(move |mut line| {
            let (pieces, gate) = (Arc::clone(&pieces), Arc::clone(&gate));
            async move {
                while line.request().await.is_some() {
                    for piece in pieces.iter() {
                        gate.acquire().await.unwrap().forget();
                        line.write(piece).await;
                    }
                }
            }
        })
        .await;
        Self { upstream, steps }
    }

    /// A stream of `data` in chunks.
    pub async fn stream(data: &[&str]) -> Self {
        let mut pieces = vec![SSE_HEAD.as_bytes().to_vec()];
        pieces.extend(data.iter().map(chunk));
        pieces.push(LAST_CHUNK.into());
        Self::start(pieces).await
    }

    /// Lets the next piece go.
    pub fn step(&self) {
        self.steps.add_permits(1);
    }
}
