//! Adapters in a folder, and adapters that the server is told of.

use crate::wire::{DEADLINE, get, post, raw, sim_with};
use nim_sim::{LoraSource, Sim, SimOptions};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::timeout;

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

fn whole(folder: &Path) {
    std::fs::create_dir(folder).unwrap();
    std::fs::write(folder.join(CONFIG), r#"{"r": 8}"#).unwrap();
    let header = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let length = u64::try_from(header.len()).unwrap().to_le_bytes();
    std::fs::write(folder.join(WEIGHTS), [&length, header.as_bytes(), b"1234"].concat()).unwrap();
}

/// The folder that is looked into, and one beside it.
struct Folders {
    shown: PathBuf,
    beside: PathBuf,
    _both: TempDir,
}

impl Folders {
    fn new() -> Self {
        let both = tempfile::tempdir().unwrap();
        let [shown, beside] = ["shown", "beside"].map(|name| both.path().join(name));
        [&shown, &beside].into_iter().for_each(|folder| std::fs::create_dir(folder).unwrap());
        Self { shown, beside, _both: both }
    }

    fn place(&self, name: &str, change: impl FnOnce(&Path)) {
        let adapter = self.beside.join(name);
        whole(&adapter);
        change(&adapter);
        std::fs::rename(adapter, self.shown.join(name)).unwrap();
    }

    fn take_away(&self, name: &str) {
        std::fs::rename(self.shown.join(name), self.beside.join(name)).unwrap();
    }
}

async fn looking_into(folder: &Path) -> Sim {
    let source = LoraSource { folder: folder.into(), refresh: Some(Duration::from_millis(5)) };
    sim_with(SimOptions { models: vec!["m".into()], lora_source: Some(source), ..SimOptions::default() })
        .await
}

async fn cards(sim: &Sim) -> Vec<Value> {
    raw(sim.addr(), &get("/v1/models", "")).await.json()["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn adapters_in_its_folder_are_listed_as_they_come_and_go() {
    let folders = Folders::new();
    folders.place("first", |_| {});
    let sim = looking_into(&folders.shown).await;
    assert_eq!(cards(&sim).await[1]["parent"], "m");
    let ids = async || -> Vec<String> {
        cards(&sim).await.iter().skip(1).map(|card| card["id"].as_str().unwrap().to_owned()).collect()
    };
    let follow = async {
        folders.place("second", |_| {});
        while ids().await != ["first", "second"] {
            tokio::task::yield_now().await;
        }
        folders.take_away("first");
        while ids().await != ["second"] {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        error = sim.follow_loras() => panic!("{error}"),
        done = timeout(DEADLINE, follow) => done.unwrap(),
    }
}

#[tokio::test]
async fn half_an_adapter_ends_it() {
    let spoil: [fn(&Path); 4] = [
        |adapter| std::fs::remove_file(adapter.join(WEIGHTS)).unwrap(),
        |adapter| std::fs::write(adapter.join(CONFIG), r#"{"r":"#).unwrap(),
        |adapter| {
            let file = std::fs::OpenOptions::new().write(true).open(adapter.join(WEIGHTS)).unwrap();
            file.set_len(file.metadata().unwrap().len() - 1).unwrap();
        },
        |adapter| std::fs::remove_file(adapter.join(CONFIG)).unwrap(),
    ];
    for (number, spoil) in spoil.iter().enumerate() {
        let folders = Folders::new();
        let sim = looking_into(&folders.shown).await;
        folders.place("half", spoil);
        let error = timeout(DEADLINE, sim.follow_loras()).await.unwrap().to_string();
        assert!(error.contains("half"), "{number}: {error}");
    }
}

#[tokio::test]
async fn it_loads_what_it_is_told_when_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let sim = sim_with(SimOptions { models: vec!["m".into()], ..SimOptions::default() }).await;
    let load = async |name: &str| {
        let body = json!({ "lora_name": name, "lora_path": folder.path().join(name) }).to_string();
        raw(sim.addr(), &post("/v1/load_lora_adapter", "", &body)).await.status()
    };
    assert_eq!(load("absent").await, 400);
    whole(&folder.path().join("tuned"));
    assert_eq!(load("tuned").await, 200);
    let root = cards(&sim).await[1]["root"].as_str().unwrap().to_owned();
    assert_eq!(root, folder.path().join("tuned").to_str().unwrap());
}
