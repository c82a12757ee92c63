//! One description for each kind of object, and the verbs that all kinds share.
//!
//! What differs between kinds stands in their descriptions and in their [`Fields`]; nothing here knows one of them.

mod body;
mod columns;
mod list;
mod tell;
mod versions;

use http::{Method, StatusCode};
use serde_json::Value;

use super::api::Api;
use super::error::ClientError;
use super::http::encoded;
use super::output;
use crate::cli::{Create, Named, Output, Source, Update};

pub use body::{Body, Fields, read_text};
pub use columns::{Cell, Column, text};
pub use list::List;
pub use tell::{Done, show_one};

/// The one kind that is in no workspace.
const WORKSPACES: &str = "workspaces";

/// A kind of object.
pub struct Noun {
    /// As it is typed: `deployment-config`.
    pub name: &'static str,
    pub service: &'static str,
    /// The last part of its path: `deployment-configs`.
    pub collection: &'static str,
    pub columns: &'static [Column],
    pub change: Change,
    /// What a whole body must have: one of these JSON pointers, else this flag is missing.
    pub required: &'static [(&'static [&'static str], &'static str)],
    /// How to make one, for an empty list.
    pub first: &'static str,
    /// What to do after this one was made; `{name}` is its name.
    pub next: fn(&Value) -> &'static str,
}

/// How an object is changed.
#[derive(Debug, Clone, Copy)]
pub enum Change {
    /// Fields that are not sent stay. These are read first, because flags may change a part of them.
    Patch(&'static [&'static str]),
    /// Everything is sent, so that what is not named stays.
    Whole(Way),
}

/// What a whole body is sent with.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    Put,
    /// Each change is a new version.
    Post,
}

impl Noun {
    pub fn all(&self, api: &Api) -> String {
        match self.collection {
            WORKSPACES => format!("/apis/{}/v2/workspaces", self.service),
            collection => api.path(self.service, collection),
        }
    }

    /// Flags that a further command about this kind needs.
    fn at<'a>(&self, api: &'a Api) -> &'a str {
        if self.collection == WORKSPACES { &api.gateway_at } else { &api.at }
    }

    pub fn one(&self, api: &Api, name: &str) -> String {
        format!("{}/{}", self.all(api), encoded(name))
    }

    pub async fn create<F: Fields + clap::Args>(&self, args: Create<F>) -> Result<(), ClientError> {
        let api = Api::new(&args.connection)?;
        let (name, body) = self.new_body(args.name, &args.source, &args.fields)?;
        let (value, done) = self.post(&api, &name, &body, args.exist_ok).await?;
        self.tell_done(&api, args.connection.view.output, &value, &name, done)
    }

    /// Name and body of an object to create: the file, then the flags over it.
    pub fn new_body<F: Fields>(
        &self,
        name: Option<String>,
        source: &Source,
        fields: &F,
    ) -> Result<(String, Body), ClientError> {
        let mut body = Body::read(source)?;
        let Some(name) = name.or_else(|| body.text_at("/name")) else {
            return Err(ClientError::Usage(format!(
                "the {} has no name; give it as NAME or in --file",
                self.name
            )));
        };
        F::make_sendable(&mut body);
        body.put("name", &Some(&name));
        fields.write(&mut body);
        fields.write_defaults(&mut body);
        self.check_whole(&name, &body)?;
        Ok((name, body))
    }

    fn check_whole(&self, name: &str, body: &Body) -> Result<(), ClientError> {
        let lacking = self.required.iter().find(|(pointers, _)| !pointers.iter().any(|at| body.has(at)));
        let Some((_, flag)) = lacking else { return Ok(()) };
        Err(ClientError::Usage(format!("{} {name} needs {flag}, or the same in --file", self.name)))
    }

    /// The created object and what was done; with `exist_ok` the one that is there.
    pub async fn post(
        &self,
        api: &Api,
        name: &str,
        body: &Body,
        exist_ok: bool,
    ) -> Result<(Value, Done), ClientError> {
        match api.send(Method::POST, &self.all(api), &body.json()).await {
            Err(e) if exist_ok && e.status() == Some(StatusCode::CONFLICT) => {
                Ok((self.fetch(api, name).await?, Done::Found))
            }
            Err(e) => Err(e.or_try(StatusCode::CONFLICT, || {
                let (noun, at) = (self.name, self.at(api));
                format!("change it: nimgate {noun} update {name}{at}\n  delete it: nimgate {noun} delete {name}{at}")
            })),
            Ok(value) => Ok((value, Done::Created)),
        }
    }

    pub async fn get(&self, args: Named) -> Result<(), ClientError> {
        let value = self.fetch(&Api::new(&args.connection)?, &args.name).await?;
        show_one(args.connection.view.output, &value)
    }

    pub async fn fetch(&self, api: &Api, name: &str) -> Result<Value, ClientError> {
        api.get(&self.one(api, name)).await.map_err(|e| self.see_list(api, e))
    }

    pub fn see_list(&self, api: &Api, error: ClientError) -> ClientError {
        error.or_try(StatusCode::NOT_FOUND, || {
            format!("see what there is: nimgate {} list{}", self.name, self.at(api))
        })
    }

    pub async fn update<F: Fields + clap::Args>(&self, args: Update<F>) -> Result<(), ClientError> {
        let connection = args.connection;
        let api = Api::new(&connection)?;
        let value = self.replace(&api, &args.name, &args.source, &args.fields).await?;
        self.tell_done(&api, connection.view.output, &value, &args.name, Done::Updated)
    }

    /// Sends the change and gives the object as it is then.
    pub async fn replace<F: Fields>(
        &self,
        api: &Api,
        name: &str,
        source: &Source,
        fields: &F,
    ) -> Result<Value, ClientError> {
        let (method, mut before) = match self.change {
            _ if source.file.is_some() => (self.change.method(), Body::read(source)?),
            Change::Patch([]) => (Method::PATCH, Body::default()),
            Change::Patch(parts) => (Method::PATCH, Body::of(&self.fetch(api, name).await?, parts)),
            Change::Whole(_) => (self.change.method(), Body::settable(&self.fetch(api, name).await?)),
        };
        F::make_sendable(&mut before);
        let mut body = before.clone();
        fields.write(&mut body);
        body.remove("name");
        if source.file.is_none() && body == before && !fields.changes_elsewhere() {
            let noun = self.name;
            return Err(ClientError::Usage(format!("nothing to change; see: nimgate {noun} update --help")));
        }
        if matches!(self.change, Change::Whole(_)) {
            self.check_whole(name, &body)?;
        }
        let path = self.one(api, name);
        api.send(method, &path, &body.json()).await.map_err(|e| self.see_list(api, e))
    }

    pub async fn delete(&self, args: Named) -> Result<(), ClientError> {
        let api = Api::new(&args.connection)?;
        let answer = api.delete(&self.one(&api, &args.name)).await.map_err(|e| self.see_list(&api, e))?;
        match (args.connection.view.output, answer["message"].as_str()) {
            // Some take their time, and the server says so.
            (Output::Table, Some(message)) => {
                output::say(&format!("{} {}: {}", self.name, args.name, output::line(message)))
            }
            _ => self.tell_deleted(&args.connection, &args.name),
        }
    }
}

impl Change {
    fn method(self) -> Method {
        match self {
            Self::Patch(_) => Method::PATCH,
            Self::Whole(Way::Put) => Method::PUT,
            Self::Whole(Way::Post) => Method::POST,
        }
    }
}

#[cfg(test)]
mod tests;
