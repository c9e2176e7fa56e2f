//! What containers say of themselves, in labels and variables.

use bollard::errors::Error;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{InspectContainerOptions, ListContainersOptions};
use pipewright_api::attachment::{GuestIdentity, Runtime};
use pipewright_api::reason::Failure;

use super::Docker;
use crate::declared::Container;

/// A container in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// Names of its labels.
    pub labels: Vec<String>,
}

impl Docker {
    /// The containers that run (`docker ps`).
    ///
    /// # Errors
    /// DOCKER_DOWN or PODMAN_DOWN.
    pub async fn running(&self) -> Result<Vec<Listed>, Failure> {
        let all = self.client()?.list_containers(None::<ListContainersOptions>).await;
        let all = all.map_err(|error| self.down(&error))?;
        let listed = all.into_iter().filter_map(|container| {
            let labels = container.labels.unwrap_or_default().into_keys().collect();
            Some(Listed { id: container.id?, labels })
        });
        Ok(listed.collect())
    }

    /// The container of an id (`docker inspect`); `None` when there is none.
    ///
    /// # Errors
    /// DOCKER_DOWN or PODMAN_DOWN.
    pub async fn container(&self, id: &str) -> Result<Option<Container>, Failure> {
        match self.client()?.inspect_container(id, None::<InspectContainerOptions>).await {
            Ok(found) => Ok(Some(container(self.runtime(), found))),
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            Err(error) => Err(self.down(&error)),
        }
    }
}

fn container(runtime: Runtime, found: ContainerInspectResponse) -> Container {
    let state = found.state.unwrap_or_default();
    let config = found.config.unwrap_or_default();
    let pid = state.pid.and_then(|pid| u32::try_from(pid).ok()).filter(|&pid| pid > 0);
    Container {
        identity: GuestIdentity {
            runtime,
            id: found.id.unwrap_or_default(),
            name: found.name.unwrap_or_default().trim_start_matches('/').to_owned(),
            pid,
            netns_cookie: 0,
            started_at: state.started_at.unwrap_or_default(),
        },
        is_running: pid.is_some(),
        hostname: config.hostname.unwrap_or_default(),
        labels: config.labels.unwrap_or_default().into_iter().collect(),
        variables: config.env.unwrap_or_default(),
    }
}
