//! Pulling images, with the credentials in a form that every engine reads.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bollard::Docker;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt as _;
use http::HeaderValue;
use proto_shared::secret::ExposeSecret as _;
use proto_shared::secret::zeroize::Zeroizing;
use serde_json::json;
use tokio::sync::watch;

use super::super::image::{ImageReference, Layers, PullProgress, RegistryCredentials};
use super::super::process::disk_free_bytes;
use super::fault::{self, status};
use super::{DockerRuntime, Fault};

impl DockerRuntime {
    /// The digest of an image that is on this host: the registry's, or the engine's own for one that never was
    /// in a registry.
    pub(super) async fn image_digest(
        &self,
        client: &Docker,
        image: &ImageReference,
    ) -> Result<Option<String>, Fault> {
        let found = match client.inspect_image(&image.to_string()).await {
            Ok(found) => found,
            Err(error) if status(&error) == Some(404) => return Ok(None),
            Err(error) => return Err(self.fault(error)),
        };
        let digests = found.repo_digests.unwrap_or_default();
        let ours =
            digests.iter().find_map(|digest| digest.strip_prefix(image.repository())?.strip_prefix('@'));
        Ok(Some(ours.map(str::to_owned).or(found.id).unwrap_or_default()))
    }

    /// Refuses a pull for which there is too little space. Where the engine keeps its images elsewhere, that can't be
    /// told, and is left to the engine.
    pub(super) async fn check_space(
        &self,
        client: &Docker,
        image: &ImageReference,
        wanted: u64,
    ) -> Result<(), Fault> {
        if wanted == 0 {
            return Ok(());
        }
        let info = client.info().await.map_err(|error| self.fault(error))?;
        let root = info.docker_root_dir.unwrap_or_default();
        match disk_free_bytes(&root) {
            Some(free) if free < wanted => Err(fault::too_little_space(image, &root, free, wanted)),
            Some(_) => Ok(()),
            None => {
                tracing::info!(root, "free space of the container engine can't be told; pulling anyway");
                Ok(())
            }
        }
    }

    pub(super) async fn pull(
        &self,
        client: &Docker,
        image: &ImageReference,
        credentials: Option<&RegistryCredentials>,
        progress: &watch::Sender<PullProgress>,
    ) -> Result<(), Fault> {
        let client = match credentials {
            Some(credentials) => with_credentials(client.clone(), image, credentials)?,
            None => client.clone(),
        };
        // Without a tag an engine pulls all there are. One named by its digest has none, and needs none.
        let options = match image.tag() {
            Some(tag) => CreateImageOptionsBuilder::new().from_image(image.repository()).tag(tag),
            None => CreateImageOptionsBuilder::new().from_image(&image.to_string()),
        };
        let mut layers = Layers::default();
        let mut lines = client.create_image(Some(options.build()), None, None);
        while let Some(line) = lines.next().await {
            let line = line.map_err(|error| fault::of_pull(&self.host, image, credentials, &error))?;
            let (Some(layer), Some(status)) = (line.id, line.status) else { continue };
            let detail = line.progress_detail.unwrap_or_default();
            let bytes =
                |count: Option<i64>| count.and_then(|count| u64::try_from(count).ok()).unwrap_or_default();
            layers.observe(&layer, &status, bytes(detail.current), bytes(detail.total));
            let now = layers.progress();
            progress.send_if_modified(|known| std::mem::replace(known, now) != now);
        }
        Ok(())
    }
}

/// The client would send the credentials in standard base64, and an engine that finds a `+` or `/` in them
/// pulls without any. So they are sent by us.
pub(super) fn with_credentials(
    client: Docker,
    image: &ImageReference,
    credentials: &RegistryCredentials,
) -> Result<Docker, Fault> {
    let server = plain_server(&credentials.server);
    if server != image.registry() {
        return Err(fault::other_registry(image, server));
    }
    let address = if server == "docker.io" { "https://index.docker.io/v1/" } else { server };
    let document = json!({
        "username": credentials.username,
        "password": credentials.password.expose_secret(),
        "serveraddress": address,
    });
    let encoded = Zeroizing::new(URL_SAFE.encode(Zeroizing::new(document.to_string()).as_bytes()));
    let Ok(mut header) = HeaderValue::from_str(&encoded) else {
        return Err(fault::other_registry(image, server));
    };
    header.set_sensitive(true);
    Ok(client.with_request_modifier(move |mut request| {
        request.headers_mut().insert("X-Registry-Auth", header.clone());
        request
    }))
}

/// Host and port, however the server was written.
fn plain_server(server: &str) -> &str {
    let server = server.strip_prefix("https://").or_else(|| server.strip_prefix("http://")).unwrap_or(server);
    let host = server.split('/').next().unwrap_or_default();
    if matches!(host, "index.docker.io" | "registry-1.docker.io") { "docker.io" } else { host }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_the_same_however_it_is_written() {
        assert_eq!(plain_server("nvcr.io"), "nvcr.io");
        assert_eq!(plain_server("https://nvcr.io/"), "nvcr.io");
        assert_eq!(plain_server("https://index.docker.io/v1/"), "docker.io");
        assert_eq!(plain_server("127.0.0.1:5000"), "127.0.0.1:5000");
    }
}
