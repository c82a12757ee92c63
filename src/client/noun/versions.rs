//! Verbs of kinds that have versions.

use serde_json::Value;

use super::Noun;
use super::tell::show_one;
use crate::cli::{Named, VersionNamed};
use crate::client::api::Api;
use crate::client::error::ClientError;
use crate::client::output;

impl Noun {
    /// The object, or one version of it.
    fn at_version(&self, api: &Api, args: &VersionNamed) -> String {
        let one = self.one(api, &args.name);
        args.version.map_or(one.clone(), |number| format!("{one}/versions/{number}"))
    }

    pub async fn get_version(&self, args: VersionNamed) -> Result<(), ClientError> {
        show_one(args.connection.view.output, &self.fetch_version(&args).await?)
    }

    pub async fn fetch_version(&self, args: &VersionNamed) -> Result<Value, ClientError> {
        let api = Api::new(&args.connection)?;
        api.get(&self.at_version(&api, args)).await.map_err(|e| self.see_list(&api, e))
    }

    pub async fn delete_version(&self, api: &Api, args: &VersionNamed) -> Result<Value, ClientError> {
        api.delete(&self.at_version(api, args)).await.map_err(|e| self.see_list(api, e))
    }

    pub async fn versions(&self, args: Named) -> Result<(), ClientError> {
        let api = Api::new(&args.connection)?;
        let path = format!("{}/versions", self.one(&api, &args.name));
        let answer = api.get(&path).await.map_err(|e| self.see_list(&api, e))?;
        let versions = answer.as_array().map(Vec::as_slice).unwrap_or_default();
        if versions.is_empty() {
            let (noun, name, at) = (self.name, &args.name, self.at(&api));
            let none = format!("no {noun} has the name {name}\n  see what there is: nimgate {noun} list{at}");
            return Err(ClientError::Said(none));
        }
        output::show(args.connection.view.output, &answer, || self.table(versions, false, "", self.at(&api)))
    }
}
