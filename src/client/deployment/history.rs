//! What of a status history is new.

use serde_json::Value;

/// One state a deployment was in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub status: String,
    pub message: String,
    pub timestamp: String,
}

/// Remembers what was shown.
#[derive(Debug, Default)]
pub struct History {
    last: Option<Entry>,
}

impl Entry {
    fn read(value: &Value, timestamp: &str) -> Self {
        let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
        Self { status: text("status"), message: text("status_message"), timestamp: text(timestamp) }
    }

    /// The state now.
    pub fn of(deployment: &Value) -> Self {
        Self::read(deployment, "updated_at")
    }

    fn says_the_same(&self, other: &Self) -> bool {
        (&self.status, &self.message) == (&other.status, &other.message)
    }
}

impl History {
    /// The entries since the last call, and the state now where no entry tells it.
    pub fn news(&mut self, deployment: &Value) -> Vec<Entry> {
        let entries = deployment["status_history"].as_array().into_iter().flatten();
        let mut entries: Vec<Entry> = entries.map(|value| Entry::read(value, "timestamp")).collect();
        let now = Entry::of(deployment);
        if entries.last().is_none_or(|last| !last.says_the_same(&now)) {
            entries.push(now);
        }
        let shown = self.last.as_ref().and_then(|last| entries.iter().rposition(|entry| entry == last));
        let mut news: Vec<Entry> = match (shown, &self.last) {
            (Some(at), _) => entries.split_off(at + 1),
            // The last one shown is no longer in the history, or had no entry then.
            (None, Some(last)) => {
                let fresh = |entry: &Entry| {
                    entry.timestamp.trim_end_matches('Z') > last.timestamp.trim_end_matches('Z')
                };
                entries.into_iter().filter(fresh).collect()
            }
            (None, None) => entries,
        };
        if let (Some(last), Some(first)) = (&self.last, news.first())
            && last.says_the_same(first)
        {
            news.remove(0);
        }
        if let Some(last) = news.last() {
            self.last = Some(last.clone());
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(history: &mut History, status: &str, updated: &str, entries: &[(&str, &str)]) -> Vec<String> {
        let entries: Vec<Value> =
            entries.iter().map(|(status, at)| json!({"status": status, "timestamp": at})).collect();
        let deployment = json!({"status": status, "updated_at": updated, "status_history": entries});
        history.news(&deployment).into_iter().map(|entry| entry.status).collect()
    }

    #[test]
    fn each_entry_is_news_once() {
        let mut history = History::default();
        assert_eq!(seen(&mut history, "CREATED", "1", &[]), ["CREATED"]);
        assert!(seen(&mut history, "CREATED", "1", &[]).is_empty());
        let begun = [("CREATED", "2Z"), ("PENDING", "3Z")];
        assert_eq!(seen(&mut history, "PENDING", "3", &begun), ["PENDING"]);
        assert!(seen(&mut history, "PENDING", "3", &begun).is_empty());
        let done = [("CREATED", "2Z"), ("PENDING", "3Z"), ("LOST", "4Z"), ("PENDING", "5Z"), ("READY", "6Z")];
        assert_eq!(seen(&mut history, "READY", "6", &done), ["LOST", "PENDING", "READY"]);
    }

    #[test]
    fn a_state_without_an_entry_is_news_too() {
        let mut history = History::default();
        let entries = [("PENDING", "1Z"), ("READY", "2Z")];
        assert_eq!(seen(&mut history, "READY", "2", &entries), ["PENDING", "READY"]);
        assert_eq!(seen(&mut history, "DELETING", "3", &entries), ["DELETING"]);
        assert!(seen(&mut history, "DELETING", "3", &entries).is_empty());
    }

    #[test]
    fn entries_that_were_dropped_from_the_history_are_not_shown_again() {
        let mut history = History::default();
        seen(&mut history, "PENDING", "1", &[("PENDING", "1Z")]);
        assert_eq!(seen(&mut history, "READY", "9", &[("LOST", "8Z"), ("READY", "9Z")]), ["LOST", "READY"]);
    }
}
