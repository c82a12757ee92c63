//! The engine's events, as wakes. Events are hints: what they say is not read.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::time::sleep;

use super::super::id::{Installation, LABEL_INSTALLATION};
use super::running::Running;
use crate::domain::timestamp::Timestamp;

/// Pause before an engine that is away is asked again; doubled up to the last.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_LAST: Duration = Duration::from_secs(10);
/// What changes the list. Health checks and `exec` are left out.
const EVENTS: [&str; 8] = ["create", "start", "die", "oom", "stop", "destroy", "pause", "unpause"];

type Events = BoxStream<'static, Result<EventMessage, bollard::errors::Error>>;

enum Following {
    Not { pause: Duration },
    Events(Events),
}

pub fn changes(host: String, installation: Installation, running: Arc<Running>) -> BoxStream<'static, ()> {
    let first = Following::Not { pause: Duration::ZERO };
    let following = stream::unfold((first, host, installation), async |(mut state, host, installation)| {
        loop {
            state = match state {
                Following::Not { pause } => {
                    sleep(pause).await;
                    match follow(&host, &installation).await {
                        // What happened while nobody followed is unknown.
                        Some(events) => return Some(((), (Following::Events(events), host, installation))),
                        None => Following::Not { pause: (pause * 2).clamp(RETRY_FIRST, RETRY_LAST) },
                    }
                }
                Following::Events(mut events) => match events.next().await {
                    Some(Ok(_)) => return Some(((), (Following::Events(events), host, installation))),
                    // The engine went away: that is a change too.
                    Some(Err(_)) | None => {
                        let away = Following::Not { pause: RETRY_FIRST };
                        return Some(((), (away, host, installation)));
                    }
                },
            };
        }
    });
    // What was seen before may be over: the engine tells of an end before its own list shows it.
    stream::once(async {}).chain(following).inspect(move |()| running.forget()).boxed()
}

/// Events from now on, by the engine's own clock: none is lost between this call and the first look at them.
async fn follow(host: &str, installation: &Installation) -> Option<Events> {
    let client = Docker::connect_with_host(host).ok()?;
    let info = client.clone().with_timeout(super::CALL_TIMEOUT).info().await.ok()?;
    let now = info.system_time.as_deref().and_then(Timestamp::from_wire);
    let since = now.map_or_else(|| "0".into(), |now| now.seconds().to_string());
    let label = format!("{LABEL_INSTALLATION}={}", installation.as_str());
    let mut filters = HashMap::from([("type", vec!["container".to_owned()]), ("label", vec![label])]);
    filters.insert("event", EVENTS.map(str::to_owned).into());
    let options = EventsOptionsBuilder::new().since(&since).filters(&filters).build();
    Some(client.with_timeout(super::STREAM_TIMEOUT).events(Some(options)).boxed())
}
