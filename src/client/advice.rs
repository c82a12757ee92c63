//! The next step after a refusal, read from what the server wrote about it.
//!
//! The words of the server are free, so that a text which is not understood simply gets no advice.

use http::StatusCode;

/// `at` repeats gateway and workspace, `gateway_at` the gateway alone.
pub fn next_step(status: StatusCode, message: &str, at: &str, gateway_at: &str) -> Option<String> {
    let low = message.to_ascii_lowercase();
    let absent = low.contains("not found") || low.contains("not exist");
    if absent && low.starts_with("workspace ") {
        return Some(format!("make it: nimgate workspace create {}{gateway_at}", named(message)?));
    }
    let no_route = (status == StatusCode::NOT_FOUND && message == "Not Found")
        || (status == StatusCode::METHOD_NOT_ALLOWED && message == "Method Not Allowed");
    if no_route {
        return Some("this gateway has no such function; compare: nimgate --version".to_owned());
    }
    if absent && low.starts_with("model with workspace") {
        return Some(format!("see what there is: nimgate model list --entities{at}"));
    }
    // A 404 is about the thing itself; these are about things that a request refers to.
    let refers = status == StatusCode::BAD_REQUEST || status == StatusCode::UNPROCESSABLE_ENTITY;
    if !(absent && refers) {
        return None;
    }
    let name = named(message).unwrap_or("NAME");
    let step = |command: String| Some(format!("{command}{at}"));
    match () {
        () if low.contains("secret") => {
            step(format!("store it: nimgate secret create {name} --from-env VARIABLE"))
        }
        () if low.contains("fileset") => step(format!("make it: nimgate fileset create {name}")),
        () if low.contains("config") => step("see what there is: nimgate deployment-config list".to_owned()),
        () => None,
    }
}

/// The name in a text: in quotes, or the last word with a slash; without its workspace.
fn named(message: &str) -> Option<&str> {
    let quoted = message.split('\'').nth(1);
    let with_slash = || message.split_whitespace().rfind(|word| word.contains('/'));
    let name = quoted.or_else(with_slash)?;
    let name = name.rsplit('/').next()?.trim_end_matches(['.', ':', ',', ';']);
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@+".contains(c);
    (!name.is_empty() && name.chars().all(plain)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(status: u16, message: &str) -> Option<String> {
        next_step(StatusCode::from_u16(status).unwrap(), message, " -w w", " -g")
    }

    #[test]
    fn what_a_request_refers_to_can_be_made() {
        for (status, message, advice) in [
            (
                422,
                "Workspace 'nows' does not exist. Please create the workspace first.",
                "make it: nimgate workspace create nows -g",
            ),
            (404, "Workspace 'nope' not found", "make it: nimgate workspace create nope -g"),
            (
                400,
                "api_key_secret_name: Secret 'k' not found in workspace 'w'; create it first",
                "store it: nimgate secret create k --from-env VARIABLE -w w",
            ),
            (400, "Secret w/k not found", "store it: nimgate secret create k --from-env VARIABLE -w w"),
            (
                404,
                "Model with workspace 'w' and name 'm' not found",
                "see what there is: nimgate model list --entities -w w",
            ),
            (400, "Fileset 'fs' not found in workspace 'w'", "make it: nimgate fileset create fs -w w"),
            (
                400,
                "Deployment config 'default/c' not found",
                "see what there is: nimgate deployment-config list -w w",
            ),
        ] {
            assert_eq!(step(status, message).as_deref(), Some(advice), "{message}");
        }
    }

    #[test]
    fn what_is_not_understood_gets_no_advice() {
        for (status, message) in
            [(404, "Secret default/k not found"), (400, "secret is too long"), (500, "not found"), (404, "")]
        {
            assert_eq!(step(status, message), None, "{message}");
        }
    }

    #[test]
    fn no_text_of_a_server_becomes_a_command_line() {
        for message in ["Secret 'a; rm -rf b' not found", "Secret '$(x)' not found", "Secret '' not found"] {
            let advice = step(400, message).unwrap();
            assert!(advice.contains("create NAME "), "{advice}");
        }
    }
}
