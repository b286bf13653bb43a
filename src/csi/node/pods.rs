//! Mount pods of this node: made once, waited for by watching, removed with their last target.

use juicefs_k8s::labels;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::runtime::wait::await_condition;
use kube::{Api, ResourceExt};
use std::time::Duration;
use tonic::Status;

use super::Node;

const RUNNING_TIMEOUT: Duration = Duration::from_secs(60);
const GONE_TIMEOUT: Duration = Duration::from_secs(30);

fn unavailable(what: &str, error: &dyn std::fmt::Display) -> Status {
    Status::unavailable(format!("{what}: {error}"))
}

impl Node {
    pub(super) fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.kubernetes.clone(), &self.settings.namespace)
    }

    /// The running pod of that object, made if it is not there; one that ended is replaced.
    pub(super) async fn running_pod(&self, wanted: &Pod) -> Result<Pod, Status> {
        let pods = self.pods();
        let name = wanted.name_any();
        let found = pods.get_opt(&name).await.map_err(|error| unavailable(&name, &error))?;
        if let Some(found) = found {
            let is_ending = found.metadata.deletion_timestamp.is_some();
            if is_ending || matches!(phase(&found), "Failed" | "Succeeded") {
                self.remove_pod(&name).await?;
            }
        }
        match pods.create(&PostParams::default(), wanted).await {
            Ok(_) => {}
            Err(kube::Error::Api(answer)) if answer.code == 409 => {}
            Err(error) => return Err(unavailable(&format!("mount pod {name}"), &error)),
        }
        let running = |pod: Option<&Pod>| {
            pod.is_none_or(|pod| is_ready(pod) || matches!(phase(pod), "Failed" | "Succeeded"))
        };
        let waited =
            tokio::time::timeout(RUNNING_TIMEOUT, await_condition(pods.clone(), &name, running)).await;
        let pod = match waited {
            Ok(Ok(pod)) => pod,
            Ok(Err(error)) => return Err(unavailable(&format!("mount pod {name}"), &error)),
            Err(_) => pods.get_opt(&name).await.map_err(|error| unavailable(&name, &error))?,
        };
        match pod {
            Some(pod) if is_ready(&pod) => Ok(pod),
            Some(pod) => Err(Status::unavailable(format!("mount pod {name} does not run: {}", why(&pod)))),
            None => Err(Status::unavailable(format!("mount pod {name} is gone"))),
        }
    }

    /// Deletes a pod and waits until it is gone.
    pub(super) async fn remove_pod(&self, name: &str) -> Result<(), Status> {
        let pods = self.pods();
        match pods.delete(name, &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(answer)) if answer.code == 404 => return Ok(()),
            Err(error) => return Err(unavailable(&format!("mount pod {name}"), &error)),
        }
        let gone = await_condition(pods, name, |pod: Option<&Pod>| pod.is_none());
        match tokio::time::timeout(GONE_TIMEOUT, gone).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(unavailable(&format!("mount pod {name}"), &error)),
            Err(_) => Err(Status::unavailable(format!("mount pod {name} is still ending"))),
        }
    }

    /// Mount pods of a volume on this node.
    pub(super) async fn pods_of(&self, id: &str) -> Result<Vec<Pod>, Status> {
        let selector = format!(
            "{}={},{}={}",
            labels::APP_NAME,
            labels::MOUNT_POD_APP,
            labels::VOLUME_ID,
            juicefs_k8s::name::label_value(id)
        );
        let fields = format!("spec.nodeName={}", self.settings.serve.instance);
        let list = self.pods().list(&ListParams::default().labels(&selector).fields(&fields)).await;
        Ok(list.map_err(|error| unavailable("mount pods", &error))?.items)
    }
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn is_ready(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    phase(pod) == "Running"
        && pod.metadata.deletion_timestamp.is_none()
        && status
            .and_then(|status| status.container_statuses.as_ref())
            .is_some_and(|all| all.iter().all(|one| one.ready))
}

/// What the kubelet says of a pod that does not run.
fn why(pod: &Pod) -> String {
    let status = pod.status.as_ref();
    let containers = status.and_then(|status| status.container_statuses.clone()).unwrap_or_default();
    let of_containers = containers.into_iter().filter_map(|container| {
        let state = container.state?;
        let waiting = state.waiting.map(|waiting| {
            format!("{} {}", waiting.reason.unwrap_or_default(), waiting.message.unwrap_or_default())
        });
        let ended = state
            .terminated
            .map(|ended| format!("exit code {} {}", ended.exit_code, ended.message.unwrap_or_default()));
        waiting.or(ended)
    });
    let of_conditions = status.and_then(|status| status.conditions.clone()).unwrap_or_default();
    let of_conditions =
        of_conditions.into_iter().filter(|one| one.status != "True").filter_map(|one| one.message);
    let words: Vec<String> = of_containers.chain(of_conditions).collect();
    if words.is_empty() { format!("phase {}", phase(pod)) } else { words.join("; ") }
}
