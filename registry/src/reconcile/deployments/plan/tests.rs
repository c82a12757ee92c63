//! Any sequence of events, in a world that does what the plan says at once.

mod world;

use proptest::prelude::*;

use super::*;
use world::{Event, NAMES, World};

fn event() -> impl Strategy<Value = Event> {
    let name = 0..NAMES.len();
    prop_oneof![
        3 => (name.clone(), 0_u32..3).prop_map(|(name, gpus)| Event::Order { name, gpus }),
        1 => name.clone().prop_map(|name| Event::Delete { name }),
        3 => any::<prop::sample::Index>().prop_map(Event::GetsReady),
        2 => any::<prop::sample::Index>().prop_map(Event::GetsUnready),
        2 => (any::<prop::sample::Index>(), 0..3).prop_map(|(which, code)| Event::Exits(which, code)),
        1 => any::<prop::sample::Index>().prop_map(Event::Vanishes),
        1 => any::<bool>().prop_map(Event::RuntimeIsAway),
        1 => any::<bool>().prop_map(Event::StartsFail),
        3 => (1_u64..700).prop_map(Event::TimePasses),
        1 => Just(Event::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// What must hold after every single step is checked by the world as it takes the step.
    #[test]
    fn whatever_happens_plans_lead_to_rest_and_break_no_rule(events in prop::collection::vec(event(), 1..40)) {
        let mut world = World::new();
        for event in events {
            world.happens(event);
            world.settles();
        }
    }

    #[test]
    fn when_all_is_deleted_nothing_is_left(events in prop::collection::vec(event(), 1..25)) {
        let mut world = World::new();
        for event in events {
            world.happens(event);
            world.settles();
        }
        world.happens(Event::RuntimeIsAway(false));
        for name in 0..NAMES.len() {
            world.happens(Event::Delete { name });
        }
        for _ in 0..3 {
            world.settles();
            world.happens(Event::TimePasses(60));
        }
        world.settles();
        prop_assert!(world.is_empty(), "{world:#?}");
    }
}

#[test]
fn tries_come_at_once_then_later_and_later() {
    let waits: Vec<_> = (0..8).map(|failures| tend::backoff(failures).as_secs()).collect();
    assert_eq!(waits, [0, 0, 30, 60, 120, 240, 300, 300]);
}

/// So that the properties above are known to be about something.
#[test]
fn in_this_world_a_deployment_gets_ready_and_a_second_version_takes_its_routes() {
    let mut world = World::new();
    for _ in 0..2 {
        world.happens(Event::Order { name: 0, gpus: 1 });
        world.settles();
        world.all_get_ready();
        world.settles();
        assert_eq!(world.routed(), 1, "{world:#?}");
    }
    world.happens(Event::TimePasses(60));
    world.settles();
    assert_eq!(world.running(), 1, "{world:#?}");
}
