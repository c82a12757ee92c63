//! `nimgate deployment logs`: what its instances print, as it comes.
//!
//! What must stay true: of a line without an end, a bounded part is held. What a model server printed cannot
//! steer a terminal; into a file or a pipe it goes as it came.

use http::StatusCode;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::DEPLOYMENT;
use crate::cli::LogsArgs;
use crate::client::api::Api;
use crate::client::error::ClientError;
use crate::client::output;

/// A longer line is shown in pieces.
const LINE_BYTES_MAX: usize = 64 * 1024;

pub async fn run(args: LogsArgs) -> Result<(), ClientError> {
    let api = Api::new(&args.connection)?;
    let LogsArgs { name, follow, tail, since, .. } = &args;
    let since = since.map(|seconds| format!("&since={seconds}")).unwrap_or_default();
    let path = format!("{}/logs?tail={tail}&follow={follow}{since}", DEPLOYMENT.one(&api, name));
    tokio::select! {
        shown = show(&api, &path, name, *follow) => shown,
        _ = tokio::signal::ctrl_c() => Err(ClientError::Interrupted),
    }
}

async fn show(api: &Api, path: &str, name: &str, follow: bool) -> Result<(), ClientError> {
    let response = api.http.open_get(path).await?;
    let status = response.status();
    if !status.is_success() {
        let bytes = api.http.read(response).await?;
        let at = &api.at;
        return Err(ClientError::answer(status, &bytes)
            .or_try(StatusCode::NOT_FOUND, || format!("see what there is: nimgate deployment list{at}"))
            .or_try(StatusCode::CONFLICT, || format!("look at it: nimgate deployment get {name}{at}")));
    }
    let is_empty = !pass_on(api, response.into_body()).await?;
    if is_empty && !follow {
        let at = &api.at;
        eprintln!(
            "deployment {name} printed nothing yet\n  wait for it: nimgate deployment logs {name} -f{at}"
        );
    }
    Ok(())
}

/// Says whether there was anything.
async fn pass_on(api: &Api, mut body: Incoming) -> Result<bool, ClientError> {
    let mut lines = output::terminal().then(Lines::default);
    let mut is_any = false;
    while let Some(frame) = body.frame().await {
        let Ok(bytes) = frame.map_err(|e| api.http.broken(e))?.into_data() else { continue };
        is_any |= !bytes.is_empty();
        match &mut lines {
            Some(lines) => output::push(&lines.feed(&bytes))?,
            None => output::push_bytes(&bytes)?,
        }
    }
    if let Some(mut lines) = lines {
        output::push(&lines.rest())?;
    }
    Ok(is_any)
}

/// Holds a line back until all of it is there.
#[derive(Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn feed(&mut self, bytes: &[u8]) -> String {
        self.0.extend_from_slice(bytes);
        let whole = match self.0.iter().rposition(|&byte| byte == b'\n') {
            Some(end) => end + 1,
            None if self.0.len() >= LINE_BYTES_MAX => self.0.len(),
            None => 0,
        };
        harmless(&self.0.drain(..whole).collect::<Vec<_>>())
    }

    fn rest(&mut self) -> String {
        harmless(&std::mem::take(&mut self.0))
    }
}

fn harmless(bytes: &[u8]) -> String {
    output::plain(&console::strip_ansi_codes(&String::from_utf8_lossy(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_and_without_colours_wherever_they_were_cut() {
        let text = "a \u{1b}[32mgreen\u{1b}[0m é\nb\u{7}\n".as_bytes();
        for at in 0..text.len() {
            let mut lines = Lines::default();
            let shown = [lines.feed(&text[..at]), lines.feed(&text[at..]), lines.rest()].concat();
            assert_eq!(shown, "a green é\nb\n", "cut at {at}");
        }
    }

    #[test]
    fn of_a_line_without_an_end_little_is_held() {
        let mut lines = Lines::default();
        for _ in 0..100 {
            lines.feed(&[b'x'; 10_000]);
            assert!(lines.0.len() < LINE_BYTES_MAX + 10_000);
        }
    }
}
