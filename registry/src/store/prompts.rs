//! Prompts.

use super::documents::{CREATED_AT, DESCRIPTION, Kind, NAME, PROJECT, UPDATED_AT, WORKSPACE};
use crate::domain::ListRules;
use crate::domain::prompt::PromptBody;

pub struct Prompts;

impl Kind for Prompts {
    type Body = PromptBody;
    const TABLE: &'static str = "prompts";
    const ID: &'static str = "prompt";
    const NOUN: &'static str = "Prompt";
}

pub const LIST: ListRules = ListRules::with(&[WORKSPACE, PROJECT, NAME, DESCRIPTION, CREATED_AT, UPDATED_AT]);
