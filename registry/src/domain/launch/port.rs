//! Where a container listens, when the user told it. A process is told by us.

use super::args;
use super::plan::{Draft, EnvSource};
use crate::domain::deployment_config::Engine;
use crate::domain::deployment_spec::{SpecError, refused};

/// As variables of the engine or `--port` say; else `default`.
pub fn of(engine: Engine, draft: &Draft, default: u16) -> Result<u16, SpecError> {
    let variables: &[&str] = match engine {
        Engine::Nim => &["NIM_SERVER_PORT", "NIM_HTTP_API_PORT"],
        Engine::Vllm => &[],
        Engine::Generic => &["PORT"],
    };
    let argument = args::last(&draft.args, "--port").filter(|_| engine != Engine::Nim);
    let variable = variables.iter().find_map(|name| match draft.env.get(*name)? {
        EnvSource::Plain(value) => Some(("additional_envs", value.as_str())),
        EnvSource::Secret(_) => None,
    });
    match argument.map(|value| ("additional_args", value)).or(variable) {
        None => Ok(default),
        Some((field, text)) => match text.parse() {
            Ok(port) if port != 0 => Ok(port),
            _ => Err(refused(field, format!("{text:?} is not a port, 1 to 65535"))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(engine: Engine, args: &[&str], env: &[(&str, &str)]) -> Result<u16, SpecError> {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let mut draft = Draft { args, ..Draft::default() };
        env.iter().for_each(|(name, value)| draft.env(name, *value));
        of(engine, &draft, 8000)
    }

    #[test]
    fn the_user_may_move_the_port() {
        assert_eq!(port(Engine::Vllm, &[], &[("PORT", "1")]), Ok(8000));
        assert_eq!(port(Engine::Vllm, &["--port", "1", "--port=9000"], &[]), Ok(9000));
        assert_eq!(port(Engine::Generic, &["--port", "8080"], &[("PORT", "1")]), Ok(8080));
        assert_eq!(port(Engine::Generic, &["--port-range", "9"], &[("PORT", "30000")]), Ok(30000));
        assert_eq!(port(Engine::Nim, &[], &[("NIM_HTTP_API_PORT", "9000")]), Ok(9000));
    }

    #[test]
    fn what_is_no_port_is_refused_by_field() {
        for (args, env, field) in [
            (["--port=x"].as_slice(), [].as_slice(), "additional_args"),
            (&["--port", "0"], &[], "additional_args"),
            (&[], &[("PORT", "70000")], "additional_envs"),
        ] {
            assert_eq!(port(Engine::Generic, args, env).unwrap_err().field, field);
        }
    }
}
