//! `nimgate provider presets`.

use serde_json::Value;

use crate::cli::PresetsArgs;
use crate::client::api::Api;
use crate::client::error::ClientError;
use crate::client::noun::{Cell, Column};
use crate::client::output::{self, Table};

const PATH: &str = "/apis/models/v2/provider-presets";

const COLUMNS: [Column; 4] = [
    Column("PRESET", Cell::Text("/name")),
    Column("PROVIDER", Cell::Text("/title")),
    Column("URL", Cell::Of(url)),
    Column("KEY VARIABLE", Cell::Text("/key_variable")),
];

pub async fn list(args: PresetsArgs) -> Result<(), ClientError> {
    let api = Api::new(&args.connection)?;
    let answer = api.get(PATH).await?;
    let presets = &answer["data"];
    output::show(args.connection.view.output, presets, || {
        let mut table = Table::new(&COLUMNS.each_ref().map(|column| column.0));
        for preset in presets.as_array().into_iter().flatten() {
            table.row(&COLUMNS.each_ref().map(|column| column.cell(preset)));
        }
        table.print()?;
        output::say(&format!(
            "\nnext: nimgate provider create NAME --preset PRESET --key-env VARIABLE --model MODEL{}",
            api.at
        ))
    })
}

fn url(preset: &Value) -> String {
    preset["host_url"].as_str().unwrap_or("(give --base-url)").to_owned()
}
