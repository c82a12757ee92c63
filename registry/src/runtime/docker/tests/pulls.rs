//! Pulls from a real registry that wants credentials.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};

use bollard::query_parameters::{CreateImageOptionsBuilder, PushImageOptionsBuilder, RemoveImageOptions};
use bytes::Bytes;
use futures_util::TryStreamExt as _;

use super::super::super::conformance::eventually;
use super::super::super::image::{ImageReference, RegistryCredentials};
use super::super::fault::status;
use super::super::pull::with_credentials;
use super::*;

/// NVIDIA's kind of user, and a password whose standard base64 is not the one for URLs.
const USERS: [(&str, &str); 2] = [("$oauthtoken", "nvapi-right"), ("odd", "k?~>>>???~~~a?b>c~d")];
const HTPASSWD: &str = "$oauthtoken:$2y$04$tS826xhQNylstvpPTRjbeuPxYSkIEJou8IIJ.NAjjnmFUqTM2EPRG
odd:$2y$04$KKpeGKWiXukjpz/OZSHLZOwHkLDcpzbSjOsASGoPNn3THuRQxnSli
";

/// Ends with its last reader.
struct RegistryServer {
    child: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Drop for RegistryServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_address() -> String {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().to_string()
}

impl RegistryServer {
    async fn start() -> Option<Self> {
        let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("htpasswd"), HTPASSWD).unwrap();
        let config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"{address}\"}}\n\
             auth: {{htpasswd: {{realm: test, path: {}}}}}\n",
            path("data"),
            path("htpasswd")
        );
        std::fs::write(path("config.yml"), config).unwrap();
        let quiet = || Stdio::null();
        let serve = ["serve".to_owned(), path("config.yml")];
        let child = Command::new("docker-registry").args(serve).stdout(quiet()).stderr(quiet()).spawn();
        let Ok(child) = child else {
            missing("docker-registry is missing (Debian: apt-get install docker-registry)");
            return None;
        };
        let server = Self { child, address, _folder: folder };
        let connect = async || tokio::net::TcpStream::connect(&server.address).await.ok();
        eventually("the registry listens", connect).await;
        Some(server)
    }

    fn image(&self, tag: &str) -> ImageReference {
        format!("{}/team/tiny:{tag}", self.address).parse().unwrap()
    }

    fn credentials(&self, username: &str, password: &str) -> RegistryCredentials {
        let password = SecretString::from(password.to_owned());
        let (server, secret) = (self.address.clone(), "team/registry-key".to_owned());
        RegistryCredentials { server, username: username.into(), password, secret }
    }
}

/// Puts an image of one layer into the registry, and removes it from the engine.
async fn publish(client: &Docker, server: &RegistryServer, folder: &std::path::Path) {
    std::fs::write(folder.join("weights"), uuid::Uuid::new_v4().to_string().repeat(20_000)).unwrap();
    let tar = Command::new("tar").arg("-C").arg(folder).args(["-c", "weights"]).output().unwrap();
    let image = server.image("1.0");
    let import = CreateImageOptionsBuilder::new().from_src("-").repo(image.repository()).tag("1.0").build();
    let body = bollard::body_full(Bytes::from(tar.stdout));
    client.create_image(Some(import), Some(body), None).try_collect::<Vec<_>>().await.unwrap();
    let (username, password) = USERS[0];
    let pusher = with_credentials(client.clone(), &image, &server.credentials(username, password)).unwrap();
    let push = PushImageOptionsBuilder::new().tag("1.0").build();
    pusher.push_image(image.repository(), Some(push), None).try_collect::<Vec<_>>().await.unwrap();
    remove(client, &image).await;
}

async fn remove(client: &Docker, image: &ImageReference) {
    let removed = client.remove_image(&image.to_string(), None::<RemoveImageOptions>, None).await;
    assert!(removed.is_ok() || removed.as_ref().err().and_then(status) == Some(404), "{removed:?}");
}

/// Why it was not pulled, or how far the pull came.
async fn prepare(
    runtime: &DockerRuntime,
    image: &ImageReference,
    credentials: Option<&RegistryCredentials>,
) -> Result<(String, PullProgress), Fault> {
    pulled(runtime, image, PullTerms { credentials, ..PullTerms::default() }).await
}

async fn pulled(
    runtime: &DockerRuntime,
    image: &ImageReference,
    terms: PullTerms<'_>,
) -> Result<(String, PullProgress), Fault> {
    let launch = Launch::Image { reference: image.clone(), entrypoint: None, args: vec![] };
    let (progress, seen) = watch::channel(PullProgress::default());
    let digest = runtime.prepare(&launch, terms, &progress).await.inspect_err(|fault| {
        assert!(fault.message.contains(&image.to_string()), "{fault}");
        assert!(USERS.iter().all(|(_, password)| !fault.message.contains(password)), "{fault}");
    })?;
    let progress = *seen.borrow();
    Ok((digest.unwrap(), progress))
}

/// Speaks HTTP, and is no registry.
fn web_server() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().take(16) {
            let mut stream = stream.unwrap();
            let mut head = [0; 4096];
            let _ = stream.read(&mut head);
            let page =
                "HTTP/1.1 404 Not Found\r\ncontent-length: 13\r\nconnection: close\r\n\r\n<h1>What?</h1";
            let _ = stream.write_all(page.as_bytes());
        }
    });
    address
}

async fn pulls(runtime: &DockerRuntime, client: &Docker, server: &RegistryServer) {
    let image = server.image("1.0");
    for (username, password) in USERS {
        let credentials = server.credentials(username, password);
        let (digest, progress) = prepare(runtime, &image, Some(&credentials)).await.unwrap();
        assert!(digest.starts_with("sha256:"), "{digest}");
        assert_eq!((progress.layers_done, progress.layers_total), (1, 1), "{username}");
        assert_eq!(progress.bytes_done, progress.bytes_total, "{username}");
        // What is there is not pulled again, whoever asks.
        assert_eq!(prepare(runtime, &image, None).await, Ok((digest.clone(), PullProgress::default())));
        remove(client, &image).await;

        let by_digest = format!("{}@{digest}", image.repository()).parse().unwrap();
        assert_eq!(prepare(runtime, &by_digest, Some(&credentials)).await.unwrap().0, digest);
        remove(client, &by_digest).await;
    }
    let right = server.credentials(USERS[0].0, USERS[0].1);
    let wrong = server.credentials(USERS[0].0, "nvapi-wrong");
    let elsewhere = RegistryCredentials { server: "nvcr.io".into(), ..right.clone() };
    let away: ImageReference = format!("{}/team/tiny:1.0", free_address()).parse().unwrap();
    let no_registry: ImageReference = format!("{}/team/tiny:1.0", web_server()).parse().unwrap();
    let absent = server.image("9.9");
    for (image, credentials, kind, words) in [
        (&image, None, FaultKind::ImageAuth, "wants a login: store the password (nimgate secret create)"),
        (
            &image,
            Some(&wrong),
            FaultKind::ImageAuth,
            "user $oauthtoken with the password of the secret team/registry-key",
        ),
        (&image, Some(&elsewhere), FaultKind::ImageAuth, "give those for"),
        (&absent, Some(&right), FaultKind::ImageNotFound, "has no such image or tag"),
        (&away, None, FaultKind::RegistryUnreachable, "can't be reached: check its address"),
        (&no_registry, None, FaultKind::RegistryUnreachable, "is not an image registry"),
    ] {
        let fault = prepare(runtime, image, credentials).await.unwrap_err();
        assert!(fault.kind == kind && fault.message.contains(words), "{words}: {fault:?}");
    }
    let terms = PullTerms { credentials: Some(&right), disk_free_bytes_min: 1 << 60 };
    let fault = pulled(runtime, &image, terms).await.unwrap_err();
    assert!(fault.kind == FaultKind::NoSpace && fault.message.contains("--disk-size"), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_come_with_credentials_progress_and_a_reason_when_they_fail() {
    conformance::run(Containers::new().await, async |bench: &Containers| {
        let Some(server) = RegistryServer::start().await else { return };
        let client = bench.runtime.client().unwrap();
        publish(&client, &server, bench.shared.path()).await;
        let outcome =
            std::panic::AssertUnwindSafe(pulls(&bench.runtime, &client, &server)).catch_unwind().await;
        remove(&client, &server.image("1.0")).await;
        outcome.unwrap();
    })
    .await;
}
