//! Wherever servers die, the client gets what one server would have said.

use std::borrow::Cow;

use serde_json::json;

use super::*;

fn fleet(style: Style) -> Vec<Server> {
    (1..=4).map(|number| Server { style, ..Server::new(number) }).collect()
}

fn show(stream: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(stream)
}

/// Where events end.
fn ends(answer: &[u8]) -> Vec<usize> {
    memchr::memmem::find_iter(answer, b"\n\n").map(|at| at + 2).collect()
}

#[test]
fn a_death_after_any_token_changes_no_byte() {
    let servers = fleet(Style::Leading);
    // Two events before the end, nothing is left to ask for, or only the usage: then it stays cut.
    let asked = [
        (1, false, json!({})),
        (9, true, json!({ "stream_options": { "include_usage": true } })),
        (7, true, json!({ "max_tokens": 150 })),
    ];
    for (step, may_be_lost, more) in asked {
        let body = question(more);
        let uncut = servers[0].answer(&body);
        assert!(text_of(&uncut).len() > 1_000);
        for death in ends(&uncut).into_iter().skip(1).rev().step_by(step) {
            let told = tell(&body, &servers, &[death]);
            assert_eq!(told.lost, may_be_lost && ends(&uncut[death..]).len() == 2, "death at {death}");
            if !told.lost {
                assert_eq!(show(&told.bytes), show(&uncut), "death at {death}");
            }
        }
    }
}

#[test]
fn what_is_left_to_say_decides_about_a_death_near_the_end() {
    let servers = fleet(Style::Leading);
    for (left, is_lost) in [(1, false), (2, true), (3, false)] {
        for more in [json!({ "stream_options": { "include_usage": true } }), json!({ "max_tokens": 150 })] {
            let body = question(more);
            let uncut = servers[0].answer(&body);
            let death = ends(&uncut).into_iter().rev().nth(left).unwrap();
            assert_eq!(tell(&body, &servers, &[death]).lost, is_lost, "{left} events before the end");
        }
    }
}

#[test]
fn a_cut_at_any_byte_changes_no_byte_of_the_text() {
    for style in [Style::Leading, Style::Trailing] {
        let servers: Vec<Server> = fleet(style).into_iter().map(|s| Server { words: 5, ..s }).collect();
        let body = question(json!({ "max_tokens": 500 }));
        let uncut = servers[0].answer(&body);
        for death in 0..=uncut.len() {
            let told = tell(&body, &servers, &[death]);
            assert!(!told.lost && told.misfit.is_none(), "cut at {death}");
            assert_eq!(text_of(&told.bytes), text_of(&uncut), "cut at {death}");
        }
    }
}

#[test]
fn those_who_go_on_may_die_too() {
    let servers: Vec<Server> = fleet(Style::Leading).into_iter().map(|s| Server { words: 40, ..s }).collect();
    let body = question(json!({ "stream_options": { "include_usage": true }, "max_tokens": 500 }));
    let uncut = servers[0].answer(&body);
    for death in (0..2_000).step_by(37) {
        let told = tell(&body, &servers, &[2_000 + death, death, 700]);
        assert!(!told.lost, "deaths at {death}");
        assert_eq!(show(&told.bytes), show(&uncut), "deaths at {death}");
    }
}

#[test]
fn white_space_before_a_death_is_said_once() {
    let servers = fleet(Style::Trailing);
    let body = question(json!({}));
    let uncut = servers[0].answer(&body);
    for death in ends(&uncut).into_iter().step_by(5) {
        let told = tell(&body, &servers, &[death]);
        assert_eq!(text_of(&told.bytes), text_of(&uncut), "death at {death}");
    }
}
