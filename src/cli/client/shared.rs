//! What the arguments of many commands have in common.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::parse::{self, Filter};

pub const URL_DEFAULT: &str = "http://127.0.0.1:8080";
const URL_VARIABLE: &str = "NIMGATE_URL";
const WORKSPACE_DEFAULT: &str = "default";
const WORKSPACE_VARIABLE: &str = "NIMGATE_WORKSPACE";
/// What every command has stands apart in its help.
const HEADING: &str = "Gateway and answer";

// No docs on the variants: they would make every help text twice as long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Table,
    Json,
    Yaml,
}

/// Which gateway, which workspace, and how to show the answer.
#[derive(Debug, Clone, Args)]
pub struct Connection {
    /// Address of the gateway
    #[arg(help_heading = HEADING, long, visible_alias = "gateway-url", value_name = "URL", env = URL_VARIABLE, default_value = URL_DEFAULT)]
    pub url: String,
    #[command(flatten)]
    pub view: View,
}

/// The same for commands whose own `--url` means something else.
#[derive(Debug, Clone, Args)]
pub struct FarConnection {
    /// Address of the gateway
    #[arg(help_heading = HEADING, long, value_name = "URL", env = URL_VARIABLE, default_value = URL_DEFAULT)]
    pub gateway_url: String,
    #[command(flatten)]
    pub view: View,
}

#[derive(Debug, Clone, Args)]
pub struct View {
    /// Workspace
    #[arg(help_heading = HEADING, long, short = 'w', value_name = "NAME", env = WORKSPACE_VARIABLE, default_value = WORKSPACE_DEFAULT)]
    pub workspace: String,
    /// Form of the answer
    #[arg(help_heading = HEADING, long, short = 'o', value_enum, default_value = "table")]
    pub output: Output,
    /// Further root for a gateway that speaks TLS (PEM)
    #[arg(help_heading = HEADING, long, value_name = "FILE", env = "NIMGATE_CA")]
    pub ca: Option<PathBuf>,
}

impl From<FarConnection> for Connection {
    fn from(far: FarConnection) -> Self {
        Self { url: far.gateway_url, view: far.view }
    }
}

impl Connection {
    /// What to add to a further command so that it means the same gateway and workspace.
    pub fn repeated(&self) -> String {
        let workspace = repeated("--workspace", &self.view.workspace, WORKSPACE_VARIABLE, WORKSPACE_DEFAULT);
        format!("{}{workspace}", self.gateway_repeated())
    }

    /// The same for commands that belong to no workspace.
    pub fn gateway_repeated(&self) -> String {
        repeated("--gateway-url", &self.url, URL_VARIABLE, URL_DEFAULT)
    }
}

/// Nothing where the environment or the default says the same.
fn repeated(flag: &str, value: &str, variable: &str, default: &str) -> String {
    let implied = std::env::var(variable).unwrap_or_else(|_| default.to_owned());
    if value == implied { String::new() } else { format!(" {flag} {value}") }
}

/// A command about one named thing.
#[derive(Debug, Args)]
pub struct Named {
    /// Its name
    pub name: String,
    #[command(flatten)]
    pub connection: Connection,
}

/// A file that holds the body of a request.
#[derive(Debug, Clone, Default, Args)]
pub struct Source {
    /// Read the fields from a JSON or YAML file, - for standard input; flags win over it
    #[arg(long, short = 'f', value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// A thing to create: its name, and what `F` can say about it.
#[derive(Debug, Args)]
pub struct Create<F: Args, C: Args = Connection> {
    /// Its name; may stand in --file instead
    #[arg(required_unless_present = "file")]
    pub name: Option<String>,
    #[command(flatten)]
    pub fields: F,
    #[command(flatten)]
    pub source: Source,
    /// Take the one that is there already, if there is one, as it is
    #[arg(long)]
    pub exist_ok: bool,
    #[command(flatten)]
    pub connection: C,
}

/// A thing to change. An empty value clears a field.
#[derive(Debug, Args)]
pub struct Update<F: Args, C: Args = Connection> {
    /// Its name
    pub name: String,
    #[command(flatten)]
    pub fields: F,
    #[command(flatten)]
    pub source: Source,
    #[command(flatten)]
    pub connection: C,
}

/// Whose things a list shows.
#[derive(Debug, Args)]
pub struct Scope {
    #[command(flatten)]
    pub connection: Connection,
    /// Those of all workspaces
    #[arg(long, short = 'A')]
    pub all_workspaces: bool,
}

/// Which things a list shows, and in which order.
#[derive(Debug, Default, Args)]
pub struct Order {
    /// Only those with this value (FIELD=VALUE), this part (FIELD~TEXT) or in this range (FIELD>=VALUE,
    /// FIELD<=VALUE); may be repeated
    #[arg(long = "filter", value_name = "FIELD=VALUE", value_parser = parse::filter)]
    pub filters: Vec<Filter>,
    /// Order by name, created_at or updated_at; -name turns it round
    #[arg(long, value_name = "FIELD", allow_hyphen_values = true)]
    pub sort: Option<String>,
}

#[derive(Debug, Args)]
pub struct Listing {
    #[command(flatten)]
    pub order: Order,
    #[command(flatten)]
    pub scope: Scope,
}
