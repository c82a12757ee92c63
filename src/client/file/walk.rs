//! Which files an upload sends, and under which names.

use std::fs;
use std::path::{Path, PathBuf};

use super::remote::RemotePath;
use crate::client::error::ClientError;

/// More files than this are hardly meant.
const FILES_MAX: usize = 100_000;

/// A file to send.
#[derive(Debug, PartialEq, Eq)]
pub struct LocalFile {
    pub path: PathBuf,
    pub length: u64,
    pub name: RemotePath,
}

/// The file, or all files below the folder, in the order of their names. Links to files are followed;
/// links to folders are not, because they may lead round in a circle.
pub fn files(local: &Path, remote: Option<&str>) -> Result<Vec<LocalFile>, ClientError> {
    let error = |path: &Path, source| ClientError::File { path: path.to_owned(), source };
    let about = fs::metadata(local).map_err(|e| error(local, e))?;
    if about.is_file() {
        let own = local.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let name = match remote {
            None => own.to_owned(),
            Some(folder) if folder.ends_with('/') => format!("{folder}{own}"),
            Some(name) => name.to_owned(),
        };
        return Ok(vec![LocalFile {
            path: local.to_owned(),
            length: about.len(),
            name: RemotePath::parse(&name)?,
        }]);
    }
    let mut found = Vec::new();
    let mut folders = vec![(local.to_owned(), remote.unwrap_or_default().trim_end_matches('/').to_owned())];
    while let Some((folder, prefix)) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|e| error(&folder, e))? {
            let path = entry.map_err(|e| error(&folder, e))?.path();
            let Some(own) = path.file_name().and_then(|name| name.to_str()) else {
                return Err(error(&path, std::io::Error::other("its name is not UTF-8")));
            };
            let name = if prefix.is_empty() { own.to_owned() } else { format!("{prefix}/{own}") };
            let about = fs::metadata(&path).map_err(|e| error(&path, e))?;
            if about.is_dir() && !path.is_symlink() {
                folders.push((path, name));
            } else if about.is_file() {
                found.push(LocalFile { path, length: about.len(), name: RemotePath::parse(&name)? });
            }
        }
        if found.len() > FILES_MAX {
            return Err(ClientError::Said(format!("{} has more than {FILES_MAX} files", local.display())));
        }
    }
    found.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(local: &Path, remote: Option<&str>) -> Vec<String> {
        files(local, remote).unwrap().into_iter().map(|file| file.name.as_str().to_owned()).collect()
    }

    #[test]
    fn a_folder_is_sent_with_all_that_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("b/deep")).unwrap();
        for name in ["a.txt", "b/c.txt", "b/deep/.hidden"] {
            fs::write(root.join(name), name).unwrap();
        }
        std::os::unix::fs::symlink(root, root.join("b/round")).unwrap();
        std::os::unix::fs::symlink(root.join("a.txt"), root.join("link.txt")).unwrap();
        assert_eq!(names(root, None), ["a.txt", "b/c.txt", "b/deep/.hidden", "link.txt"]);
        assert_eq!(names(&root.join("b"), Some("x/")), ["x/c.txt", "x/deep/.hidden"]);
        assert_eq!(files(root, None).unwrap()[1].length, 7);
    }

    #[test]
    fn a_file_is_sent_under_its_own_name_or_another() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.txt");
        fs::write(&file, "").unwrap();
        assert_eq!(names(&file, None), ["a.txt"]);
        assert_eq!(names(&file, Some("b/")), ["b/a.txt"]);
        assert_eq!(names(&file, Some("b/c")), ["b/c"]);
        assert!(files(&file, Some("../c")).is_err() && files(&folder.path().join("none"), None).is_err());
    }
}
