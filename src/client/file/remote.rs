//! Names of files in a fileset, and where they may lead on this machine.

use std::path::{Path, PathBuf};

use crate::client::error::ClientError;
use crate::client::output;

/// The name of a file in a fileset that stays inside any folder it is put into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemotePath(String);

impl RemotePath {
    pub fn parse(text: &str) -> Result<Self, ClientError> {
        let bad_part = |part: &str| part.is_empty() || part == "." || part == "..";
        let bad_char = |c: char| c.is_control() || c == '\\';
        if text.split('/').any(bad_part) || text.chars().any(bad_char) {
            let shown = output::line(text);
            return Err(ClientError::Said(format!(
                "{shown:?} is refused: a name in a fileset has plain parts between single slashes"
            )));
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_or_is_below(&self, path: &str) -> bool {
        let rest = self.0.strip_prefix(path.trim_end_matches('/'));
        path.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Makes the folders it needs below `root` and gives its place there. A link that leads out is refused.
    pub fn place_below(&self, root: &Path) -> Result<PathBuf, ClientError> {
        let place = root.join(&self.0);
        let parent = place.parent().unwrap_or(root);
        let error = |path: &Path| {
            let path = path.to_owned();
            |source| ClientError::File { path, source }
        };
        // Checked before anything is made, and again after: no folder is made on the far side of a link.
        let inside = |folder: &Path| -> Result<(), ClientError> {
            let (real_root, real) =
                (root.canonicalize().map_err(error(root))?, folder.canonicalize().map_err(error(folder))?);
            if real.starts_with(&real_root) {
                return Ok(());
            }
            let (file, real) = (output::line(&self.0), real.display());
            Err(ClientError::Said(format!("{file:?} is refused: a link on its way leads to {real}")))
        };
        std::fs::create_dir_all(root).map_err(error(root))?;
        let existing = parent.ancestors().find(|folder| folder.symlink_metadata().is_ok());
        inside(existing.unwrap_or(root))?;
        std::fs::create_dir_all(parent).map_err(error(parent))?;
        inside(parent)?;
        Ok(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_its_folder() {
        for name in
            ["", "/", "/etc/passwd", "../a", "a/../../b", "a//b", "./a", "a/", "a\\b", "a\0b", "a\nb", ".."]
        {
            assert!(RemotePath::parse(name).is_err(), "{name:?}");
        }
        for name in ["a", "a/b c/ü.bin", ".hidden", "a..b", "...", "~", "10:30"] {
            assert!(RemotePath::parse(name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn a_link_that_leads_out_is_refused_and_nothing_is_made_behind_it() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(outside.path(), root.path().join("link")).unwrap();
        for name in ["link/a", "link/deep/a"] {
            let error = RemotePath::parse(name).unwrap().place_below(root.path()).unwrap_err();
            assert!(error.to_string().contains("a link on its way"), "{error}");
        }
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        let place = RemotePath::parse("a/b").unwrap().place_below(&root.path().join("new")).unwrap();
        assert!(place.parent().unwrap().is_dir());
    }

    #[test]
    fn a_folder_is_not_a_prefix_of_its_name() {
        let path = RemotePath::parse("data/a.txt").unwrap();
        for (below, is) in [
            ("", true),
            ("data", true),
            ("data/", true),
            ("data/a.txt", true),
            ("dat", false),
            ("data/a", false),
        ] {
            assert_eq!(path.is_or_is_below(below), is, "{below}");
        }
    }
}
