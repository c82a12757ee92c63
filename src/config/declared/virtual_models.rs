//! `[[virtual_models]]` of the file: names under which models answer, and how requests for them are spread.

use registry::{DeclarationFault, DeclaredVirtualModel};
use serde_json::Value;
use toml::Table;

use super::{Entry, Form, fault, workspace_of};

pub const LIST: &str = "virtual_models";

const FORM: Form = Form {
    short: &[("default_model", "default_model_entity")],
    fields: &DeclaredVirtualModel::FIELDS,
    beside: &[],
};

/// One virtual model of the file.
#[derive(Debug, Clone)]
pub struct VirtualModelEntry {
    pub virtual_model: DeclaredVirtualModel,
    /// As it was written.
    pub written: Table,
}

impl Entry for VirtualModelEntry {
    fn id(&self) -> (String, String) {
        (self.virtual_model.workspace.to_string(), self.virtual_model.name.to_string())
    }
}

pub fn entry(table: Table) -> Result<VirtualModelEntry, Vec<DeclarationFault>> {
    let mut faults = Vec::new();
    let workspace = workspace_of(&table, &mut faults);
    let body = Value::Object(FORM.body(&table, &mut faults));
    faults.extend(unknown_inside(&body));
    match DeclaredVirtualModel::parse(workspace, &body) {
        Ok(virtual_model) if faults.is_empty() => Ok(VirtualModelEntry { virtual_model, written: table }),
        Ok(_) => Err(faults),
        Err(more) => {
            Err(faults.into_iter().chain(more.into_iter().map(|fault| FORM.in_short(fault))).collect())
        }
    }
}

/// Calls may say what is not known; a file that does is misspelt.
fn unknown_inside(body: &Value) -> Vec<DeclarationFault> {
    let routing = &body["routing"];
    let unknown = |place: String, value: &Value, known: &[&str]| {
        let names = value.as_object().into_iter().flat_map(|members| members.keys());
        let names = names.filter(|name| !known.contains(&name.as_str()));
        names.map(|name| fault(&format!("{place}.{name}"), "unknown key")).collect::<Vec<_>>()
    };
    let parts = routing["providers"].as_array().into_iter().flatten().enumerate();
    let of_parts = parts.flat_map(|(index, part)| {
        unknown(format!("routing.providers.{index}"), part, &DeclaredVirtualModel::PART_FIELDS)
    });
    let mut faults = unknown("routing".to_owned(), routing, &DeclaredVirtualModel::ROUTING_FIELDS);
    faults.extend(of_parts);
    faults.extend(unknown("limits".to_owned(), &body["limits"], &DeclaredVirtualModel::LIMITS_FIELDS));
    faults
}

#[cfg(test)]
mod tests {
    use super::super::all;

    #[test]
    fn a_virtual_model_is_written_as_the_api_takes_it_and_with_a_shorter_name() {
        let short = "[[virtual_models]]\nname = 'chat'\ndefault_model = 'default/llama'\nresume = true\n\
                     limits = {concurrency = 8}\n[virtual_models.routing]\nstrategy = 'priority'\n\
                     providers = [{provider = 'nim', tier = 0}, {provider = 'build', model = 'x/y', tier = 1}]\n";
        let long = "[[virtual_models]]\nworkspace = 'default'\nname = 'chat'\ndefault_model_entity = 'default/llama'\n\
                    resume = true\nlimits.concurrency = 8\nrouting = {strategy = 'priority', providers = [\n\
                    {provider = 'nim', tier = 0}, {provider = 'build', model = 'x/y', tier = 1}]}\n";
        let [short, long] = [all(short), all(long)];
        assert!(short.1.is_empty() && long.1.is_empty(), "{:?} {:?}", short.1, long.1);
        let shown = |all: &super::super::Declared| format!("{:?}", all.virtual_models[0].virtual_model);
        assert_eq!(shown(&short.0), shown(&long.0));
    }

    #[test]
    fn all_faults_are_told_with_their_lines() {
        let text = "threads = 2\n\n[[virtual_models]]\nname = 'one'\ncolour = 1\n\
                    [[virtual_models]]\nname = 'two'\n\n[virtual_models.routing]\nstrategy = 'cheapest'\n\
                    [[virtual_models]]\nname = 'three'\nlocal_only = 'yes'\n\
                    routing = {strategy = 'weighted', stiky = 'user', providers = [{provider = 'pp', wieght = 1}]}\n\
                    [[virtual_models]]\nname = 'four'\n[[virtual_models]]\nname = 'four'\n\
                    [[virtual_models]]\ndefault_model = 'x'\n\
                    [[virtual_models]]\nname = 'five'\nrouting = {strategy = 'weighted', providers = [\n\
                    {provider = 'pp', weight = 0}]}\nlimits = {rate = 1}\n";
        let (declared, problems) = all(text);
        assert_eq!(declared.virtual_models.len(), 1);
        for (start, line) in [
            ("virtual_models.one.colour: unknown key", 5),
            ("virtual_models.two.routing.strategy: ", 10),
            ("virtual_models.three.local_only: ", 13),
            ("virtual_models.five.limits.rate: unknown key", 25),
            ("virtual_models.three.routing.stiky: unknown key", 14),
            ("virtual_models.three.routing.providers.0.wieght: unknown key", 14),
            ("virtual_models.four: is declared twice", 18),
            ("virtual_models[5].name: Field required", 19),
            ("virtual_models.five.routing.providers: nobody has a share", 23),
        ] {
            let end = format!("(from /etc/nimgate.toml:{line})");
            let is_it = |told: &&String| told.starts_with(start) && told.ends_with(&end);
            assert!(problems.iter().any(|told| is_it(&told)), "no {start:?} of {line} in {problems:#?}");
        }
        assert!(all("virtual_models = 3").1[0].contains("[[virtual_models]]"));
    }
}
