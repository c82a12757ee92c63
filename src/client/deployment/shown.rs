//! What a person sees of a wait: each step once, and how far a pull is. A bar on a terminal, else a line now and then.

use std::io::{self, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use tokio::time::Instant;

use super::history::Entry;
use crate::cli::Output;
use crate::client::error::ClientError;
use crate::client::output;

/// Where there is no bar, a pull is told of this often.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
const BAR: &str = "  {spinner} {bar:30} {bytes}/{total_bytes}, {msg} ({elapsed})";
/// Below the status, which stands after time and state.
const INDENT: &str = "\n                     ";

/// How far a pull is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    bytes_done: u64,
    bytes_total: u64,
    layers_done: u64,
    layers_total: u64,
}

impl Progress {
    pub fn of(deployment: &Value) -> Option<Self> {
        let progress = deployment.get("progress").filter(|progress| progress.is_object())?;
        let number = |field: &str| progress[field].as_u64().unwrap_or_default();
        Some(Self {
            bytes_done: number("bytes_done"),
            bytes_total: number("bytes_total"),
            layers_done: number("layers_done"),
            layers_total: number("layers_total"),
        })
    }
}

pub struct Shown {
    form: Output,
    spinner: ProgressBar,
    pull: Option<Pull>,
}

struct Pull {
    bar: ProgressBar,
    told: Instant,
}

/// Whatever was drawn goes.
impl Drop for Shown {
    fn drop(&mut self) {
        self.end_pull();
        self.spinner.finish_and_clear();
    }
}

impl Shown {
    pub fn new(what: String, form: Output) -> Self {
        Self { form, spinner: output::spinner(what), pull: None }
    }

    /// Shows the entries that are new. While something is pulled the last of them says how far it is.
    pub fn step(&mut self, news: &[Entry], progress: Option<Progress>) -> Result<(), ClientError> {
        let Some(progress) = progress else {
            self.end_pull();
            return self.tell(news);
        };
        match &self.pull {
            None => self.begin_pull(news)?,
            Some(pull) if pull.bar.is_hidden() && pull.told.elapsed() >= LINE_INTERVAL => {
                self.tell(news.last().map(std::slice::from_ref).unwrap_or_default())?;
                if let Some(pull) = &mut self.pull {
                    pull.told = Instant::now();
                }
            }
            Some(_) => {}
        }
        if let Some(Pull { bar, .. }) = &self.pull {
            bar.set_length(progress.bytes_total);
            bar.set_position(progress.bytes_done);
            bar.set_message(format!("{} of {} layers", progress.layers_done, progress.layers_total));
        }
        Ok(())
    }

    /// What is pulled is said once; the figures are the bar's.
    fn begin_pull(&mut self, news: &[Entry]) -> Result<(), ClientError> {
        let mut news = news.to_vec();
        if let Some(last) = news.last_mut()
            && let Some((what, _)) = last.message.rsplit_once(": ")
        {
            last.message = what.to_owned();
        }
        self.tell(&news)?;
        self.spinner.finish_and_clear();
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template(BAR) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        self.pull = Some(Pull { bar, told: Instant::now() });
        Ok(())
    }

    fn end_pull(&mut self) {
        let Some(pull) = self.pull.take() else { return };
        pull.bar.finish_and_clear();
        self.spinner = output::spinner(self.spinner.message());
    }

    fn tell(&self, news: &[Entry]) -> Result<(), ClientError> {
        let bar = self.pull.as_ref().map_or(&self.spinner, |pull| &pull.bar);
        bar.suspend(|| news.iter().try_for_each(|entry| tell(entry, self.form)))
    }
}

/// Steps are for people: where the answer is data they go to standard error.
fn tell(entry: &Entry, form: Output) -> Result<(), ClientError> {
    let text = line(entry);
    match form {
        Output::Table => output::say(&text),
        Output::Json | Output::Yaml => {
            // A step that nobody can read is no reason to stop.
            let _ = writeln!(io::stderr(), "{text}");
            Ok(())
        }
    }
}

fn line(entry: &Entry) -> String {
    let clock = entry.timestamp.split_once('T').map_or("", |(_, time)| time.get(..8).unwrap_or(""));
    let message = output::plain(entry.message.trim_end()).replace('\n', INDENT);
    format!("{clock:<8}  {:<9}  {message}", output::line(&entry.status)).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(message: &str) -> Entry {
        let timestamp = "2026-01-31T12:00:00.5Z".to_owned();
        Entry { status: "PENDING".into(), message: message.into(), timestamp }
    }

    #[test]
    fn last_words_stand_below_one_another() {
        let shown = line(&entry("It exited. Its last words:\nboom\u{1b}[2J\n"));
        assert_eq!(shown, format!("12:00:00  PENDING    It exited. Its last words:{INDENT}boom[2J"));
    }

    #[test]
    fn how_far_it_is_is_read_from_its_own_field() {
        let pull = json!({"phase": "pulling", "bytes_done": 3, "bytes_total": 9, "layers_done": 1, "layers_total": 2});
        let expected = Progress { bytes_done: 3, bytes_total: 9, layers_done: 1, layers_total: 2 };
        assert_eq!(Progress::of(&json!({ "progress": pull })), Some(expected));
        assert_eq!(Progress::of(&json!({ "progress": null })), None);
        assert_eq!(Progress::of(&json!({})), None);
    }

    #[tokio::test]
    async fn a_pull_is_told_once_and_then_by_its_bar() {
        let mut shown = Shown::new("waiting".into(), Output::Json);
        let progress =
            |done| Some(Progress { bytes_done: done, bytes_total: 9, layers_done: 0, layers_total: 2 });
        shown.step(&[entry("Pulling image x:1: 0 MB of 9 MB")], progress(1)).unwrap();
        shown.step(&[entry("Pulling image x:1: 1 MB of 9 MB")], progress(4)).unwrap();
        let bar = shown.pull.as_ref().map(|pull| (pull.bar.position(), pull.bar.length()));
        assert_eq!(bar, Some((4, Some(9))));
        shown.step(&[entry("Created and starting")], None).unwrap();
        assert!(shown.pull.is_none());
    }
}
