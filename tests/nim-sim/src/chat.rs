//! What a chat request gets as its reply. Pure: from the request's words to a text or a tool call.

use crate::fault::{Cut, Fault};
use crate::inbox::without_markers;
use serde::Deserialize;
use serde_json::{Map, Value, json};

#[derive(Deserialize)]
pub(crate) struct ChatRequest {
    pub model: Option<String>,
    pub messages: Vec<Message>,
    pub stream: Option<bool>,
    pub stream_options: Option<StreamOptions>,
    max_tokens: Option<usize>,
    max_completion_tokens: Option<usize>,
    tools: Option<Vec<Tool>>,
    tool_choice: Option<Value>,
    continue_final_message: Option<bool>,
    add_generation_prompt: Option<bool>,
}

#[derive(Deserialize)]
pub(crate) struct StreamOptions {
    pub include_usage: Option<bool>,
}

#[derive(Deserialize)]
pub(crate) struct Message {
    role: String,
    content: Option<Content>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    text: Option<String>,
}

#[derive(Deserialize)]
struct Tool {
    function: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    parameters: Option<Value>,
}

impl Message {
    fn text(&self) -> String {
        match &self.content {
            None => String::new(),
            Some(Content::Text(text)) => text.clone(),
            Some(Content::Parts(parts)) => {
                parts.iter().filter_map(|part| part.text.as_deref()).collect::<Vec<_>>().join(" ")
            }
        }
    }
}

impl ChatRequest {
    pub fn include_usage(&self) -> bool {
        self.stream_options.as_ref().and_then(|options| options.include_usage).unwrap_or(false)
    }

    pub fn prompt_words(&self) -> usize {
        self.messages.iter().map(|message| words(&message.text())).sum()
    }

    /// What it wants to be continued: white space at its end is lost, as in a chat template.
    fn begun(&self) -> &str {
        let last = self.messages.last().filter(|last| last.role == "assistant");
        match last.and_then(|last| last.content.as_ref()) {
            Some(Content::Text(text)) if self.continue_final_message == Some(true) => text.trim_end(),
            _ => "",
        }
    }

    /// Whether it wants its last message continued and a new one begun.
    pub fn contradicts_itself(&self) -> bool {
        self.continue_final_message == Some(true) && self.add_generation_prompt != Some(false)
    }

    pub fn reply(&self, fault: &Fault) -> Reply {
        let last = self.messages.last();
        let user = self.messages.iter().rev().find(|message| message.role == "user");
        let prompt = without_markers(&user.map(Message::text).unwrap_or_default());
        if let Some(result) = last.filter(|message| message.role == "tool") {
            let text = format!("The tool said: {}", without_markers(&result.text()));
            return Reply::Text(self.tokens(&text, fault));
        }
        if let Some(tool) = self.tool_wanted(&prompt) {
            return Reply::ToolCall {
                name: tool.name.clone(),
                arguments: arguments(tool.parameters.as_ref(), &prompt).to_string(),
            };
        }
        Reply::Text(self.tokens(&format!("You said: {prompt}"), fault))
    }

    /// The tool the choice names, else one the prompt names, else any if the prompt asks to call or use a tool.
    fn tool_wanted(&self, prompt: &str) -> Option<&Function> {
        let tools = || self.tools.iter().flatten().filter_map(|tool| tool.function.as_ref());
        match &self.tool_choice {
            Some(Value::String(choice)) if choice == "none" => None,
            Some(Value::String(choice)) if choice == "required" => tools().next(),
            Some(Value::Object(choice)) => {
                let name = choice.get("function").and_then(|function| function.get("name"))?;
                tools().find(|tool| *name == tool.name.as_str())
            }
            _ => tools().find(|tool| prompt.contains(&tool.name)).or_else(|| {
                let asks = ["call a tool", "use a tool", "call the tool", "use the tool"];
                asks.iter().any(|ask| prompt.to_lowercase().contains(ask)).then(|| tools().next())?
            }),
        }
    }

    fn tokens(&self, text: &str, fault: &Fault) -> Tokens {
        let begun = if fault.no_continue { "" } else { self.begun() };
        Tokens::new(text, begun, self.max_completion_tokens.or(self.max_tokens), fault)
    }
}

pub(crate) enum Reply {
    Text(Tokens),
    ToolCall { name: String, arguments: String },
}

/// The tokens of a text: words with the white space behind them, repeated as often as it takes.
#[derive(Clone)]
pub(crate) struct Tokens {
    words: Vec<String>,
    pub count: usize,
    /// True when the client's limit ended the text.
    pub limited: bool,
}

impl Tokens {
    /// `begun`: the beginning that was said already, if this is how the text begins.
    pub fn new(text: &str, begun: &str, limit: Option<usize>, fault: &Fault) -> Self {
        let mut words: Vec<String> = match fault.big_bytes {
            Some(bytes) => vec!["x".repeat(bytes)],
            None => pieces(text),
        };
        if fault.cut == Some(Cut::InsideCharacter) {
            words.extend([" naïve", " 世界"].map(str::to_owned));
        }
        let mut wanted = fault.tokens.unwrap_or(words.len());
        if fault.tokens.is_some() && !words.last().is_some_and(|word| word.ends_with(char::is_whitespace)) {
            // Repeated, the last word must not run into the first.
            words.last_mut().into_iter().for_each(|word| word.push(' '));
        }
        if !begun.is_empty() {
            let whole: String = words.iter().map(String::as_str).cycle().take(wanted).collect();
            words = pieces(whole.strip_prefix(begun).unwrap_or(&whole));
            wanted = words.len();
        }
        let count = limit.map_or(wanted, |limit| wanted.min(limit));
        Self { words, count, limited: count < wanted }
    }

    pub fn iter(self) -> impl Iterator<Item = String> + Send {
        let count = self.count;
        self.words.into_iter().cycle().take(count)
    }

    pub fn text(&self) -> String {
        self.clone().iter().collect()
    }

    pub fn finish_reason(&self) -> &'static str {
        if self.limited { "length" } else { "stop" }
    }
}

/// Words with the white space behind them; what comes before the first belongs to it.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces = Vec::<String>::new();
    for piece in text.split_inclusive(char::is_whitespace) {
        match pieces.last_mut() {
            Some(first) if first.trim().is_empty() => first.push_str(piece),
            _ => pieces.push(piece.to_owned()),
        }
    }
    pieces
}

/// Arguments that fit the parameters' types: the prompt where text is wanted.
fn arguments(parameters: Option<&Value>, prompt: &str) -> Value {
    let properties = parameters.and_then(|schema| schema.get("properties")).and_then(Value::as_object);
    let filled = properties.into_iter().flatten().map(|(name, schema)| {
        let value = match schema.get("type").and_then(Value::as_str) {
            Some("integer" | "number") => json!(1),
            Some("boolean") => json!(true),
            Some("array") => json!([]),
            Some("object") => json!({}),
            _ => schema.get("enum").and_then(|all| all.get(0)).cloned().unwrap_or_else(|| json!(prompt)),
        };
        (name.clone(), value)
    });
    Value::Object(filled.collect::<Map<String, Value>>())
}

pub(crate) fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Scope;

    fn request(body: Value) -> ChatRequest {
        serde_json::from_value(body).unwrap()
    }

    fn text(request: &ChatRequest, spec: &str) -> String {
        match request.reply(&Fault::parse(spec, Scope::Request).unwrap()) {
            Reply::Text(tokens) => tokens.text(),
            Reply::ToolCall { name, .. } => panic!("called {name}"),
        }
    }

    #[test]
    fn the_last_user_message_comes_back() {
        let request = request(json!({ "messages": [
            { "role": "user", "content": "first" },
            { "role": "assistant", "content": null },
            { "role": "user", "content": [{ "type": "text", "text": "hello [[sim: close]] world" }] },
        ]}));
        assert_eq!(text(&request, ""), "You said: hello  world");
        assert_eq!(request.prompt_words(), 5);
    }

    #[test]
    fn tokens_repeat_and_limits_end_them() {
        let body = json!({ "messages": [{ "role": "user", "content": "hi" }], "max_tokens": 4 });
        let request = request(body);
        assert_eq!(text(&request, "tokens=9"), "You said: hi You ");
        assert_eq!(text(&request, "big=10"), "xxxxxxxxxx");
    }

    #[test]
    fn a_reply_that_was_begun_is_continued_to_the_same_text() {
        let asked = json!({ "role": "user", "content": "a b  c d" });
        let whole = "You said: a b  c d";
        for at in 0..whole.len() {
            let begun = json!({ "role": "assistant", "content": &whole[..at] });
            let request = request(json!({ "messages": [asked, begun],
                "continue_final_message": true, "add_generation_prompt": false }));
            assert!(!request.contradicts_itself());
            assert_eq!(text(&request, ""), whole[whole[..at].trim_end().len()..], "{at}");
        }
        let begun = json!({ "role": "assistant", "content": "You said: a b  c d You " });
        let request =
            request(json!({ "messages": [asked, begun], "continue_final_message": true, "max_tokens": 2 }));
        assert!(request.contradicts_itself());
        assert_eq!(text(&request, "tokens=20"), " said: a ");
    }

    #[test]
    fn a_tool_is_called_when_the_prompt_names_it_and_its_result_ends_the_turn() {
        let tools = json!([{ "type": "function", "function": { "name": "weather", "parameters": {
            "type": "object", "properties": { "city": { "type": "string" }, "days": { "type": "integer" } } } } }]);
        let asked = json!({ "role": "user", "content": "weather in Bern" });
        let called = request(json!({ "messages": [asked], "tools": tools })).reply(&Fault::default());
        let Reply::ToolCall { name, arguments } = called else { panic!("no call") };
        assert_eq!(
            (name.as_str(), arguments.as_str()),
            ("weather", r#"{"city":"weather in Bern","days":1}"#)
        );
        let result = json!({ "role": "tool", "content": "sunny", "tool_call_id": "x" });
        assert_eq!(
            text(&request(json!({ "messages": [asked, result], "tools": tools })), ""),
            "The tool said: sunny"
        );
        let none = json!({ "messages": [asked], "tools": tools, "tool_choice": "none" });
        assert_eq!(text(&request(none), ""), "You said: weather in Bern");
    }
}
