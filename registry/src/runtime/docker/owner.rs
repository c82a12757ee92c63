//! Volumes that whoever runs in a container may write to.
//!
//! A fresh volume belongs to root, unless the image has a folder at its path; and no call of the engine says whom it is
//! to belong to. But archives are unpacked into containers that are made and not started, volumes included, and say whose
//! their folders are. So an archive of one empty folder, the volume's, does it: without a helper's image, and without
//! anything on the host.
//!
//! Absent on purpose: what a volume holds already. It belongs to whoever wrote it.

use bollard::Docker;
use bollard::query_parameters::UploadToContainerOptionsBuilder;

use super::super::spec::{InstanceSpec, MountSource, User};
use super::DockerRuntime;

/// The unit of an archive; two empty ones end it.
const BLOCK: usize = 512;
const MODE: u32 = 0o755;
/// Where in a header its sum is.
const SUM: std::ops::Range<usize> = 148..156;

impl DockerRuntime {
    /// Before the container starts. Where the engine refuses, the image may have rights of its own that do.
    pub(super) async fn give_volumes(&self, client: &Docker, container: &str, spec: &InstanceSpec) {
        let Some(user) = spec.user else { return };
        for mount in &spec.mounts {
            let MountSource::Volume(volume) = mount.source() else { continue };
            let Some((parent, archive)) = archive(mount.target(), user) else { continue };
            let options = UploadToContainerOptionsBuilder::new().path(parent).build();
            let body = bollard::body_full(archive.into());
            if let Err(error) = client.upload_to_container(container, Some(options), body).await {
                tracing::warn!(%volume, uid = user.uid, %error, "a volume may stay closed to who runs in its container");
            }
        }
    }
}

/// The folder in which `target` lies, and an archive that makes `target` there and gives it to `user`.
fn archive(target: &str, user: User) -> Option<(&str, Vec<u8>)> {
    let (parent, name) = target.trim_end_matches('/').rsplit_once('/')?;
    let parent = if parent.is_empty() { "/" } else { parent };
    let mut archive = header(name, user)?.to_vec();
    archive.resize(3 * BLOCK, 0);
    Some((parent, archive))
}

/// Of a folder, as `tar` writes it; none for a name that has no room in it.
fn header(name: &str, user: User) -> Option<[u8; BLOCK]> {
    let mut block = [0; BLOCK];
    let mut put = |field: std::ops::Range<usize>, bytes: &[u8]| {
        let room = block.get_mut(field).filter(|room| room.len() >= bytes.len())?;
        room[..bytes.len()].copy_from_slice(bytes);
        Some(())
    };
    put(0..100, format!("{name}/").as_bytes())?;
    put(100..108, &number(MODE))?;
    put(108..116, &number(user.uid))?;
    put(116..124, &number(user.gid.unwrap_or_default()))?;
    put(124..136, b"00000000000\0")?;
    put(136..148, b"00000000000\0")?;
    // The sum is taken with blanks in its own place.
    put(SUM, b"        ")?;
    put(156..157, b"5")?;
    put(257..265, b"ustar\x0000")?;
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[SUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Some(block)
}

/// In octal digits; one that is too large for them in bytes, which the first one says.
fn number(number: u32) -> [u8; 8] {
    let mut field = [0x80, 0, 0, 0, 0, 0, 0, 0];
    match format!("{number:07o}\0").as_bytes() {
        digits if digits.len() == field.len() => field.copy_from_slice(digits),
        _ => field[4..].copy_from_slice(&number.to_be_bytes()),
    }
    field
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn an_archive_holds_one_folder_with_its_owner() {
        for (uid, gid, owner) in [(1000, Some(2000), "1000/2000"), (4_000_000_000, None, "4000000000/0")] {
            let (parent, archive) = archive("/opt/nim/.cache", User { uid, gid }).unwrap();
            assert_eq!((parent, archive.len()), ("/opt/nim", 3 * BLOCK));
            let listed = listed(&archive);
            let words: Vec<_> = listed.split_whitespace().collect();
            assert_eq!((words[0], words[1], *words.last().unwrap()), ("drwxr-xr-x", owner, ".cache/"));
        }
    }

    fn listed(archive: &[u8]) -> String {
        let mut tar = Command::new("tar");
        tar.args(["--numeric-owner", "-tv"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut tar = tar.spawn().unwrap();
        tar.stdin.take().unwrap().write_all(archive).unwrap();
        String::from_utf8(tar.wait_with_output().unwrap().stdout).unwrap()
    }

    #[test]
    fn what_has_no_room_in_an_archive_is_left_alone() {
        let user = User { uid: 1000, gid: None };
        assert_eq!(archive("/cache", user).map(|(parent, _)| parent), Some("/"));
        assert!(archive(&format!("/{}", "x".repeat(100)), user).is_none());
    }
}
