//! `nimgate explain` and `nimgate routes`: what the admin listener tells.

use serde_json::Value;

use super::error::ClientError;
use super::http::{ADMIN, Http, encoded};
use super::output;
use crate::cli::{ExplainArgs, Output, RoutesArgs};

pub async fn explain(args: ExplainArgs) -> Result<(), ClientError> {
    let http = Http::new(&args.view.admin.admin_url, ADMIN, None)?;
    let mut path = format!("/explain?path={}", encoded(&args.path));
    if let Some(model) = &args.model {
        path.push_str(&format!("&model={}", encoded(model)));
    }
    show(&http.get(&path).await?, args.view.output)
}

pub async fn routes(args: RoutesArgs) -> Result<(), ClientError> {
    let http = Http::new(&args.view.admin.admin_url, ADMIN, None)?;
    show(&http.get("/routes").await?, args.view.output)
}

fn show(value: &Value, form: Output) -> Result<(), ClientError> {
    output::show(form, value, || output::push(&output::outline(value)))
}
