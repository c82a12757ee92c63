//! Frames, read as strictly as they must be written.

use serde_json::Value;

/// The events of a stream that has ended.
pub fn events(text: &str) -> Vec<Value> {
    let text = text.strip_suffix("data: [DONE]\n\n").expect("the stream has no end");
    let text = text.strip_suffix("\n\n").expect("the last frame is cut");
    text.split("\n\n").enumerate().map(|(number, frame)| event(frame, number)).collect()
}

fn event(frame: &str, number: usize) -> Value {
    let (name, data) = frame.split_once("\ndata: ").expect(frame);
    assert!(!data.contains(['\n', '\r']), "{frame}");
    let event: Value = serde_json::from_str(data).expect(frame);
    assert_eq!(name.strip_prefix("event: "), event["type"].as_str(), "{frame}");
    assert_eq!(event["sequence_number"], number, "{frame}");
    event
}
