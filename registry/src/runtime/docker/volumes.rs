//! Volumes of deployments, found by their labels like containers.

use std::collections::HashMap;

use bollard::Docker;
use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::{ListVolumesOptionsBuilder, RemoveVolumeOptions};

use super::super::id::{LABEL_INSTALLATION, VolumeId};
use super::fault::{self, status};
use super::{DockerRuntime, Fault, FaultKind};

impl DockerRuntime {
    pub(super) async fn make_volume(&self, client: &Docker, volume: &VolumeId) -> Result<(), Fault> {
        let name = volume.name(&self.installation);
        let request = VolumeCreateRequest {
            name: Some(name.clone()),
            labels: Some(volume.labels(&self.installation)),
            ..VolumeCreateRequest::default()
        };
        // The engine gives back the one that is there, whoever made it.
        let made = client.create_volume(request).await.map_err(|error| self.fault(error))?;
        self.refuse_foreign(volume, &name, &made.labels)
    }

    pub(super) async fn list_volumes(&self) -> Result<Vec<VolumeId>, Fault> {
        let label = format!("{LABEL_INSTALLATION}={}", self.installation.as_str());
        let filters = HashMap::from([("label", vec![label])]);
        let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
        let listed = self.client()?.list_volumes(Some(options)).await.map_err(|error| self.fault(error))?;
        let listed = listed.volumes.unwrap_or_default();
        let mut volumes: Vec<_> =
            listed.iter().filter_map(|it| VolumeId::from_labels(&it.labels, &self.installation)).collect();
        volumes.sort();
        Ok(volumes)
    }

    pub(super) async fn delete_volume(&self, volume: &VolumeId) -> Result<(), Fault> {
        let client = self.client()?;
        let name = volume.name(&self.installation);
        match client.inspect_volume(&name).await {
            Ok(found) => self.refuse_foreign(volume, &name, &found.labels)?,
            Err(error) if status(&error) == Some(404) => return Ok(()),
            Err(error) => return Err(self.fault(error)),
        }
        match client.remove_volume(&name, None::<RemoveVolumeOptions>).await {
            Ok(()) => Ok(()),
            Err(error) if status(&error) == Some(404) => Ok(()),
            Err(error) if status(&error) == Some(409) => Err(fault::volume_in_use(volume)),
            Err(error) => Err(self.fault(error)),
        }
    }

    fn refuse_foreign(
        &self,
        volume: &VolumeId,
        name: &str,
        labels: &HashMap<String, String>,
    ) -> Result<(), Fault> {
        if VolumeId::from_labels(labels, &self.installation).as_ref() == Some(volume) {
            return Ok(());
        }
        let way_out = "look at it, and remove or rename it by hand";
        Err(Fault::new(
            FaultKind::NameTaken,
            format!("the volume {name} is not this installation's; {way_out}"),
        ))
    }
}
