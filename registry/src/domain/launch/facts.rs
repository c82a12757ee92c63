//! What every engine's settings are derived from.

use super::engine::{self, Defaults};
use super::plan::{Draft, EnvSource, RegistryLogin};
use super::source::Source;
use super::tools::Tools;
use super::{LaunchInput, ServedModel, args, generic, image, nim, vllm};
use crate::domain::deployment_config::Engine;
use crate::domain::deployment_spec::{ModelSource, Runs, SpecError};

/// The largest ranks that servers can be told, the first being what they take unless more is needed.
const LORA_RANKS: [u64; 6] = [32, 64, 128, 256, 320, 512];

pub(super) struct Facts<'a> {
    pub input: LaunchInput<'a>,
    pub defaults: &'static Defaults,
    /// With its tag or digest; none for a command.
    pub image: Option<String>,
    pub source: Source,
    pub tools: Tools,
    pub served_name: Option<String>,
}

impl<'a> Facts<'a> {
    pub fn new(input: LaunchInput<'a>) -> Result<Self, SpecError> {
        let defaults = engine::defaults(input.spec.engine);
        let image = image::of(input.spec, defaults)?;
        Ok(Self {
            input,
            defaults,
            source: Source::of(input, image.as_deref())?,
            tools: Tools::of(input)?,
            served_name: served_name(input.spec.model.as_ref(), input.model),
            image,
        })
    }

    /// All that is ours to say, before the user's own words; and who pulls the image.
    pub fn draft(&self) -> Result<(Draft, Option<RegistryLogin>), SpecError> {
        let mut draft = Draft::default();
        self.source.write(&mut draft);
        let login = self.login(&mut draft);
        match self.input.spec.engine {
            Engine::Nim => nim::write(self, &mut draft)?,
            Engine::Vllm => vllm::write(self, &mut draft)?,
            Engine::Generic => generic::write(self, &mut draft),
        }
        Ok((draft, login))
    }

    /// Where the instance finds what is mounted at `target`: a process has no paths of its own.
    pub fn path(&self, target: &str) -> String {
        match self.input.spec.runs {
            Runs::Image(_) => target.to_owned(),
            Runs::Command { .. } => format!("{{mount:{target}}}"),
        }
    }

    /// What the instance is told in the end to call its model; of several names the first.
    pub fn told_name(&self, draft: &Draft) -> Option<String> {
        let told = match self.input.spec.engine {
            Engine::Nim => match draft.env.get("NIM_SERVED_MODEL_NAME") {
                Some(EnvSource::Plain(names)) => names.split(',').next(),
                _ => None,
            },
            Engine::Vllm => args::last(&draft.args, "--served-model-name"),
            Engine::Generic => None,
        };
        told.map(str::to_owned).or_else(|| self.served_name.clone())
    }

    pub fn is_command(&self) -> bool {
        matches!(self.input.spec.runs, Runs::Command { .. })
    }

    /// Whether the user gives this argument, as `--name value`, `--name=value` or `--name`.
    pub fn has_arg(&self, name: &str) -> bool {
        self.given_args().into_iter().flatten().any(|arg| args::value_after(arg, name).is_some())
    }

    /// The value that the user gives it.
    pub fn given_arg(&self, name: &str) -> Option<&str> {
        let [own, more] = self.given_args();
        args::last(more, name).or_else(|| args::last(own, name))
    }

    fn given_args(&self) -> [&[String]; 2] {
        let own: &[String] = match &self.input.spec.runs {
            Runs::Command { args, .. } => args,
            Runs::Image(_) => &[],
        };
        [own, &self.input.spec.args]
    }

    /// The largest rank that adapters may have: as large as those that are there now need it.
    pub fn lora_rank_max(&self) -> u64 {
        let stated = self.input.model.and_then(|model| model.lora_rank_max).unwrap_or_default();
        let [.., largest] = LORA_RANKS;
        LORA_RANKS.into_iter().find(|rank| *rank >= stated).unwrap_or(largest)
    }

    /// Who pulls the image. What comes from NVIDIA's registry gets the key too: it loads more when it starts.
    fn login(&self, draft: &mut Draft) -> Option<RegistryLogin> {
        let settings = self.input.settings;
        let server = image::registry(self.image.as_deref()?);
        let own = self.input.spec.pull_login.as_ref().map(|login| RegistryLogin {
            server: server.to_owned(),
            username: login.username.clone(),
            password: login.password_secret.within(self.input.workspace),
        });
        let login = own.or_else(|| settings.registries.iter().find(|login| login.server == server).cloned());
        if server != image::NVIDIA {
            return login;
        }
        let key = self.source.ngc_api_key().or(settings.ngc_api_key.as_ref());
        let password = settings.ngc_api_key.as_ref().or(key).cloned();
        if let Some(key) = key {
            draft.secret("NGC_API_KEY", key);
        }
        login.or_else(|| Some(RegistryLogin::nvidia(password?)))
    }
}

/// `namespace/name@revision`, as far as it is given; else the entity's name.
fn served_name(source: Option<&ModelSource>, model: Option<&ServedModel>) -> Option<String> {
    let entity = model.map(|model| model.name.to_string());
    let Some(source) = source else { return entity };
    let base = match (&source.namespace, entity) {
        (Some(namespace), _) => format!("{namespace}/{}", source.name),
        (None, Some(entity)) => entity,
        (None, None) => source.name.clone(),
    };
    Some(match &source.revision {
        Some(revision) => format!("{base}@{revision}"),
        None => base,
    })
}
