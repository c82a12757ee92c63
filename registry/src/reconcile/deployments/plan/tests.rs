//! Any sequence of events, in a world that does what the plan says at once.

mod world;

use proptest::prelude::*;

use super::*;
use world::{Event, NAMES, World};

fn event() -> impl Strategy<Value = Event> {
    let name = 0..NAMES.len();
    prop_oneof![
        3 => (name.clone(), 0_u32..3, 1_u32..4)
            .prop_map(|(name, gpus, replicas)| Event::Order { name, gpus, replicas }),
        2 => (name.clone(), 1_u32..5).prop_map(|(name, replicas)| Event::Scale { name, replicas }),
        2 => any::<prop::sample::Index>().prop_map(Event::Drained),
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
        world.happens(Event::Order { name: 0, gpus: 1, replicas: 1 });
        world.settles();
        world.all_get_ready();
        world.settles();
        assert_eq!(world.routed(), 1, "{world:#?}");
    }
    world.happens(Event::TimePasses(60));
    world.settles();
    assert_eq!(world.running(), 1, "{world:#?}");
}

/// One deployment without GPUs, all of whose replicas are ready.
fn running(replicas: u32, gpus: u32) -> World {
    let mut world = World::new();
    world.happens(Event::Order { name: 0, gpus, replicas });
    ready(&mut world);
    world
}

fn ready(world: &mut World) {
    world.settles();
    world.all_get_ready();
    world.settles();
}

#[test]
fn each_replica_that_is_ready_is_an_address_and_the_message_counts_them() {
    let mut world = running(3, 0);
    assert_eq!((world.running(), world.addresses(), world.message()), (3, 3, "3 of 3 ready"));
    world.gets_unready(0);
    world.settles();
    assert_eq!((world.running(), world.addresses()), (3, 2));
    assert!(
        world.message().starts_with("2 of 3 ready. Replica 0: Not ready any more"),
        "{}",
        world.message()
    );
}

#[test]
fn scaling_down_takes_what_is_not_ready_first_and_then_the_newest() {
    let mut world = running(3, 0);
    world.gets_unready(0);
    world.settles();
    world.happens(Event::Scale { name: 0, replicas: 2 });
    world.settles();
    assert_eq!((world.addresses(), world.message()), (2, "2 of 2 ready"));
    world.happens(Event::TimePasses(30));
    world.settles();
    assert_eq!(world.replicas(), [1, 2]);
    world.happens(Event::Scale { name: 0, replicas: 1 });
    world.settles();
    world.happens(Event::TimePasses(30));
    world.settles();
    assert_eq!((world.replicas(), world.addresses()), (vec![1], 1));
}

#[test]
fn what_is_to_go_goes_when_no_gateway_uses_it_and_at_the_latest_when_its_time_is_over() {
    let mut world = running(3, 0);
    world.happens(Event::Scale { name: 0, replicas: 1 });
    world.settles();
    assert_eq!((world.running(), world.addresses()), (3, 1), "requests may be under way");
    world.drains(2);
    world.settles();
    assert_eq!(world.replicas(), [0, 1]);
    world.happens(Event::TimePasses(19));
    world.settles();
    assert_eq!(world.replicas(), [0, 1]);
    world.happens(Event::TimePasses(1));
    world.settles();
    assert_eq!(world.replicas(), [0]);
}

#[test]
fn a_new_version_takes_the_routes_when_all_its_replicas_are_ready() {
    let mut world = running(2, 0);
    world.happens(Event::Order { name: 0, gpus: 0, replicas: 2 });
    world.settles();
    assert_eq!((world.running(), world.routed_versions()), (4, vec![1]));
    world.one_gets_ready(2);
    world.settles();
    assert_eq!(world.routed_versions(), [1]);
    assert!(world.message().starts_with("1 of 2 ready; another version serves"), "{}", world.message());
    ready(&mut world);
    assert_eq!((world.routed_versions(), world.message()), (vec![2], "2 of 2 ready"));
    world.happens(Event::TimePasses(30));
    world.settles();
    assert_eq!(world.running(), 2);
}

#[test]
fn without_a_spare_gpu_one_old_instance_makes_room_and_the_others_go_on_serving() {
    let mut world = running(3, 1);
    world.happens(Event::Order { name: 0, gpus: 1, replicas: 3 });
    world.settles();
    assert_eq!((world.running(), world.addresses()), (3, 2), "{world:#?}");
    world.happens(Event::TimePasses(30));
    world.settles();
    assert_eq!((world.running(), world.addresses()), (3, 2), "one of the new version starts");
    ready(&mut world);
    world.happens(Event::TimePasses(30));
    ready(&mut world);
    assert_eq!((world.routed_versions(), world.message()), (vec![2], "3 of 3 ready"));
}

#[test]
fn where_gpus_are_short_as_many_run_as_fit_and_the_message_says_how_many_wait() {
    let world = running(4, 1);
    assert_eq!((world.running(), world.addresses()), (3, 3));
    let told = "3 of 4 ready. Replica 3: Waiting for 1 free GPU(s): this host has 3, 3 given to deployments";
    assert!(world.message().starts_with(told), "{}", world.message());
}
