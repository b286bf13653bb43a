//! The claim that a volume is made for, looked at once per CreateVolume: for patterns, resources and Events.

use juicefs_k8s::events::Note;
use juicefs_k8s::labels::SIDECAR_PREFIX;
use juicefs_k8s::settings::{Claim, NodeFacts, render};
use k8s_openapi::api::core::v1::{Node, ObjectReference, PersistentVolumeClaim};
use kube::{Api, ResourceExt};
use std::collections::HashMap;
use tonic::Status;

use super::Controller;
use crate::status;

/// Annotation of a claim whose class waits for the first pod: the node that was chosen.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

/// What is known of the claim.
#[derive(Debug, Default)]
pub(super) struct ClaimSeen {
    pub claim: Claim,
    node: Option<NodeFacts>,
    object: ObjectReference,
}

impl ClaimSeen {
    /// Fills upstream's words in.
    pub(super) fn render(&self, what: &str, text: &str) -> Result<String, Status> {
        if !text.contains("${") {
            return Ok(text.to_owned());
        }
        if self.claim.name.is_empty() {
            return Err(Status::invalid_argument(format!(
                "{what} {text} needs the provisioner's --extra-create-metadata"
            )));
        }
        render(text, &self.claim, self.node.as_ref())
            .map_err(|error| Status::invalid_argument(format!("{what} {text}: {error}")))
    }

    /// The class's parameters, filled in; the sidecars' own are theirs.
    pub(super) fn render_parameters(
        &self,
        parameters: &HashMap<String, String>,
    ) -> Result<HashMap<String, String>, Status> {
        let own = parameters.iter().filter(|(key, _)| !key.starts_with(SIDECAR_PREFIX));
        own.map(|(key, value)| Ok((key.clone(), self.render(key, value)?))).collect()
    }
}

impl Controller {
    /// The claim that `parameters` name; nothing is known of it where there is none. Its node is looked at only if
    /// one of `patterns` asks for it.
    pub(super) async fn claim(
        &self,
        parameters: &HashMap<String, String>,
        patterns: &[&str],
    ) -> Result<ClaimSeen, Status> {
        let from = |key: &str| parameters.get(&format!("{SIDECAR_PREFIX}pvc/{key}")).cloned();
        let (Some(name), Some(namespace)) = (from("name"), from("namespace")) else {
            return Ok(ClaimSeen::default());
        };
        let Some(kubernetes) = &self.kubernetes else {
            let claim = Claim { name, namespace, ..Claim::default() };
            return Ok(ClaimSeen { claim, ..ClaimSeen::default() });
        };
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(kubernetes.clone(), &namespace);
        let found = claims.get(&name).await;
        let found = found.map_err(|error| status::of_kubernetes("claim", &name, &error))?;
        let wants_node = patterns.iter().any(|text| text.to_ascii_lowercase().contains("node."));
        let node = match found.annotations().get(SELECTED_NODE).filter(|_| wants_node) {
            Some(name) => Some(node_facts(Api::all(kubernetes.clone()), name).await?),
            None => None,
        };
        let object = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("PersistentVolumeClaim".to_owned()),
            name: Some(name.clone()),
            namespace: Some(namespace.clone()),
            uid: found.uid(),
            ..ObjectReference::default()
        };
        let metadata = found.metadata;
        let claim = Claim {
            name,
            namespace,
            labels: metadata.labels.unwrap_or_default(),
            annotations: metadata.annotations.unwrap_or_default(),
        };
        Ok(ClaimSeen { claim, node, object })
    }

    /// An Event on the claim.
    pub(super) async fn tell(&self, claim: &ClaimSeen, note: &Note) {
        if let Some(events) = self.events.as_ref().filter(|_| claim.object.name.is_some()) {
            events.publish(&claim.object, note).await;
        }
    }
}

async fn node_facts(nodes: Api<Node>, name: &str) -> Result<NodeFacts, Status> {
    let found = nodes.get(name).await.map_err(|error| status::of_kubernetes("node", name, &error))?;
    Ok(NodeFacts {
        name: name.to_owned(),
        pod_cidr: found.spec.and_then(|spec| spec.pod_cidr).unwrap_or_default(),
        labels: found.metadata.labels.unwrap_or_default(),
        annotations: found.metadata.annotations.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_need_a_claim_and_plain_text_does_not() {
        let none = ClaimSeen::default();
        assert_eq!(none.render("pathPattern", "a/b").expect("plain"), "a/b");
        let refused = none.render("pathPattern", "${.PVC.name}").expect_err("no claim");
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
        let claim = Claim { name: "c".into(), namespace: "ns".into(), ..Claim::default() };
        let seen = ClaimSeen { claim, ..ClaimSeen::default() };
        let parameters = HashMap::from([
            ("mountOptions".to_owned(), "subdir=${.pvc.namespace}".to_owned()),
            (format!("{SIDECAR_PREFIX}provisioner-secret-name"), "${pvc.name}".to_owned()),
        ]);
        let rendered = seen.render_parameters(&parameters).expect("known words");
        assert_eq!(rendered, HashMap::from([("mountOptions".to_owned(), "subdir=ns".to_owned())]));
        assert!(seen.render("pathPattern", "${.node.name}").is_err(), "no node was chosen");
    }
}
