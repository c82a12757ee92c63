use http::StatusCode;
use proptest::prelude::*;

use super::state::{PROBE_MAX_MS, Tick};
use super::*;

const FAULT: Event = Event::Fault(Fault::Reset);

fn end(health: &Health, event: Event, now_ms: u64) -> Option<Turn> {
    health.ended(Pass::Free, event, now_ms, 0)
}

/// Out, since zero, for the first time.
fn ejected() -> Health {
    let health = Health::default();
    (1..CONSECUTIVE_FAULTS_MAX).for_each(|_| assert_eq!(end(&health, FAULT, 0), None));
    assert_eq!(end(&health, FAULT, 0), Some(Turn::Ejected));
    health
}

#[test]
fn whose_fault_it_is() {
    let answered =
        |status, retry_after| Ended::Answered { status: StatusCode::from_u16(status).unwrap(), retry_after };
    for status in [200, 204, 302] {
        assert_eq!(answered(status, false).event(), Event::Ok);
    }
    for status in [400, 401, 403, 404, 408, 413, 422, 499, 501] {
        assert_eq!(answered(status, false).event(), Event::Neutral, "{status}");
    }
    for status in [500, 502, 503, 504] {
        assert_eq!(answered(status, false).event(), Event::Fault(Fault::Status), "{status}");
    }
    for (status, retry_after) in [(429, false), (429, true), (503, true), (529, false)] {
        assert_eq!(answered(status, retry_after).event(), Event::Busy, "{status}");
    }
    let ours =
        [Ended::ClientLeft, Ended::UploadFailed, Ended::Ours, Ended::NotProcessed, Ended::CutWhenReused];
    assert!(ours.iter().all(|ended| ended.event() == Event::Neutral));
    let faults =
        [Ended::NotFound, Ended::NotConnected, Ended::NoTls, Ended::Cut, Ended::Silent, Ended::AnswerCut];
    assert!(faults.iter().all(|ended| matches!(ended.event(), Event::Fault(_))));
}

#[test]
fn faults_in_a_row_put_it_out_and_a_good_answer_between_them_does_not() {
    let health = Health::default();
    for _ in 0..9 {
        (1..CONSECUTIVE_FAULTS_MAX).for_each(|_| assert_eq!(end(&health, FAULT, 5), None));
        assert_eq!(end(&health, Event::Neutral, 5), None);
        assert_eq!(end(&health, Event::Ok, 5), None);
        assert_eq!(end(&health, Event::Ok, 5), None);
        assert_eq!(end(&health, Event::Ok, 5), None);
    }
    assert!(health.takes(5) && !ejected().takes(5));
}

#[test]
fn an_address_that_can_not_be_reached_is_out_at_once() {
    for fault in [Fault::Dns, Fault::Connect, Fault::Tls] {
        assert_eq!(end(&Health::default(), Event::Fault(fault), 5), Some(Turn::Ejected));
    }
}

#[test]
fn half_of_a_windows_requests_put_it_out_also_when_never_in_a_row() {
    let health = Health::default();
    let alternating = [Event::Ok, FAULT].into_iter().cycle();
    let turns = alternating.take(RATE_REQUESTS_MIN as usize).map(|event| end(&health, event, 5));
    assert_eq!(turns.last().unwrap(), Some(Turn::Ejected));
    let slow = Health::default();
    for (n, event) in [Event::Ok, FAULT].into_iter().cycle().take(400).enumerate() {
        assert_eq!(end(&slow, event, n as u64 * WINDOW_MS / 10), None, "too few in a window");
    }
}

#[test]
fn ten_thousand_clients_that_leave_or_ask_wrongly_leave_it_closed() {
    let health = Health::default();
    for n in 0..10_000u64 {
        let ended = match n % 3 {
            0 => Ended::ClientLeft,
            1 => Ended::Answered { status: StatusCode::BAD_REQUEST, retry_after: false },
            _ => Ended::Answered { status: StatusCode::TOO_MANY_REQUESTS, retry_after: true },
        };
        assert_eq!(end(&health, ended.event(), n), None);
    }
    assert!(health.state().is_closed() && health.enter(20_000) == Some(Pass::Free));
}

#[test]
fn one_request_shows_whether_it_is_back_and_only_one() {
    let health = ejected();
    assert_eq!(health.enter(EJECTION_BASE_MS - 1), None);
    assert_eq!(health.enter(EJECTION_BASE_MS), Some(Pass::Probe));
    assert_eq!(health.enter(EJECTION_BASE_MS), None);
    assert_eq!(end(&health, Event::Ok, 1_100), None, "one from before shows nothing");
    assert!(!health.takes(1_100));
    assert_eq!(health.ended(Pass::Probe, Event::Ok, 1_200, 0), Some(Turn::Returned));
    assert_eq!(health.enter(1_200), Some(Pass::Free));
}

#[test]
fn a_probe_that_shows_nothing_is_followed_by_another() {
    let health = ejected();
    assert_eq!(health.enter(1_000), Some(Pass::Probe));
    assert_eq!(health.ended(Pass::Probe, Event::Neutral, 1_500, 0), None);
    assert_eq!(health.enter(1_500), Some(Pass::Probe));
    assert!(!health.takes(1_400 + PROBE_MAX_MS));
    assert_eq!(
        health.enter(1_500 + PROBE_MAX_MS),
        Some(Pass::Probe),
        "one that never ends is not waited for"
    );
    assert_eq!(health.ended(Pass::Probe, Event::Busy, 1_500 + PROBE_MAX_MS, 0), Some(Turn::Returned));
}

/// Out, because it can't be reached, since zero.
fn unreachable() -> Health {
    let health = Health::default();
    assert_eq!(end(&health, Event::Fault(Fault::Connect), 0), Some(Turn::Ejected));
    health
}

#[test]
fn for_want_of_others_who_failed_is_asked_and_who_can_not_be_reached_by_one_at_a_time() {
    let failing = ejected();
    (0..3).for_each(|_| assert_eq!(failing.enter_for_want_of_others(1), Some(Pass::Free)));
    let health = unreachable();
    assert!(health.enter(1).is_none() && !health.state().is_on_trial(1));
    assert_eq!(health.enter_for_want_of_others(1), Some(Pass::Early));
    assert!(health.enter_for_want_of_others(1).is_none() && health.state().is_on_trial(1));
    assert_eq!(health.enter(PROBE_MAX_MS - 100), None);
    assert_eq!(health.enter_for_want_of_others(PROBE_MAX_MS + 100), Some(Pass::Early), "it never ended");
    assert_eq!(health.ended(Pass::Early, Event::Neutral, PROBE_MAX_MS + 200, 0), None);
    assert_eq!(health.enter(PROBE_MAX_MS + 200), Some(Pass::Probe), "it showed nothing");
    assert_eq!(health.ended(Pass::Probe, Event::Ok, PROBE_MAX_MS + 300, 0), Some(Turn::Returned));
}

#[test]
fn trials_before_it_is_time_do_not_make_an_ejection_longer() {
    let health = unreachable();
    for now in (0..900_000).step_by(100) {
        assert_eq!(health.enter_for_want_of_others(now), Some(Pass::Early));
        assert_eq!(health.ended(Pass::Early, Event::Fault(Fault::Connect), now, 0), None);
        assert!(!health.takes(now) && health.takes(now + EJECTION_BASE_MS));
    }
}

#[test]
fn who_gets_through_shows_the_way_to_all_before_there_is_an_answer() {
    let health = unreachable();
    assert_eq!(health.enter_for_want_of_others(1), Some(Pass::Early));
    health.reached();
    assert!(!health.takes(1) && !health.state().is_on_trial(1));
    assert_eq!(health.enter_for_want_of_others(1), Some(Pass::Free));
    assert_eq!(health.ended(Pass::Early, FAULT, 1, 0), None);
    assert_eq!(health.enter_for_want_of_others(2), Some(Pass::Free), "it answers, and badly");
    let found = unreachable();
    found.due(1);
    assert_eq!(found.enter(1), Some(Pass::Probe));
    assert_eq!(found.enter_for_want_of_others(1), Some(Pass::Free), "a probe got through");
}

/// Out, because it was asked and said nothing, since zero.
fn silent() -> Health {
    let health = Health::default();
    for _ in 1..CONSECUTIVE_FAULTS_MAX {
        assert_eq!(end(&health, Event::Fault(Fault::Timeout), 0), None);
    }
    assert_eq!(end(&health, Event::Fault(Fault::Timeout), 0), Some(Turn::Ejected));
    health
}

#[test]
fn for_want_of_others_who_says_nothing_is_asked_by_one_at_a_time() {
    let health = silent();
    assert_eq!(health.state().grounds, Grounds::Silent);
    assert_eq!(health.enter_for_want_of_others(1), Some(Pass::Early));
    health.reached();
    assert!(health.enter_for_want_of_others(1).is_none(), "that it lets one in is nothing new");
    assert!(health.state().is_on_trial(SILENT_PROBE_MAX_MS - 100));
    assert_eq!(
        health.enter_for_want_of_others(SILENT_PROBE_MAX_MS + 100),
        Some(Pass::Early),
        "it may be a long one"
    );
    let now = SILENT_PROBE_MAX_MS + 200;
    assert_eq!(health.ended(Pass::Early, Event::Fault(Fault::Timeout), now, 0), None);
    assert_eq!(health.state().grounds, Grounds::Silent);
    assert_eq!(health.enter_for_want_of_others(now), Some(Pass::Early));
    assert_eq!(health.ended(Pass::Early, Event::Ok, now, 0), Some(Turn::Returned));
    assert_eq!(health.enter(now), Some(Pass::Free));
}

#[test]
fn any_answer_of_who_was_silent_opens_the_way_for_all() {
    for event in [Event::Ok, Event::Busy] {
        let health = silent();
        assert_eq!(health.enter_for_want_of_others(1), Some(Pass::Early));
        assert_eq!(end(&health, event, 1), None, "of a request from before");
        assert!(!health.takes(1), "it still has to show itself while there are others");
        (0..3).for_each(|_| assert_eq!(health.enter_for_want_of_others(1), Some(Pass::Free)));
    }
    let health = silent();
    assert_eq!(health.enter_for_want_of_others(1), Some(Pass::Early));
    assert_eq!(health.ended(Pass::Early, FAULT, 1, 0), None);
    assert_eq!(health.enter_for_want_of_others(1), Some(Pass::Free), "it answers, and badly");
}

#[test]
fn who_answers_some_and_lets_some_wait_is_asked_by_all_for_want_of_others() {
    let health = Health::default();
    let alternating = [Event::Ok, Event::Fault(Fault::Timeout)].into_iter().cycle();
    let turns = alternating.take(RATE_REQUESTS_MIN as usize).map(|event| end(&health, event, 5));
    assert_eq!(turns.last().unwrap(), Some(Turn::Ejected));
    assert_eq!(health.enter_for_want_of_others(5), Some(Pass::Free));
}

#[test]
fn of_many_at_once_one_probes() {
    let health = ejected();
    let probes = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| health.enter(5_000))).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).count()
    });
    assert_eq!(probes, 1);
}

#[test]
fn each_time_it_is_out_for_longer_up_to_a_limit_and_quiet_windows_make_up_for_it() {
    let health = ejected();
    let (mut now, mut lengths) = (0, Vec::new());
    for _ in 0..9 {
        let began = now;
        while !health.takes(now) {
            now += 100;
        }
        lengths.push(now - began);
        assert_eq!(health.enter(now), Some(Pass::Probe));
        assert_eq!(health.ended(Pass::Probe, FAULT, now, 0), None);
    }
    assert_eq!(lengths, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
    now += EJECTION_MAX_MS;
    assert_eq!(health.enter(now), Some(Pass::Probe));
    assert_eq!(health.ended(Pass::Probe, Event::Ok, now, 0), Some(Turn::Returned));
    for _ in 0..20 {
        now += WINDOW_MS;
        end(&health, Event::Ok, now);
    }
    assert_eq!(health.state().ejections, 0);
}

#[test]
fn an_address_that_flaps_gets_less_and_less() {
    // A second up, a second down, for ten minutes, at 50 requests a second.
    let (health, mut faults) = (Health::default(), 0);
    for now in (0..600_000).step_by(20) {
        let Some(pass) = health.enter(now) else { continue };
        let up = now / 1_000 % 2 == 0;
        faults += u32::from(!up);
        health.ended(pass, if up { Event::Ok } else { FAULT }, now, now.wrapping_mul(7_919));
    }
    println!("{faults} requests failed of 15,000 that came while it was down");
    assert!(faults < 300, "{faults}");
}

#[test]
fn many_gateways_do_not_come_back_at_once() {
    let until = |random| {
        let health = Health::default();
        (0..CONSECUTIVE_FAULTS_MAX).for_each(|_| _ = health.ended(Pass::Free, FAULT, 0, random));
        (0..2_000).step_by(50).find(|now| health.takes(*now)).unwrap()
    };
    assert!(until(0) < until(120) && until(120) < until(249) && until(249) <= 1_300);
}

proptest! {
    #[test]
    fn a_state_is_one_number(
        phase in 0..3u8, at: u32, rows in (0..16u32, 0..16u32), grounds in 0..3usize, counts in (0..1024u32, 0..1024u32),
    ) {
        let at = Tick::at_ms(u64::from(at) * 100);
        let phase = match phase {
            0 => Phase::Closed { window: at },
            1 => Phase::Out { until: at },
            _ => Phase::Probing { since: at },
        };
        let grounds = [Grounds::Failing, Grounds::Unreachable, Grounds::Silent][grounds];
        let (consecutive, ejections) = rows;
        let state = State { phase, grounds, consecutive, ejections, oks: counts.0, faults: counts.1 };
        prop_assert_eq!(State::unpack(state.pack()), state);
    }

    #[test]
    fn whatever_happens_it_takes_requests_again_in_time(
        events in prop::collection::vec((0..4u8, 0..5_000u64, any::<u64>()), 0..200),
    ) {
        let (health, mut now) = (Health::default(), 0);
        for (event, wait, random) in events {
            now += wait;
            let event = [Event::Ok, FAULT, Event::Busy, Event::Neutral][usize::from(event)];
            match health.enter(now) {
                Some(pass) => _ = health.ended(pass, event, now, random),
                None => prop_assert!(!health.state().is_closed()),
            }
            prop_assert!(health.takes(now + EJECTION_MAX_MS * 5 / 4 + PROBE_MAX_MS));
        }
    }
}
