//! Whatever a Responses request says, it becomes a chat request that is JSON, or is refused.
#![no_main]

use gateway::dialect::responses::request::{Target, translate};
use libfuzzer_sys::fuzz_target;
use proto_shared::backend::{Backend, ReasoningReplay};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Values as they are spelt: a number may be larger than any type.
#[derive(Deserialize)]
struct Chat<'c> {
    model: &'c str,
    #[serde(borrow)]
    messages: Vec<&'c RawValue>,
}

fuzz_target!(|data: &[u8]| {
    // What is not JSON, or too deep, is refused before.
    if gateway::body::scan(data).is_err() {
        return;
    }
    let mut keen = Backend { uses_reasoning_parser: true, ..Backend::default() };
    keen.chat.reasoning_replay = ReasoningReplay::ReasoningContent;
    keen.chat.thought_signatures = true;
    for backend in [&Backend::default(), &keen] {
        let target = Target { backend, model: "theirs", shown_model: "ours", extra: None };
        match translate(data, &target) {
            Ok(translated) => {
                let chat: Chat<'_> = serde_json::from_slice(&translated.body).unwrap();
                assert_eq!(chat.model, "theirs");
                assert!(!chat.messages.is_empty());
            }
            Err(refused) => assert!(!refused.to_string().is_empty()),
        }
    }
});
