//! The command line: what can be typed, and nothing of what it does.

mod client;
mod registry;
mod serve;

use clap::{Parser, Subcommand};

pub use client::*;
pub use registry::{BackupArgs, RegistryCommand, RotateArgs, VerifyArgs};
pub use serve::{
    CheckArgs, ConfigCommand, DemoArgs, GatewayArgs, KeygenArgs, NimSimArgs, RegistryArgs, ServeArgs,
    ServeCommand, UpArgs,
};

/// One address for every model: an inference gateway for NIM containers and hosted providers.
#[derive(Debug, Parser)]
#[command(name = "nimgate", version, max_term_width = HELP_WIDTH_MAX, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

const HELP_WIDTH_MAX: usize = 100;

const EXAMPLES: &str = "\
First steps:
  nimgate demo                                     see it work, with a simulated model server
  nimgate up                                       serve on http://127.0.0.1:8080
  nimgate provider create build --preset nvidia --key-env NVIDIA_API_KEY
  nimgate model list
  nimgate chat MODEL \"Say hello\"

Exit codes: 0 done, 1 failed, 2 wrong usage, 64 bad configuration, 130 interrupted.";

#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(flatten)]
    Serve(ServeCommand),
    #[command(flatten)]
    Client(ClientCommand),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Cli::try_parse_from(line.split_whitespace()).map(|cli| cli.command)
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_examples_in_its_help() {
        for command in Cli::command().get_subcommands().filter(|command| command.get_name() != "help") {
            let mut leaves: Vec<_> = command.get_subcommands().collect();
            if leaves.is_empty() {
                leaves.push(command);
            }
            for leaf in leaves {
                let help = leaf.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("nimgate "), "{} {}", command.get_name(), leaf.get_name());
                let widest = help.lines().map(|line| line.chars().count()).max().unwrap_or(0);
                assert!(widest <= HELP_WIDTH_MAX, "wrapped: {} {}", command.get_name(), leaf.get_name());
            }
        }
    }

    #[test]
    fn the_url_of_a_provider_is_not_the_url_of_the_gateway() {
        let line = "nimgate provider create p --url http://up:1 --gateway-url http://gate:2";
        let Ok(Command::Client(ClientCommand::Provider(command))) = parse(line) else {
            panic!("not a provider")
        };
        let ProviderCommand::Create(ProviderCreateArgs { create, .. }) = *command else {
            panic!("nothing to create")
        };
        assert_eq!(
            (create.fields.url.as_deref(), create.connection.gateway_url.as_str()),
            (Some("http://up:1"), "http://gate:2")
        );
        for line in ["nimgate status --url http://gate:2", "nimgate status --gateway-url http://gate:2"] {
            let Ok(Command::Client(ClientCommand::Status(status))) = parse(line) else { panic!("no status") };
            assert_eq!(status.connection.url, "http://gate:2");
        }
    }

    #[test]
    fn a_noun_may_be_typed_in_the_plural() {
        for line in
            ["nimgate providers list", "nimgate dc versions c", "nimgate vm list -A", "nimgate files list f"]
        {
            assert!(parse(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn the_name_of_a_thing_to_create_may_stand_in_its_file() {
        assert!(parse("nimgate prompt create --file p.yaml").is_ok());
        assert!(parse("nimgate prompt update --file p.yaml").is_err());
    }

    #[test]
    fn wrong_usage_is_exit_code_two() {
        for line in [
            "nimgate",
            "nimgate upp",
            "nimgate chat",
            "nimgate secret create n --value v --from-env V",
            "nimgate prompt create",
            "nimgate provider list --filter status",
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
