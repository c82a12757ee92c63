use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::FileInfo;
use super::*;
use crate::config::FilesConfig;

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "parts/adapter_model.safetensors";

fn store(dir: &Path) -> FileStore {
    FileStore::open(dir, &FilesConfig::default(), &HashSet::from(["fileset-1".to_owned()])).unwrap()
}

fn id() -> EntityId {
    EntityId::stored("fileset-1".into())
}

async fn put(store: &FileStore, path: &str, text: &'static str) -> FileInfo {
    let received = store.receive(text.into(), None).await.unwrap();
    let path = FilePath::parse(path).unwrap();
    tokio::task::spawn_blocking(move || received.place(&id(), path)).await.unwrap().unwrap()
}

async fn place(store: &FileStore) -> Result<(), FileError> {
    let content = store.content(&id()).await.unwrap();
    store.place_adapter("here", "default--a", &id(), &content).await
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn an_adapter_is_the_files_of_its_fileset_and_anybody_who_gets_there_may_read_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    put(&store, CONFIG, "{}").await;
    put(&store, WEIGHTS, "weights").await;
    let files = dir.path().join("files");
    // As older versions left them.
    for (path, bits) in [(CONFIG, 0o600), ("parts", 0o700), (WEIGHTS, 0o600)] {
        let path = files.join("fileset-1").join(path);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(bits)).unwrap();
    }
    place(&store).await.unwrap();
    let content = store.content(&id()).await.unwrap();
    let expected = Folders::from([("default--a".to_owned(), content)]);
    assert_eq!(store.placed("here").await.unwrap(), expected);
    let shown = files.join(store.place_of_adapters("here").await.unwrap());
    let adapter = shown.join("default--a");
    assert_eq!(std::fs::read_to_string(adapter.join(WEIGHTS)).unwrap(), "weights");
    for folder in [&shown, &adapter, &adapter.join("parts")] {
        assert_eq!(mode(folder), 0o755);
    }
    assert_eq!((mode(&adapter.join(CONFIG)), mode(&adapter.join(WEIGHTS))), (0o644, 0o644));
    assert_eq!(mode(&files), 0o700, "nobody else of this host gets there");

    store.make_readable(&id()).await.unwrap();
    assert_eq!(mode(&files.join("fileset-1/parts")), 0o755);
}

#[tokio::test]
async fn what_changed_between_the_look_and_the_placing_is_not_placed() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    put(&store, CONFIG, "{}").await;
    let before = store.content(&id()).await.unwrap();
    put(&store, CONFIG, "{ }").await;
    let placed = store.place_adapter("here", "default--a", &id(), &before).await;
    assert!(matches!(placed, Err(FileError::NotFound)), "{placed:?}");
    assert_eq!(store.placed("here").await.unwrap(), Folders::new());
    let passing = std::fs::read_dir(dir.path().join("files/.passing")).unwrap();
    assert_eq!(passing.count(), 0, "nothing is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_looks_all_the_time_never_sees_half_an_adapter() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    for path in [CONFIG, WEIGHTS, "a", "b/c", "b/d"] {
        put(&store, path, "x").await;
    }
    let shown = dir.path().join("files").join(store.place_of_adapters("here").await.unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let looking = tokio::task::spawn_blocking(move || {
        let (mut whole, mut looks) = (0_u32, 0_u32);
        while !stopped.load(Ordering::Relaxed) || looks == 0 {
            looks += 1;
            // An open folder stays the same one wherever it is moved.
            let Ok(adapter) = Folder::open(&shown.join("default--a")) else { continue };
            let seen = content(&adapter).unwrap_or_default();
            // Another one may have taken its place meanwhile.
            let there = Folder::open(&shown.join("default--a")).and_then(|folder| folder.inode("."));
            let is_there = there.ok() == adapter.inode(".").ok();
            assert!(seen.len() == 5 || !is_there, "{seen:?}");
            whole += u32::from(seen.len() == 5);
        }
        whole
    });
    for _ in 0..100 {
        place(&store).await.unwrap();
        tokio::task::yield_now().await;
        store.take_adapter_away("here", "default--a").await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    looking.await.unwrap();
}

#[tokio::test]
async fn a_place_goes_with_all_that_is_in_it_and_leaves_the_files_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    put(&store, CONFIG, "{}").await;
    place(&store).await.unwrap();
    assert_eq!(store.places_of_adapters().await.unwrap(), ["here"]);
    store.remove_place_of_adapters("here").await.unwrap();
    assert_eq!(store.places_of_adapters().await.unwrap(), Vec::<String>::new());
    assert_eq!(store.list(&id(), None).await.unwrap().len(), 1);
    let passing = std::fs::read_dir(dir.path().join("files/.passing")).unwrap();
    assert_eq!(passing.count(), 0, "nothing is left");
}
