//! Which gateways follow the feed, whether any of them still uses an address, and what they have out of use.
//!
//! What must stay true:
//! - An address is never called drained while a gateway that follows may send a request there, or has one
//!   there that has not ended. A gateway that did not report yet may do both.
//! - A gateway whose connection broke is given the time to come back, and so are all of them when the
//!   registry starts: their streams go on meanwhile.
//! - Gateways and reports are bounded.
//!
//! Absent on purpose: a limit to the waiting. Who waits for a drain has one, and goes on without.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use proto_shared::HostUrl;
use proto_shared::feed::{GatewayId, GatewayReport, OutAddress, RECONNECT_PAUSE_MAX_MS};
use tokio::sync::watch;
use tokio::time::Instant;

/// Gateways that follow at once.
pub const GATEWAYS_MAX: usize = 256;
/// How long a gateway may take to follow again: its longest pause, and time to connect.
pub const RETURN_TIME_MAX: Duration = Duration::from_millis(RECONNECT_PAUSE_MAX_MS + 500);

/// Whether an address is still used by requests that came in while it was in the routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drain {
    /// No gateway uses it, nor will.
    Drained,
    /// So many requests are on it.
    Busy { in_flight: u64 },
    /// Not every gateway has said so yet.
    Waiting,
}

#[derive(Debug, thiserror::Error)]
#[error("{GATEWAYS_MAX} gateways follow already")]
pub struct TooManyGateways;

/// A report of a gateway that doesn't follow. It will report when it does.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no gateway of that id follows the feed")]
pub struct NotFollowing;

/// The table, and who waits for a change of it.
pub struct Gateways {
    table: Mutex<Table>,
    changed: watch::Sender<()>,
    /// The same for what gateways have out of use.
    sights: watch::Sender<()>,
}

impl Gateways {
    /// For a registry that starts now: gateways of before may be on their way. Needs a Tokio runtime.
    pub fn start() -> Arc<Self> {
        Self::with_return_time(RETURN_TIME_MAX)
    }

    fn with_return_time(return_time: Duration) -> Arc<Self> {
        let table =
            Table { gateways: HashMap::new(), all_back_at: Instant::now() + return_time, return_time };
        let (changed, sights) = (watch::Sender::new(()), watch::Sender::new(()));
        let gateways = Arc::new(Self { table: Mutex::new(table), changed, sights });
        gateways.look_again_later();
        gateways
    }

    /// A gateway follows from now on, until the guard is dropped.
    pub fn follow(self: &Arc<Self>, id: GatewayId) -> Result<Following, TooManyGateways> {
        self.table.lock().follow(id, Instant::now())?;
        self.changed.send_replace(());
        Ok(Following { gateways: Arc::clone(self), id })
    }

    pub fn report(&self, id: GatewayId, report: GatewayReport) -> Result<(), NotFollowing> {
        let mut table = self.table.lock();
        let out = table.out_of(id).cloned();
        let is_drain_news = table.report(id, report)?;
        let is_sight_news = table.out_of(id) != out.as_ref();
        drop(table);
        if is_drain_news {
            self.changed.send_replace(());
        }
        if is_sight_news {
            self.sights.send_replace(());
        }
        Ok(())
    }

    /// What gateways that follow have out of use, of those that say so; none: what was known before stands, because all
    /// of them have just begun.
    pub fn told_out(&self) -> Option<Vec<Vec<OutAddress>>> {
        self.table.lock().told_out(Instant::now())
    }

    /// Sees a change whenever [`Self::told_out`] may be another.
    pub fn sights(&self) -> watch::Receiver<()> {
        self.sights.subscribe()
    }

    /// Whether requests still use `url`, which is not in the routes from `generation` on.
    pub fn drained(&self, url: &HostUrl, generation: u64) -> Drain {
        self.table.lock().drained(url, generation, Instant::now())
    }

    /// Who follows, and what each reported last; by id.
    pub fn list(&self) -> Vec<(GatewayId, Option<GatewayReport>)> {
        self.table.lock().list(Instant::now())
    }

    /// Sees a change whenever an answer of [`Self::drained`] may be another one. Numbers of requests alone
    /// are no change.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Whoever was waited for until then is not waited for any more.
    fn look_again_later(self: &Arc<Self>) {
        let (gateways, return_time) = (Arc::downgrade(self), self.table.lock().return_time);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            tokio::time::sleep(return_time).await;
            if let Some(gateways) = gateways.upgrade() {
                gateways.table.lock().forget(Instant::now());
                gateways.changed.send_replace(());
                gateways.sights.send_replace(());
            }
        });
    }
}

/// A connection of a gateway to the feed.
pub struct Following {
    gateways: Arc<Gateways>,
    id: GatewayId,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.gateways.table.lock().leave(self.id, Instant::now());
        self.gateways.look_again_later();
    }
}

/// Values in, values out; the clock is the caller's.
struct Table {
    gateways: HashMap<GatewayId, Gateway>,
    /// Until then, gateways that are not here may still come back.
    all_back_at: Instant,
    return_time: Duration,
}

struct Gateway {
    connections: usize,
    /// Since when it has no connection.
    left_at: Option<Instant>,
    /// None: it did not report yet.
    report: Option<GatewayReport>,
}

impl Gateway {
    fn is_present(&self, now: Instant, return_time: Duration) -> bool {
        self.left_at.is_none_or(|left_at| now.duration_since(left_at) < return_time)
    }
}

impl Table {
    fn follow(&mut self, id: GatewayId, now: Instant) -> Result<(), TooManyGateways> {
        self.forget(now);
        if self.gateways.len() >= GATEWAYS_MAX && !self.gateways.contains_key(&id) {
            return Err(TooManyGateways);
        }
        let new = Gateway { connections: 0, left_at: None, report: None };
        let gateway = self.gateways.entry(id).or_insert(new);
        gateway.connections += 1;
        gateway.left_at = None;
        Ok(())
    }

    fn leave(&mut self, id: GatewayId, now: Instant) {
        let Some(gateway) = self.gateways.get_mut(&id) else { return };
        // It may have connected anew before its old connection was found dead.
        gateway.connections = gateway.connections.saturating_sub(1);
        gateway.left_at = (gateway.connections == 0).then_some(now);
    }

    fn forget(&mut self, now: Instant) {
        self.gateways.retain(|_, gateway| gateway.is_present(now, self.return_time));
    }

    fn list(&self, now: Instant) -> Vec<(GatewayId, Option<GatewayReport>)> {
        let present = self.gateways.iter().filter(|(_, gateway)| gateway.is_present(now, self.return_time));
        let mut all: Vec<_> = present.map(|(id, gateway)| (*id, gateway.report.clone())).collect();
        all.sort_by_key(|(id, _)| *id);
        all
    }

    /// True: an address may be drained now that was not, or the other way round.
    fn report(&mut self, id: GatewayId, report: GatewayReport) -> Result<bool, NotFollowing> {
        let gateway = self.gateways.get_mut(&id).ok_or(NotFollowing)?;
        let before = gateway.report.replace(report);
        let said = |report: &Option<GatewayReport>| {
            let report = report.as_ref()?;
            let busy: BTreeSet<String> = report.busy.iter().map(|busy| busy.url.to_string()).collect();
            Some((report.generation, busy))
        };
        Ok(said(&before) != said(&gateway.report))
    }

    fn out_of(&self, id: GatewayId) -> Option<&Vec<OutAddress>> {
        self.gateways.get(&id)?.report.as_ref()?.out.as_ref()
    }

    fn told_out(&self, now: Instant) -> Option<Vec<Vec<OutAddress>>> {
        let present = || self.gateways.values().filter(|gateway| gateway.is_present(now, self.return_time));
        let told: Vec<_> = present().filter_map(|by| by.report.as_ref()?.out.clone()).collect();
        let is_known = now >= self.all_back_at && (!told.is_empty() || present().next().is_none());
        is_known.then_some(told)
    }

    fn drained(&self, url: &HostUrl, generation: u64, now: Instant) -> Drain {
        let present = || self.gateways.values().filter(|gateway| gateway.is_present(now, self.return_time));
        let reports = present().filter_map(|gateway| gateway.report.as_ref());
        let mut on_it = reports.flat_map(|report| &report.busy).filter(|busy| busy.url == *url).peekable();
        if on_it.peek().is_some() {
            let in_flight = on_it.fold(0, |sum: u64, busy| sum.saturating_add(busy.in_flight));
            return Drain::Busy { in_flight };
        }
        let knows =
            |gateway: &Gateway| gateway.report.as_ref().is_some_and(|report| report.generation >= generation);
        if now >= self.all_back_at && present().all(knows) { Drain::Drained } else { Drain::Waiting }
    }
}

#[cfg(test)]
mod tests {
    use proto_shared::feed::BusyAddress;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn id(n: u128) -> GatewayId {
        GatewayId::new(n)
    }

    fn url(port: u16) -> HostUrl {
        HostUrl::parse(&format!("http://127.0.0.1:{port}")).unwrap()
    }

    fn report(generation: u64, busy: &[(u16, u64)]) -> GatewayReport {
        let busy = busy.iter().map(|&(port, in_flight)| BusyAddress { url: url(port), in_flight });
        GatewayReport { generation, busy: busy.collect(), out: None }
    }

    /// A table of a registry that has run for long.
    fn table() -> (Table, Instant) {
        let now = Instant::now();
        (Table { gateways: HashMap::new(), all_back_at: now, return_time: RETURN_TIME_MAX }, now)
    }

    #[test]
    fn without_gateways_everything_is_drained() {
        let (table, now) = table();
        assert_eq!(table.drained(&url(1), 7, now), Drain::Drained);
    }

    #[test]
    fn every_gateway_must_have_applied_the_generation_and_be_done_with_the_address() {
        let (mut table, now) = table();
        table.follow(id(1), now).unwrap();
        table.follow(id(2), now).unwrap();
        let ask = |table: &Table| table.drained(&url(1), 7, now);
        assert_eq!(ask(&table), Drain::Waiting);
        assert_eq!(table.report(id(1), report(7, &[])), Ok(true));
        assert_eq!(ask(&table), Drain::Waiting, "the other said nothing yet");
        assert_eq!(table.report(id(2), report(6, &[])), Ok(true));
        assert_eq!(ask(&table), Drain::Waiting, "and then serves the one before");
        assert_eq!(table.report(id(2), report(8, &[(1, 3), (2, 5)])), Ok(true));
        assert_eq!(ask(&table), Drain::Busy { in_flight: 3 });
        assert_eq!(table.report(id(1), report(8, &[(1, 1)])), Ok(true));
        assert_eq!(ask(&table), Drain::Busy { in_flight: 4 });
        assert_eq!(table.drained(&url(3), 8, now), Drain::Drained);
        table.report(id(1), report(8, &[])).unwrap();
        assert_eq!(table.report(id(2), report(8, &[(2, 5)])), Ok(true));
        assert_eq!(ask(&table), Drain::Drained);
        assert_eq!(table.report(id(2), report(8, &[(2, 4)])), Ok(false), "a number alone changes no answer");
        assert_eq!(table.drained(&url(2), 9, now), Drain::Busy { in_flight: 4 });
    }

    #[test]
    fn a_gateway_that_is_cut_off_is_waited_for_a_while_and_then_forgotten() {
        let (mut table, now) = table();
        table.follow(id(1), now).unwrap();
        table.report(id(1), report(7, &[(1, 1)])).unwrap();
        table.leave(id(1), now);
        let last = now + RETURN_TIME_MAX - MS;
        assert_eq!(table.drained(&url(1), 7, last), Drain::Busy { in_flight: 1 });
        assert_eq!(table.drained(&url(2), 8, last), Drain::Waiting);
        assert_eq!(table.report(id(1), report(7, &[(1, 2)])), Ok(false), "it may report meanwhile");
        assert_eq!(table.drained(&url(1), 7, last + MS), Drain::Drained);
        table.forget(last + MS);
        assert_eq!(table.report(id(1), report(7, &[])), Err(NotFollowing));
    }

    #[test]
    fn a_gateway_that_comes_back_was_never_away() {
        let (mut table, now) = table();
        table.follow(id(1), now).unwrap();
        table.report(id(1), report(7, &[(1, 1)])).unwrap();
        // The new connection is there before the old one is found dead, or after.
        table.follow(id(1), now).unwrap();
        table.leave(id(1), now);
        assert_eq!(table.drained(&url(1), 7, now + RETURN_TIME_MAX * 2), Drain::Busy { in_flight: 1 });
        table.leave(id(1), now);
        table.follow(id(1), now + RETURN_TIME_MAX - MS).unwrap();
        assert_eq!(table.drained(&url(1), 7, now + RETURN_TIME_MAX * 2), Drain::Busy { in_flight: 1 });
    }

    #[test]
    fn a_registry_that_starts_waits_for_gateways_of_before() {
        let (mut table, now) = table();
        table.all_back_at = now + RETURN_TIME_MAX;
        assert_eq!(table.drained(&url(1), 7, now), Drain::Waiting);
        table.follow(id(1), now).unwrap();
        table.report(id(1), report(7, &[])).unwrap();
        assert_eq!(
            table.drained(&url(1), 7, now + RETURN_TIME_MAX - MS),
            Drain::Waiting,
            "there may be others"
        );
        assert_eq!(table.drained(&url(1), 7, now + RETURN_TIME_MAX), Drain::Drained);
    }

    #[test]
    fn what_is_out_of_use_is_known_of_those_that_are_there_and_say_so() {
        let out = |ports: &[u16]| {
            let out = |port: &u16| OutAddress { provider: "w/p".into(), url: url(*port), why: "x".into() };
            ports.iter().map(out).collect::<Vec<_>>()
        };
        let saying = |ports: &[u16]| GatewayReport { out: Some(out(ports)), ..report(7, &[]) };
        let (mut table, now) = table();
        assert_eq!(table.told_out(now), Some(vec![]), "nobody is there");
        table.follow(id(1), now).unwrap();
        table.report(id(1), report(7, &[])).unwrap();
        assert_eq!(table.told_out(now), None, "it has just begun");
        table.report(id(1), saying(&[1])).unwrap();
        table.follow(id(2), now).unwrap();
        assert_eq!(table.told_out(now), Some(vec![out(&[1])]), "the other has just begun");
        table.report(id(2), saying(&[])).unwrap();
        assert_eq!(table.told_out(now).map(|told| told.len()), Some(2));
        table.leave(id(1), now);
        assert_eq!(table.told_out(now + RETURN_TIME_MAX), Some(vec![out(&[])]), "forgotten with the gateway");
        table.all_back_at = now + RETURN_TIME_MAX;
        assert_eq!(table.told_out(now), None, "there may be others");
    }

    #[test]
    fn gateways_are_bounded_and_those_that_follow_may_follow_again() {
        let (mut table, now) = table();
        for n in 0..GATEWAYS_MAX {
            table.follow(id(n as u128), now).unwrap();
        }
        assert!(table.follow(id(u128::MAX), now).is_err());
        table.follow(id(0), now).unwrap();
        table.leave(id(1), now);
        assert!(table.follow(id(u128::MAX), now).is_err(), "the place of one that may come back is kept");
        table.follow(id(u128::MAX), now + RETURN_TIME_MAX).unwrap();
    }

    #[tokio::test]
    async fn who_waits_is_told_of_every_change_of_an_answer() {
        let gateways = Gateways::with_return_time(MS * 100);
        let mut changes = gateways.changes();
        let following = gateways.follow(id(1)).unwrap();
        changes.changed().await.unwrap();
        gateways.report(id(1), report(7, &[(1, 1)])).unwrap();
        assert_eq!(gateways.list(), [(id(1), Some(report(7, &[(1, 1)])))]);
        while gateways.drained(&url(2), 7) != Drain::Drained {
            changes.changed().await.unwrap();
        }
        assert_eq!(gateways.drained(&url(1), 7), Drain::Busy { in_flight: 1 });
        drop(following);
        while gateways.drained(&url(1), 7) != Drain::Drained {
            changes.changed().await.unwrap();
        }
    }
}
