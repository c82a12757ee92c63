//! `nimgate explain` and `nimgate routes`: what the admin listener tells.

use serde_json::Value;

use super::error::ClientError;
use super::explained;
use super::http::{ADMIN, Http, encoded};
use super::output;
use crate::cli::{ExplainArgs, Output, RoutesArgs};

pub async fn explain(args: ExplainArgs) -> Result<(), ClientError> {
    let http = Http::new(&args.view.admin.admin_url, ADMIN, None)?;
    if !args.target.contains('/') {
        let answer = http.get(&format!("/explain?request={}", encoded(&args.target))).await?;
        return output::show(args.view.output, &answer, || {
            output::push(&explained::accounts(&answer, output::columns()))
        });
    }
    let mut path = format!("/explain?path={}", encoded(&args.target));
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
