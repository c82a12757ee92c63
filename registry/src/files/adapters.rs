//! Adapters as servers see them: `<data_dir>/files/.adapters/<place>/<adapter>/…`, one place for the servers of each
//! version of a deployment.
//!
//! What must stay true:
//! - An adapter is there as a whole or not at all: it is made in `files/.passing`, synced, and renamed to its place, and
//!   goes by a rename back there.
//! - A place stays the same folder as long as a server may look into it.
//! - Files are the fileset's own under a second name, so an adapter costs nothing, and changes when nobody changes it: never.
//!
//! Absent on purpose: copies, for file systems without hard links.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::folder::Folder;
use super::path::FilePath;
use super::{FileError, FileStore, PASSING, make_folder};
use crate::domain::EntityId;
use crate::domain::adapter::placement::{ADAPTER_FILES_MAX, Content, Folders, Mark};

/// Holds the places. No id of a fileset begins with a dot.
pub const ADAPTERS: &str = ".adapters";

impl FileStore {
    /// What an adapter made of a fileset would have. One more file than allowed is enough to know.
    pub async fn content(&self, id: &EntityId) -> Result<Content, FileError> {
        match self.blocking(id, |folder| content(&folder)).await {
            Err(FileError::NotFound) => Ok(Content::new()),
            content => content,
        }
    }

    /// The folder of a place below that of all files, made when it is not there.
    pub async fn place_of_adapters(&self, place: &str) -> Result<PathBuf, FileError> {
        let path = Path::new(ADAPTERS).join(place);
        self.at_place(place, |_, _| Ok(())).await.map(|()| path)
    }

    /// The adapters at a place.
    pub async fn placed(&self, place: &str) -> Result<Folders, FileError> {
        self.at_place(place, |_, place| {
            let mut found = Folders::new();
            for name in place.folders_here()? {
                found.insert(name.clone(), content(&place.enter(&name)?)?);
            }
            Ok(found)
        })
        .await
    }

    /// Shows the files of a fileset as an adapter. [`FileError::NotFound`] when they are not what `content` says any more.
    pub async fn place_adapter(
        &self,
        place: &str,
        adapter: &str,
        id: &EntityId,
        content: &Content,
    ) -> Result<(), FileError> {
        let (adapter, id, content) = (adapter.to_owned(), id.clone(), content.clone());
        self.at_place(place, move |root, place| {
            let passing = Passing::new(root)?;
            let from = root.enter(id.as_str())?;
            let made = passing.folder.enter_or_make(&passing.name)?;
            for (path, mark) in &content {
                link(&from, &made, path, *mark)?;
            }
            made.sync()?;
            passing.folder.move_to(&passing.name, place, &adapter)?;
            place.sync()
        })
        .await
    }

    /// Nobody sees the adapter any more when this returns.
    pub async fn take_adapter_away(&self, place: &str, adapter: &str) -> Result<(), FileError> {
        let adapter = adapter.to_owned();
        self.at_place(place, move |root, place| {
            let passing = Passing::new(root)?;
            place.move_to(&adapter, &passing.folder, &passing.name)?;
            place.sync()
        })
        .await
    }

    /// All places there are.
    pub async fn places_of_adapters(&self) -> Result<Vec<String>, FileError> {
        let root = Arc::clone(&self.root);
        let listing = tokio::task::spawn_blocking(move || match Folder::open(&root.join(ADAPTERS)) {
            Err(FileError::NotFound) => Ok(Vec::new()),
            folder => folder?.folders_here(),
        });
        listing.await?
    }

    /// For a place into which no server looks any more.
    pub async fn remove_place_of_adapters(&self, place: &str) -> Result<(), FileError> {
        let (root, place) = (Arc::clone(&self.root), place.to_owned());
        let removing = tokio::task::spawn_blocking(move || {
            let root = Folder::open(&root)?;
            let passing = Passing::new(&root)?;
            root.enter(ADAPTERS)?.move_to(&place, &passing.folder, &passing.name)
        });
        removing.await?
    }

    /// The files of a fileset can be read by whoever runs in a container.
    pub async fn make_readable(&self, id: &EntityId) -> Result<(), FileError> {
        self.blocking(id, |folder| folder.make_readable()).await
    }

    /// Runs `work` with the folder of all files and that of a place, off the async threads.
    async fn at_place<T, F>(&self, place: &str, work: F) -> Result<T, FileError>
    where
        T: Send + 'static,
        F: FnOnce(&Folder, &Folder) -> Result<T, FileError> + Send + 'static,
    {
        let (root, place) = (Arc::clone(&self.root), place.to_owned());
        let working = tokio::task::spawn_blocking(move || {
            make_folder(&root.join(PASSING))?;
            let root = Folder::open(&root)?;
            let place = root.enter_or_make(ADAPTERS)?.enter_or_make(&place)?;
            work(&root, &place)
        });
        working.await?
    }
}

/// A name among what is on its way. What has it when this is dropped is removed.
struct Passing {
    folder: Folder,
    name: String,
}

impl Passing {
    fn new(root: &Folder) -> Result<Self, FileError> {
        Ok(Self { folder: root.enter(PASSING)?, name: uuid::Uuid::new_v4().to_string() })
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        match self.folder.remove_all(&self.name) {
            // It is in its place.
            Ok(()) | Err(FileError::NotFound) => {}
            Err(error) => tracing::warn!(%error, "what is left of an adapter goes at the next start"),
        }
    }
}

fn content(folder: &Folder) -> Result<Content, FileError> {
    let mut files = Vec::new();
    match folder.files_below("", ADAPTER_FILES_MAX + 1, &mut files) {
        Ok(()) | Err(FileError::TooMany(_)) => {}
        Err(error) => return Err(error),
    }
    let mut content = Content::new();
    for (path, bytes) in files {
        let Ok(parsed) = FilePath::parse(&path) else { continue };
        match inode(folder, &parsed) {
            Ok(inode) => drop(content.insert(path, Mark { bytes, inode })),
            Err(FileError::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(content)
}

fn inode(top: &Folder, path: &FilePath) -> Result<u64, FileError> {
    let (folders, name) = path.split();
    let mut inner: Option<Folder> = None;
    for name in folders {
        inner = Some(inner.as_ref().unwrap_or(top).enter(name)?);
    }
    inner.as_ref().unwrap_or(top).inode(name)
}

/// Gives the file at `path` below `from` a second name below `to`.
fn link(from: &Folder, to: &Folder, path: &str, mark: Mark) -> Result<(), FileError> {
    let path = FilePath::parse(path)?;
    let (folders, name) = path.split();
    let mut way: Vec<(Folder, Folder)> = Vec::new();
    for name in folders {
        let (from, to) = way.last().map_or((from, to), |(from, to)| (from, to));
        way.push((from.enter(name)?, to.enter_or_make(name)?));
    }
    let (source, target) = way.last().map_or((from, to), |(from, to)| (from, to));
    target.link_from(source, name)?;
    if target.inode(name)? != mark.inode {
        return Err(FileError::NotFound);
    }
    target.make_file_readable(name)?;
    way.iter().rev().try_for_each(|(_, to)| to.sync())
}

#[cfg(test)]
mod tests;
