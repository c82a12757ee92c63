//! Lists: which things, in which order, and how they are shown.

use serde_json::Value;

use super::Noun;
use super::columns::{Cell, Column};
use crate::cli::{Comparison, Connection, Filter, Listing, Order, Scope, WorkspaceListing};
use crate::client::api::Api;
use crate::client::error::ClientError;
use crate::client::http::encoded;
use crate::client::output::{self, Table};

const WORKSPACE: Column = Column("WORKSPACE", Cell::Text("/workspace"));

/// A list to show.
pub struct List {
    connection: Connection,
    all_workspaces: bool,
    order: Order,
    /// A further condition, as it stands in the query.
    also: &'static str,
}

impl From<Listing> for List {
    fn from(listing: Listing) -> Self {
        Self { order: listing.order, ..listing.scope.into() }
    }
}

impl From<Scope> for List {
    fn from(scope: Scope) -> Self {
        let Scope { connection, all_workspaces } = scope;
        Self { connection, all_workspaces, order: Order::default(), also: "" }
    }
}

impl From<WorkspaceListing> for List {
    fn from(WorkspaceListing { order, connection }: WorkspaceListing) -> Self {
        Self { connection, all_workspaces: false, order, also: "" }
    }
}

impl List {
    /// Adds a condition such as `all_versions=true` when it is wanted.
    pub fn also(self, wanted: bool, condition: &'static str) -> Self {
        if wanted { Self { also: condition, ..self } } else { self }
    }

    fn query(&self) -> String {
        let mut query = String::new();
        let mut add =
            |key: &str, value: &str| query.push_str(&format!("&{}={}", encoded(key), encoded(value)));
        for Filter { field, comparison, value } in &self.order.filters {
            let operator = match comparison {
                Comparison::Equal => "",
                Comparison::Contains => "[$like]",
                Comparison::AtLeast => "[$gte]",
                Comparison::AtMost => "[$lte]",
            };
            add(&format!("filter[{field}]{operator}"), value);
        }
        if let Some(sort) = &self.order.sort {
            add("sort", sort);
        }
        if let Some((key, value)) = self.also.split_once('=') {
            add(key, value);
        }
        query
    }
}

impl Noun {
    pub async fn list(&self, list: impl Into<List>) -> Result<(), ClientError> {
        let list = list.into();
        let mut api = Api::new(&list.connection)?;
        if list.all_workspaces {
            api = api.of_all_workspaces();
        }
        let values = api.all(&self.all(&api), &list.query()).await?;
        let form = list.connection.view.output;
        let empty = if list.order.filters.is_empty() { self.first } else { "" };
        output::show(form, &values, || self.table(&values, list.all_workspaces, empty, self.at(&api)))
    }

    /// `empty` says how to make the first one.
    pub fn table(
        &self,
        values: &[Value],
        with_workspace: bool,
        empty: &str,
        at: &str,
    ) -> Result<(), ClientError> {
        if values.is_empty() {
            let none = format!("no {}", self.collection.replace('-', " "));
            return match empty {
                "" => output::say(&none),
                first => output::say(&format!("{none}; make one: {first}{at}")),
            };
        }
        let columns: Vec<&Column> =
            with_workspace.then_some(&WORKSPACE).into_iter().chain(self.columns).collect();
        let mut table = Table::new(&columns.iter().map(|column| column.0).collect::<Vec<_>>());
        for value in values {
            table.row(&columns.iter().map(|column| column.cell(value)).collect::<Vec<_>>());
        }
        table.print()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, ClientCommand, Command, DeploymentCommand};

    #[test]
    fn conditions_become_the_query_of_the_list() {
        let line = "nimgate deployment list --filter status=READY --filter name~a&b --filter created_at>=2026 \
                    --sort -name --all-versions";
        let Ok(Command::Client(ClientCommand::Deployment(DeploymentCommand::List(args)))) =
            Cli::try_parse_from(line.split_whitespace()).map(|cli| cli.command)
        else {
            panic!("not a list of deployments")
        };
        let list = List::from(args.listing).also(args.all_versions, "all_versions=true");
        assert_eq!(
            list.query(),
            "&filter%5Bstatus%5D=READY&filter%5Bname%5D%5B%24like%5D=a%26b&filter%5Bcreated_at%5D%5B%24gte%5D=2026\
             &sort=-name&all_versions=true"
        );
    }
}
