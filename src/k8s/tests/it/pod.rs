//! Mount pods: what they may and what they must not.

use juicefs_k8s::pod::{MountPod, socket_on_host};
use juicefs_k8s::settings::{VolumeSettings, secret_map};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn settings(parameters: &[(&str, &str)]) -> VolumeSettings {
    let secrets = [
        "metaurl",
        "storage",
        "bucket",
        "access-key",
        "secret-key",
        "session-token",
        "passphrase",
        "encrypt_rsa_key",
    ]
    .map(|key| (key.to_owned(), "redis://:CANARY@CANARY".to_owned()));
    let more = [("name", "test"), ("envs", "A: CANARY"), ("format-options", "secret-key=CANARY")];
    let more = more.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let parameters: BTreeMap<String, String> =
        parameters.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    VolumeSettings::for_existing_volume(&secret_map(secrets.into_iter().chain(more)), &parameters, &[])
        .unwrap()
}

fn built(settings: &VolumeSettings, node: &str, volume_id: &str) -> Value {
    let roots = [PathBuf::from("/var/jfsCache")];
    let hash = settings.sharing_hash("");
    let pod = MountPod {
        namespace: "juicefs-system",
        node,
        image: "juicefs:dev",
        image_pull_policy: "IfNotPresent",
        volume_id,
        settings_hash: &hash,
        cache_name: "51c45a61-2647-47ed-84b5-c14e9f92a47c",
        cache_roots: &roots,
        settings: &settings.attributes.pod,
        priority_class: "system-node-critical",
        owner: None,
    };
    serde_json::to_value(pod.build()).unwrap()
}

#[test]
fn no_secret_is_anywhere_in_a_mount_pod() {
    let settings = settings(&[("juicefs/mount-labels", "team: red")]);
    let pod = built(&settings, "n1", "pvc-1");
    assert!(!pod.to_string().contains("CANARY"));
    let container = &pod["spec"]["containers"][0];
    assert!(container.get("env").is_none() && container.get("envFrom").is_none());
    assert_eq!(container["command"], json!(["juicefs", "mount-pod", "--socket", "/comm/mount.sock"]));
}

#[test]
fn a_mount_pod_has_no_rights() {
    let pod = built(&settings(&[]), "n1", "pvc-1");
    let spec = &pod["spec"];
    assert_eq!(spec["automountServiceAccountToken"], false);
    assert_eq!(spec["securityContext"]["runAsUser"], 65532);
    assert_eq!(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let context = &spec["containers"][0]["securityContext"];
    assert_eq!(context["privileged"], false);
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["readOnlyRootFilesystem"], true);
    assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
    for absent in ["hostNetwork", "hostPID", "hostIPC", "initContainers", "serviceAccountName"] {
        assert!(spec.get(absent).is_none(), "{absent}");
    }
    let host_paths: Vec<&Value> =
        spec["volumes"].as_array().unwrap().iter().filter_map(|v| v.get("hostPath")).collect();
    assert_eq!(
        host_paths,
        [&json!({"path": "/var/jfsCache/51c45a61-2647-47ed-84b5-c14e9f92a47c", "type": "Directory"})]
    );
}

#[test]
fn names_and_labels_are_upstreams_and_nobody_overrides_them() {
    let settings = settings(&[
        ("juicefs/mount-labels", "{app.kubernetes.io/name: mine, team: red}"),
        ("juicefs/mount-delete-delay", "1m"),
    ]);
    let pod = built(&settings, "n1", "pvc-1");
    let labels = &pod["metadata"]["labels"];
    assert_eq!(labels["app.kubernetes.io/name"], "juicefs-mount");
    assert_eq!((labels["volume-id"].as_str(), labels["team"].as_str()), (Some("pvc-1"), Some("red")));
    assert_eq!(labels["juicefs-hash"], settings.sharing_hash(""));
    assert_eq!(pod["metadata"]["annotations"]["juicefs-delete-delay"], "60s");
    let name = pod["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("juicefs-n1-pvc-1-"), "{name}");
    assert_eq!(name, built(&settings, "n1", "pvc-1")["metadata"]["name"]);
    let odd = built(&settings, &"n".repeat(250), &format!("A_{}", "b".repeat(100)));
    assert!(odd["metadata"]["name"].as_str().unwrap().len() <= 253);
    assert_eq!(odd["metadata"]["labels"]["volume-id"].as_str().unwrap().len(), 63);
}

#[test]
fn resources_follow_the_parameters_and_requests_stay_below_limits() {
    let of = |parameters: &[(&str, &str)]| {
        built(&settings(parameters), "n", "v")["spec"]["containers"][0]["resources"].clone()
    };
    assert_eq!(
        of(&[]),
        json!({"limits": {"cpu": "5000m", "memory": "5Gi"}, "requests": {"cpu": "100m", "memory": "256Mi"}})
    );
    let small = of(&[("juicefs/mount-memory-limit", "128Mi"), ("juicefs/mount-cpu-limit", "0.05")]);
    assert_eq!(small["requests"], json!({"cpu": "0.05", "memory": "128Mi"}));
    let without = of(&[
        ("juicefs/mount-cpu-limit", "0"),
        ("juicefs/mount-memory-limit", "0"),
        ("juicefs/mount-cpu-request", "0"),
    ]);
    assert_eq!(without, json!({"limits": {}, "requests": {"memory": "256Mi"}}));
}

#[test]
fn the_socket_is_found_through_the_kubelets_directory() {
    let path = socket_on_host(Path::new("/var/lib/kubelet"), "0c8e5b9a-0000-4000-8000-000000000000");
    let want = "/var/lib/kubelet/pods/0c8e5b9a-0000-4000-8000-000000000000/volumes/kubernetes.io~empty-dir/comm/mount.sock";
    assert_eq!(path, Path::new(want));
}
