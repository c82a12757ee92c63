//! Arguments of `nimgate prompt`.

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::fields::About;
use super::parse::{json_list, json_object};
use super::shared::{Create, Listing, Named, Update};

#[derive(Debug, Subcommand)]
pub enum PromptCommand {
    /// Keep a prompt.
    #[command(after_help = "\
Examples:
  nimgate prompt create summary --system 'You are brief.' --user 'Sum up: {{text}}' \\
      --input-variables text
  nimgate prompt create --file prompt.yaml")]
    Create(Create<PromptFields>),
    /// All prompts of the workspace.
    #[command(after_help = "Example:\n  nimgate prompt list --sort name")]
    List(Listing),
    /// One prompt.
    #[command(after_help = "Example:\n  nimgate prompt get summary -o yaml")]
    Get(Named),
    /// Change what is named; the rest stays. With --file everything is replaced.
    #[command(
        after_help = "Example:\n  nimgate prompt update summary --temperature 0.2 --tags short,reviewed"
    )]
    Update(Update<PromptFields>),
    /// Delete a prompt.
    #[command(after_help = "Example:\n  nimgate prompt delete summary")]
    Delete(Named),
}

#[derive(Debug, Default, Args)]
pub struct PromptFields {
    /// System message; --system and --user are all the messages
    #[arg(long, value_name = "TEXT", conflicts_with = "messages")]
    pub system: Option<String>,
    /// User message
    #[arg(long, value_name = "TEXT", conflicts_with = "messages")]
    pub user: Option<String>,
    /// JSON list of {role, content}
    #[arg(long, value_name = "JSON", value_parser = json_list)]
    pub messages: Option<Value>,
    /// Variables of its messages; may be repeated
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub input_variables: Vec<String>,
    /// JSON list of tools
    #[arg(long, value_name = "JSON", value_parser = json_list)]
    pub tools: Option<Value>,
    /// JSON object: the form of the answer
    #[arg(long, value_name = "JSON", value_parser = json_object)]
    pub response_format: Option<Map<String, Value>>,
    /// Model it was written for
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// 0 for the likeliest answer, higher for more variety
    #[arg(long, value_name = "T")]
    pub temperature: Option<f64>,
    /// Longest answer, in tokens
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<u32>,
    /// Words to find it by; may be repeated
    #[arg(long, value_name = "WORD", value_delimiter = ',')]
    pub tags: Vec<String>,
    #[command(flatten)]
    pub about: About,
}
