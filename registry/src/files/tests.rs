use super::*;

fn store(dir: &Path, ids: &[&str]) -> FileStore {
    let ids = ids.iter().map(|id| (*id).to_owned()).collect();
    FileStore::open(dir, &FilesConfig::default(), &ids).unwrap()
}

async fn put(
    store: &FileStore,
    id: &EntityId,
    path: &str,
    text: &'static str,
) -> Result<FileInfo, FileError> {
    let received = store.receive(text.into(), None).await?;
    let (id, path) = (id.clone(), FilePath::parse(path)?);
    tokio::task::spawn_blocking(move || received.place(&id, path)).await?
}

async fn names(store: &FileStore, id: &EntityId) -> Vec<String> {
    store.list(id, None).await.unwrap().into_iter().map(|file| file.path.to_string()).collect()
}

#[tokio::test]
async fn a_link_is_neither_followed_nor_shown() {
    let dir = tempfile::tempdir().unwrap();
    let (store, id) = (store(dir.path(), &[]), EntityId::stored("fileset-1".into()));
    put(&store, &id, "a", "mine").await.unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "theirs").unwrap();
    let own = dir.path().join("files/fileset-1");
    std::os::unix::fs::symlink(&secret, own.join("link")).unwrap();
    std::os::unix::fs::symlink(dir.path(), own.join("folder")).unwrap();
    for path in ["link", "folder/secret"] {
        let path = FilePath::parse(path).unwrap();
        assert!(store.open_file(&id, path.clone()).await.is_err());
        assert!(store.remove(&id, path).await.is_err());
    }
    assert!(put(&store, &id, "folder/new", "x").await.is_err());
    assert_eq!(names(&store, &id).await, ["a"]);
    assert_eq!(std::fs::read_to_string(secret).unwrap(), "theirs");
    assert!(!dir.path().join("new").exists());
}

#[tokio::test]
async fn a_start_sweeps_what_no_fileset_owns_and_what_was_half_done() {
    let dir = tempfile::tempdir().unwrap();
    let (kept, gone) = (EntityId::stored("fileset-1".into()), EntityId::stored("fileset-2".into()));
    let first = store(dir.path(), &[]);
    put(&first, &kept, "a", "x").await.unwrap();
    put(&first, &gone, "a", "x").await.unwrap();
    std::fs::write(dir.path().join("files/.passing/half"), "x").unwrap();
    let second = store(dir.path(), &["fileset-1"]);
    assert_eq!(names(&second, &kept).await, ["a"]);
    assert_eq!(names(&second, &gone).await, Vec::<String>::new());
    assert!(!dir.path().join("files/.passing/half").exists());
}

#[tokio::test]
async fn a_file_that_is_replaced_while_it_is_read_stays_what_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (store, id) = (store(dir.path(), &[]), EntityId::stored("fileset-1".into()));
    put(&store, &id, "a", "old").await.unwrap();
    let before = store.stamp(&id).await.unwrap();
    let mut opened = store.open_file(&id, FilePath::parse("a").unwrap()).await.unwrap();
    let link = dir.path().join("backup");
    std::fs::hard_link(dir.path().join("files/fileset-1/a"), &link).unwrap();
    put(&store, &id, "a", "newer").await.unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut opened.file, &mut text).unwrap();
    assert_eq!((text.as_str(), std::fs::read_to_string(link).unwrap().as_str()), ("old", "old"));
    assert_ne!(store.stamp(&id).await.unwrap(), before);
}

#[tokio::test]
async fn uploads_into_a_folder_and_deletes_that_empty_it_do_not_hinder_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let (store, id) = (store(dir.path(), &[]), EntityId::stored("fileset-1".into()));
    for _ in 0..50 {
        put(&store, &id, "a/b/one", "x").await.unwrap();
        let removing = store.remove(&id, FilePath::parse("a/b/one").unwrap());
        let (removed, made) = tokio::join!(removing, put(&store, &id, "a/b/two", "x"));
        removed.unwrap();
        made.unwrap();
        assert_eq!(names(&store, &id).await, ["a/b/two"]);
        store.remove(&id, FilePath::parse("a/b/two").unwrap()).await.unwrap();
        assert!(!dir.path().join("files/fileset-1/a").exists());
    }
}

#[tokio::test]
async fn more_uploads_than_allowed_are_told_to_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let config = FilesConfig { uploads_max: 1, file_bytes_max: 3, ..FilesConfig::default() };
    let store = FileStore::open(dir.path(), &config, &HashSet::new()).unwrap();
    let one = store.receive("abc".into(), Some(3)).await.unwrap();
    assert!(matches!(store.receive("abc".into(), None).await, Err(FileError::Busy)));
    drop(one);
    assert!(matches!(store.receive("abcd".into(), None).await, Err(FileError::TooLong(3))));
    assert!(matches!(store.receive("abcd".into(), Some(4)).await, Err(FileError::TooLong(3))));
    assert!(matches!(store.receive("ab".into(), Some(3)).await, Err(FileError::Cut)));
}
