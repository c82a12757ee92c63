//! A real container engine, and the image of the simulated NIM.

use integration_tests::in_ci;

pub const IMAGE: &str = "nimgate/nim-sim:test";

/// Whether containers of the simulated NIM can be run here; with `CI=true` they must be.
pub async fn has_containers() -> bool {
    let found = try_docker(&["image", "inspect", IMAGE]).await.is_some();
    let why = "skipped: no container engine, or no image nimgate/nim-sim:test; run tests/nim-sim/image";
    assert!(found || !in_ci(), "{why}");
    if !found {
        eprintln!("{why}");
    }
    found
}

/// What a command of the engine prints.
pub async fn docker(args: &[&str]) -> String {
    try_docker(args).await.unwrap_or_else(|| panic!("docker {args:?} failed"))
}

pub async fn try_docker(args: &[&str]) -> Option<String> {
    let output = tokio::process::Command::new("docker").args(args).output().await.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
