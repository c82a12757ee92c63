//! A body that a strict reader of JSON takes for an object passes, `model` is what that reader finds there, and nothing
//! but it is replaced.
#![no_main]

use std::collections::BTreeMap;

use bytes::Bytes;
use gateway::body::{BodyError, replace_model, scan};
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

/// Members as they are spelt. Of two with one name the last, as most readers have it.
fn members(body: &[u8]) -> Option<BTreeMap<String, &RawValue>> {
    serde_json::from_slice(body).ok()
}

fuzz_target!(|data: &[u8]| {
    let body = Bytes::copy_from_slice(data);
    let (found, strict) = (scan(&body), members(data));
    // What is no JSON below the outermost level may pass: the upstream refuses it.
    let (Ok(found), Some(mut before)) = (&found, strict) else {
        let is_deliberate = matches!(
            found,
            Err(BodyError::DuplicateModel
                | BodyError::ModelMisspelt
                | BodyError::ModelNotAString
                | BodyError::TooDeep)
        );
        assert!(members(data).is_none() || is_deliberate, "{found:?}");
        return;
    };
    let parts = replace_model(&body, found, &Bytes::from_static(b"\"theirs\""));
    let sent: Vec<u8> = parts.segments.iter().flat_map(|segment| segment.to_vec()).collect();
    assert_eq!(sent.len(), parts.len);
    let mut after = members(&sent).unwrap();
    assert_eq!(after.remove("model").map(RawValue::get), Some("\"theirs\""));
    before.remove("model");
    let spelt = |members: BTreeMap<String, &RawValue>| -> Vec<(String, String)> {
        members.into_iter().map(|(name, value)| (name, value.get().to_owned())).collect()
    };
    assert_eq!(spelt(after), spelt(before));
});
