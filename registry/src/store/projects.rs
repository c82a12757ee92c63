//! Projects: names that users group their objects by.

use super::documents::{CREATED_AT, DESCRIPTION, Kind, NAME, UPDATED_AT, WORKSPACE};
use crate::domain::{ListRules, Sort};

pub struct Projects;

impl Kind for Projects {
    /// A project is its name and description.
    type Body = ();
    const TABLE: &'static str = "projects";
    const ID: &'static str = "project";
    const NOUN: &'static str = "Project";
}

pub const LIST: ListRules = ListRules {
    default_sort: Sort::NEWEST_FIRST,
    ..ListRules::with(&[WORKSPACE, NAME, DESCRIPTION, CREATED_AT, UPDATED_AT])
};
