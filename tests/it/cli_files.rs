//! `nimgate file` against the real registry: folders go up and come back as they were.

use std::path::Path;

use crate::at::At;

fn write(root: &Path, name: &str, content: &[u8]) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

#[tokio::test]
async fn a_folder_comes_back_as_it_was() {
    let at = At::start().await;
    let (up, down) = (at.home.path().join("up"), at.home.path().join("down"));
    let large: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
    let files: [(&str, &[u8]); 4] =
        [("config.json", b"{}"), ("empty", b""), ("deep/a+b@.txt", b"x"), ("deep/er/weights.bin", &large)];
    for (name, content) in files {
        write(&up, name, content);
    }
    let unmade = at.fails("file upload up fs", 1).await;
    assert!(unmade.contains("nimgate fileset create fs"), "{unmade}");
    at.done("fileset create fs").await;
    let said = at.done("file upload up fs").await;
    assert!(said.contains("uploaded 4 files"), "{said}");
    at.done("file download fs --to down").await;
    for (name, content) in files {
        assert!(std::fs::read(down.join(name)).unwrap() == content, "{name}");
    }
    assert_eq!(std::fs::read_dir(&down).unwrap().count(), 3, "nothing else came");
}

#[tokio::test]
async fn one_file_is_sent_renamed_listed_fetched_and_deleted() {
    let at = At::start().await;
    at.done("fileset create fs").await;
    write(at.home.path(), "note.txt", b"hello");
    at.done("file upload note.txt fs --remote-path notes/first.txt").await;
    at.done("file upload note.txt fs --remote-path notes/").await;
    let list = at.json("file list fs --path notes/").await;
    let paths: Vec<&str> =
        list.as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert_eq!((paths.len(), list[0]["size"].as_u64()), (2, Some(5)), "{paths:?}");
    at.done("file download fs --remote-path notes/first.txt --to got").await;
    assert_eq!(std::fs::read(at.home.path().join("got/notes/first.txt")).unwrap(), b"hello");
    at.done("file delete fs notes/first.txt").await;
    let gone = at.fails("file delete fs notes/first.txt", 1).await;
    assert!(gone.contains("nimgate file list fs"), "{gone}");
    at.fails("file upload note.txt fs --remote-path ../out", 1).await;
}
