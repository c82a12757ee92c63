//! Tells the registry what is served here, which addresses that have left the table are still in use, and which of the
//! table are out of use.
//!
//! What must stay true:
//! - A report is one moment of the endpoints: it never says a generation without what that left in use.
//! - It is sent when the feed is followed anew, when a generation was applied, and when the addresses in use or out of
//!   use change. While nothing happens, nothing is sent; what is out of use is looked at once a second.

use std::time::{Duration, Instant};

use proto_shared::feed::{GatewayId, GatewayReport};
use tokio::sync::watch;

use super::client;
use super::sight::{Sight, SightLimits};
use crate::config::RegistryAddress;
use crate::upstream::Endpoints;
use crate::uptime::now_ms;

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
    limits: SightLimits,
) {
    let look_interval = limits.look_interval;
    let (mut sight, mut looked) = (Sight::new(limits), None::<Instant>);
    let mut served = endpoints.served();
    let mut sent: Option<Sent> = None;
    loop {
        served.borrow_and_update();
        let connection = *followed.borrow_and_update();
        if looked.is_none_or(|at| at.elapsed() >= look_interval) {
            sight.look(endpoints.out_of_use(now_ms()), now_ms());
            looked = Some(Instant::now());
        }
        let report = GatewayReport { out: sight.told(now_ms()), ..endpoints.report() };
        let mut look_again =
            if report.busy.is_empty() { look_interval } else { LOOK_INTERVAL.min(look_interval) };
        if let Some(connection) = connection
            && is_news(&report, connection, sent.as_ref())
        {
            match client::report(registry, id, &report).await {
                Ok(()) => sent = Some(Sent { connection, report, at: Instant::now() }),
                Err(error) => {
                    tracing::debug!(%error, "the registry did not take a report");
                    look_again = look_again.min(RETRY_PAUSE);
                }
            }
        }
        tokio::select! {
            Ok(()) = followed.changed() => {}
            Ok(()) = served.changed() => {}
            () = tokio::time::sleep(look_again) => {}
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
        || report.out != sent.report.out
        || (*report != sent.report && sent.at.elapsed() >= COUNTS_INTERVAL)
}
