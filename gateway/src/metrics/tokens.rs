//! Tokens, by provider and model. The cells are held by the routing table: a request touches atomics only.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use prometheus::IntCounter;

use super::ProviderMetrics;
use crate::body::Usage;

const KINDS: [&str; 3] = ["input", "cached_input", "output"];

/// The models that a provider is asked for by the tables that are in use.
#[derive(Default)]
pub(super) struct Models(Mutex<HashMap<Box<str>, Weak<ModelTokens>>>);

/// Of one model at one provider, shared by all tables that route it there. Its series go with the last of them.
pub struct ModelTokens {
    model: Box<str>,
    provider: Arc<ProviderMetrics>,
    cells: [OnceLock<IntCounter>; KINDS.len()],
}

impl ModelTokens {
    /// Those of `model`; empty: requests that name the provider, and whatever model.
    pub(super) fn of(provider: &Arc<ProviderMetrics>, model: &str) -> Arc<Self> {
        let mut models = provider.models.0.lock();
        if let Some(known) = models.get(model).and_then(Weak::upgrade) {
            return known;
        }
        let made =
            Arc::new(Self { model: model.into(), provider: Arc::clone(provider), cells: Default::default() });
        models.insert(model.into(), Arc::downgrade(&made));
        made
    }

    pub fn used(&self, usage: Usage) {
        let numbers = [usage.input, usage.cached_input, usage.output];
        for ((cell, kind), tokens) in self.cells.iter().zip(KINDS).zip(numbers) {
            if let Some(tokens) = tokens {
                cell.get_or_init(|| self.series(kind)).inc_by(tokens);
            }
        }
    }

    fn labels<'a>(&'a self, kind: &'a str) -> [&'a str; 4] {
        [&self.provider.workspace, &self.provider.provider, &self.model, kind]
    }

    fn series(&self, kind: &str) -> IntCounter {
        self.provider.metrics.tokens.with_label_values(&self.labels(kind))
    }
}

impl Drop for ModelTokens {
    fn drop(&mut self) {
        let mut models = self.provider.models.0.lock();
        // Somebody may have made the same anew: then the series are theirs.
        if models.get(&self.model).is_some_and(|known| known.strong_count() > 0) {
            return;
        }
        models.remove(&self.model);
        for kind in KINDS {
            // Series that were never touched are not there to remove: that is no error.
            let _ = self.provider.metrics.tokens.remove_label_values(&self.labels(kind));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn a_model_counts_on_from_table_to_table_and_takes_its_series_along() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let provider = metrics.provider("default", "p1");
        let usage = Usage { input: Some(3), cached_input: None, output: Some(4) };
        let old = provider.tokens("default/m1");
        old.used(usage);
        let new = provider.tokens("default/m1");
        drop(old);
        new.used(usage);
        let text = metrics.render();
        let line = |kind, n| {
            format!(
                "nimgate_tokens_total{{kind=\"{kind}\",model=\"default/m1\",provider=\"p1\",workspace=\"default\"}} {n}"
            )
        };
        assert!(text.contains(&line("input", 6)) && text.contains(&line("output", 8)), "{text}");
        assert!(!text.contains("cached_input"), "nobody said anything of a cache");
        drop(new);
        assert!(!metrics.render().contains("default/m1"));
    }
}
