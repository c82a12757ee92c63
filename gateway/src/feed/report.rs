//! Tells the registry what is served here, and which addresses that have left the table are still in use.
//!
//! What must stay true:
//! - A report is one moment of the endpoints: it never says a generation without what that left in use.
//! - It is sent when the feed is followed anew, when a generation was applied, and when the addresses in
//!   use change. While none is in use, and nothing else happens, nobody looks and nothing is sent.

use std::time::{Duration, Instant};

use proto_shared::feed::{GatewayId, GatewayReport};
use tokio::sync::watch;

use super::client;
use crate::config::RegistryAddress;
use crate::upstream::Endpoints;

/// How often addresses in use are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How often it is told that there are more or fewer requests on them.
const COUNTS_INTERVAL: Duration = Duration::from_secs(1);
/// After a report that did not arrive.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Which connection to the feed stands; none: it is not followed now.
pub type Followed = Option<u64>;

/// The last report that arrived.
struct Sent {
    connection: u64,
    report: GatewayReport,
    at: Instant,
}

/// Reports for as long as the process runs.
pub async fn run(
    registry: &RegistryAddress,
    id: GatewayId,
    endpoints: &Endpoints,
    mut followed: watch::Receiver<Followed>,
) {
    let mut served = endpoints.served();
    let mut sent: Option<Sent> = None;
    loop {
        served.borrow_and_update();
        let connection = *followed.borrow_and_update();
        let report = endpoints.report();
        let mut look_again = (!report.busy.is_empty()).then_some(LOOK_INTERVAL);
        if let Some(connection) = connection
            && is_news(&report, connection, sent.as_ref())
        {
            match client::report(registry, id, &report).await {
                Ok(()) => sent = Some(Sent { connection, report, at: Instant::now() }),
                Err(error) => {
                    tracing::debug!(%error, "the registry did not take a report");
                    look_again = Some(RETRY_PAUSE);
                }
            }
        }
        let pause = async {
            match look_again {
                Some(pause) => tokio::time::sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Ok(()) = followed.changed() => {}
            Ok(()) = served.changed() => {}
            () = pause => {}
        }
    }
}

fn is_news(report: &GatewayReport, connection: u64, sent: Option<&Sent>) -> bool {
    // Before there is a table there is nothing to say.
    if report.generation == 0 {
        return false;
    }
    let Some(sent) = sent.filter(|sent| sent.connection == connection) else { return true };
    let same_addresses =
        report.busy.iter().map(|busy| &busy.url).eq(sent.report.busy.iter().map(|busy| &busy.url));
    report.generation != sent.report.generation
        || !same_addresses
        || (*report != sent.report && sent.at.elapsed() >= COUNTS_INTERVAL)
}
