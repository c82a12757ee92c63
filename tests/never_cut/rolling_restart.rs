//! Two gateways of one registry are restarted one after the other, behind a balancer that looks at their readiness and
//! clients that try nothing again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use http::Method;
use integration_tests::client::{request, send};
use integration_tests::process::Signal;
use integration_tests::{Home, Serving, eventually, free_address};
use tokio::task::JoinHandle;

use crate::MACHINE;
use crate::crowd::{Crowd, Site, Size};
use crate::model_server::{ModelServer, WITH_DESCRIPTORS};

const SIZE: Size = Size { streams: 200, tokens: 8, requests_per_second: 100 };
/// Long for a balancer that looks four times a second.
const FLAGS: [&str; 4] = ["--set", "limits.drain_delay_ms=3000", "--set", "limits.drain_timeout_ms=120000"];
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// One address behind the balancer.
struct Target {
    address: SocketAddr,
    is_ready: AtomicBool,
}

/// Gives clients those in turn that said they were ready when they were last asked.
struct Balancer {
    targets: Arc<[Target; 2]>,
    looking: [JoinHandle<()>; 2],
}

impl Balancer {
    fn of(addresses: [SocketAddr; 2]) -> Self {
        let targets = Arc::new(addresses.map(|address| Target { address, is_ready: AtomicBool::new(false) }));
        let looking = [0, 1].map(|n| {
            let targets = Arc::clone(&targets);
            tokio::spawn(async move {
                loop {
                    let reply = send(targets[n].address, request(Method::GET, "/health/ready", None)).await;
                    targets[n].is_ready.store(reply.is_ok_and(|reply| reply.status == 200), Relaxed);
                    tokio::time::sleep(LOOK_INTERVAL).await;
                }
            })
        });
        Self { targets, looking }
    }

    fn site(&self) -> Site {
        let (targets, turn) = (Arc::clone(&self.targets), AtomicUsize::new(0));
        let address = move || {
            let turn = turn.fetch_add(1, Relaxed);
            let mut in_turn = (0..2).map(|n| &targets[(turn + n) % 2]);
            in_turn.find(|target| target.is_ready.load(Relaxed)).unwrap_or(&targets[0]).address
        };
        Site { address: Arc::new(address), tls: None }
    }

    async fn finds(&self, n: usize, ready: bool) {
        let found = async || (self.targets[n].is_ready.load(Relaxed) == ready).then_some(());
        eventually("the balancer notices", found).await;
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.looking.iter().for_each(JoinHandle::abort);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_are_restarted_one_after_the_other_and_no_client_notices() {
    let _machine = MACHINE.lock().await;
    let mut home = Home::new().await;
    home.launcher = Some(WITH_DESCRIPTORS.to_owned());
    let model_server = ModelServer::start().await;
    let (registry, _registry) = home.registry("127.0.0.1:0", &[]).await;
    let listen = [free_address(), free_address()];
    let start = async |n: usize| -> Serving {
        home.gateway_at(["a", "b"][n], registry, [&listen[n], "127.0.0.1:0"], &FLAGS).await
    };
    let mut gateways = [start(0).await, start(1).await];
    gateways[0].add_provider(&home, "sim", &model_server.url(), "m").await;
    gateways[1].serves("m").await;
    let balancer = Balancer::of([gateways[0].address, gateways[1].address]);
    balancer.finds(0, true).await;
    balancer.finds(1, true).await;
    let crowd = Crowd::start(&balancer.site(), SIZE);
    crowd.all_stream(SIZE.streams).await;
    for (n, gateway) in gateways.iter_mut().enumerate() {
        gateway.process.signal(Signal::Terminate);
        balancer.finds(n, false).await;
        assert!(gateway.process.is_running(), "its streams go on");
        assert!(gateway.process.ended().await.success(), "{}", gateway.process.printed());
        *gateway = start(n).await;
        balancer.finds(n, true).await;
        crowd.answers(SIZE.requests_per_second).await;
    }
    crowd.end_well().await;
}
