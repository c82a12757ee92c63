//! Chat template and tool calling: what the deployment's config says, and below that, field by field, what is known of
//! the model: what its owner wrote, and what its fileset says.

use proto_shared::WorkspaceName;

use super::facts::Facts;
use super::plan::{Draft, MountKind};
use super::{LaunchInput, ServedModel};
use crate::domain::Reference;
use crate::domain::deployment_config::ToolCallPlugins;
use crate::domain::deployment_spec::{DeploymentSpec, SpecError, refused};

/// Where the plugin's fileset is seen.
const PLUGIN_FOLDER: &str = "/plugin";

pub(super) struct Tools {
    pub chat_template: Option<String>,
    pub parser: Option<String>,
    pub auto_choice: Option<bool>,
    pub plugin: Option<Plugin>,
}

pub(super) struct Plugin {
    fileset: Reference,
    file: String,
}

/// The fileset, with its workspace, of the plugin that a deployment would use.
pub fn plugin_of(
    workspace: &WorkspaceName,
    spec: &DeploymentSpec,
    model: Option<&ServedModel>,
) -> Result<Option<Reference>, SpecError> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let known = model.and_then(|model| model.spec.as_ref()).and_then(|known| known.tool_call_config.as_ref());
    let own = given(&spec.tool_calling.tool_call_plugin).map(|name| (name, workspace.clone()));
    let of_model = || {
        let model = model?;
        Some((given(&known?.tool_call_plugin)?, model.name.workspace(workspace).clone()))
    };
    let Some((name, home)) = own.or_else(of_model) else { return Ok(None) };
    match Reference::try_from(name) {
        Ok(fileset) => Ok(Some(fileset.within(&home))),
        Err(error) => Err(refused("tool_call_plugin", format!("it should name a fileset: {error}"))),
    }
}

impl Tools {
    pub fn of(input: LaunchInput<'_>) -> Result<Self, SpecError> {
        let own = &input.spec.tool_calling;
        let known = input.model.and_then(|model| model.spec.as_ref());
        let below = known.and_then(|known| known.tool_call_config.as_ref());
        let given = |text: Option<&String>| text.filter(|text| !text.is_empty()).cloned();
        let first = |own: Option<&String>, below: Option<&String>| given(own).or_else(|| given(below));
        Ok(Self {
            chat_template: first(
                input.spec.chat_template.as_ref(),
                known.and_then(|known| known.chat_template.as_ref()),
            ),
            parser: first(
                own.tool_call_parser.as_ref(),
                below.and_then(|below| below.tool_call_parser.as_ref()),
            ),
            auto_choice: own.auto_tool_choice.or(below.and_then(|below| below.auto_tool_choice)),
            plugin: Plugin::of(input)?,
        })
    }

    /// Whether tools are called without being asked for, where that needs a parser.
    pub fn calls_freely(&self) -> bool {
        self.parser.is_some() && self.auto_choice == Some(true)
    }
}

impl Plugin {
    fn of(input: LaunchInput<'_>) -> Result<Option<Self>, SpecError> {
        let Some(fileset) = plugin_of(input.workspace, input.spec, input.model)? else { return Ok(None) };
        if input.settings.tool_call_plugins == ToolCallPlugins::Refused {
            let reason = "plugins run code of their own in the model server, and are not allowed here; set \
                          deployments.tool_call_plugins = true to allow them";
            return Err(refused("tool_call_plugin", reason));
        }
        match input.plugin_file {
            Some(file) => Ok(Some(Self { fileset, file: file.to_owned() })),
            None => {
                let reason =
                    format!("the fileset {fileset} should be kept here and hold exactly one .py file");
                Err(refused("tool_call_plugin", reason))
            }
        }
    }
}

impl Facts<'_> {
    /// Mounts the plugin, and gives its path.
    pub fn plugin(&self, draft: &mut Draft) -> Option<String> {
        let plugin = self.tools.plugin.as_ref()?;
        draft.mount(MountKind::Fileset(plugin.fileset.clone()), PLUGIN_FOLDER);
        Some(format!("{}/{}", self.path(PLUGIN_FOLDER), plugin.file))
    }
}
