//! A container that runs as a user of its own: what it may read, and write.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_root_in_a_container_writes_to_its_volume_and_reads_what_is_shown_to_all() {
    conformance::run(Containers::new().await, async |bench: &Containers| {
        let id = id("llama", 0);
        let weights = bench.shared.path().join("weights");
        std::fs::create_dir(&weights).unwrap();
        std::fs::write(weights.join("config.json"), "readable").unwrap();
        let set = |path: &std::path::Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        set(bench.shared.path(), 0o700);
        set(&weights, 0o755);
        set(&weights.join("config.json"), 0o644);

        // The image has neither of these folders.
        let (cache, model) = ("/opt/nim/.cache", "/model-store");
        let (written, read) = (format!("{cache}/written"), format!("{model}/config.json"));
        let mut spec = spec(bench.launch(&["--write-file", &written, "--print-file", &read]));
        spec.user = Some(User { uid: 1000, gid: Some(2000) });
        let volume = VolumeId::new(id.deployment.clone(), "cache").unwrap();
        spec.mounts = vec![
            Mount::new(MountSource::Volume(volume), cache).unwrap(),
            Mount::new(MountSource::Folder("weights".into()), model).unwrap(),
        ];
        bench.runtime.start(&id, &spec).await.unwrap();
        let lines = bench.runtime.logs(&id, LogQuery { follow: true, ..LogQuery::last(10) }).await.unwrap();
        let lines: Vec<_> = lines.take(2).map(|line| line.unwrap()).collect().await;
        assert_eq!(lines, [format!("{written}: written"), format!("{read}: readable")]);
    })
    .await;
}
