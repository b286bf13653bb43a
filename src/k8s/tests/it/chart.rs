//! The rendered chart (`deploy/juicefs.yaml`): who may do what.

use serde_json::Value;
use std::collections::BTreeSet;

fn objects() -> Vec<Value> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/juicefs.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    text.split("\n---\n")
        .map(|document| serde_yaml::from_str::<Value>(document).unwrap())
        .filter(|object| !object.is_null())
        .collect()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

fn named<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    of_kind(objects, kind)
        .into_iter()
        .find(|object| object["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("no {kind} {name}"))
}

/// `verb resource` of every rule bound to a service account, with `@namespace` where the binding has one.
fn rights(objects: &[Value], account: &str) -> BTreeSet<String> {
    let mut rights = BTreeSet::new();
    for kind in ["ClusterRoleBinding", "RoleBinding"] {
        for binding in of_kind(objects, kind) {
            let subjects = binding["subjects"].as_array().unwrap();
            if subjects.iter().all(|subject| subject["name"] != account) {
                continue;
            }
            let role = &binding["roleRef"];
            let role = named(objects, role["kind"].as_str().unwrap(), role["name"].as_str().unwrap());
            let place = binding["metadata"]["namespace"]
                .as_str()
                .map(|namespace| format!("@{namespace}"))
                .unwrap_or_default();
            for rule in role["rules"].as_array().unwrap() {
                for resource in rule["resources"].as_array().unwrap() {
                    for verb in rule["verbs"].as_array().unwrap() {
                        rights.insert(format!(
                            "{} {}{place}",
                            verb.as_str().unwrap(),
                            resource.as_str().unwrap()
                        ));
                    }
                }
            }
        }
    }
    rights
}

#[test]
fn nobody_reads_secrets_outside_the_named_namespaces_and_nodes_read_none() {
    let objects = objects();
    let secrets = |account: &str| -> Vec<String> {
        rights(&objects, account).into_iter().filter(|right| right.contains("secrets")).collect()
    };
    assert_eq!(secrets("juicefs-csi-node"), Vec::<String>::new());
    assert_eq!(secrets("juicefs-csi-controller"), ["get secrets@juicefs-system"]);
    let operator = ["create", "delete", "get", "patch"].map(|verb| format!("{verb} secrets@juicefs-system"));
    assert_eq!(secrets("juicefs-operator"), operator);
}

#[test]
fn the_node_plugins_rights_are_these() {
    let rights: Vec<String> = rights(&objects(), "juicefs-csi-node").into_iter().collect();
    let want = [
        "create events",
        "create pods@juicefs-system",
        "delete pods@juicefs-system",
        "get nodes",
        "get pods@juicefs-system",
        "list pods@juicefs-system",
        "patch events",
        "watch pods@juicefs-system",
    ];
    assert_eq!(rights, want);
}

#[test]
fn no_role_has_a_wildcard_or_reaches_into_pods_and_nodes() {
    let objects = objects();
    for kind in ["ClusterRole", "Role"] {
        for role in of_kind(&objects, kind) {
            let text = role["rules"].to_string();
            for word in
                ["\"*\"", "nodes/proxy", "pods/exec", "serviceaccounts/token", "escalate", "impersonate"]
            {
                assert!(!text.contains(word), "{} has {word}", role["metadata"]["name"]);
            }
        }
    }
}

#[test]
fn only_the_node_plugin_is_privileged() {
    let objects = objects();
    for kind in ["Deployment", "DaemonSet"] {
        for workload in of_kind(&objects, kind) {
            let name = workload["metadata"]["name"].as_str().unwrap();
            for container in workload["spec"]["template"]["spec"]["containers"].as_array().unwrap() {
                let context = &container["securityContext"];
                assert_eq!(context["readOnlyRootFilesystem"], true, "{name}");
                if name == "juicefs-csi-node" {
                    assert_eq!(context["privileged"], true);
                } else {
                    assert_eq!(context["allowPrivilegeEscalation"], false, "{name}");
                    assert_eq!(context["runAsNonRoot"], true, "{name}");
                    assert_eq!(context["capabilities"]["drop"][0], "ALL", "{name}");
                }
            }
            let pod = &workload["spec"]["template"]["spec"];
            for absent in ["hostNetwork", "hostPID", "hostIPC"] {
                assert!(pod.get(absent).is_none(), "{name} has {absent}");
            }
        }
    }
}

#[test]
fn the_driver_object_is_what_the_driver_needs() {
    let objects = objects();
    let driver = &named(&objects, "CSIDriver", juicefs_k8s::DRIVER_NAME)["spec"];
    for (field, want) in [
        ("attachRequired", false),
        ("podInfoOnMount", true),
        ("requiresRepublish", true),
        ("storageCapacity", false),
        ("seLinuxMount", false),
    ] {
        assert_eq!(driver[field], want, "{field}");
    }
    let controller =
        &named(&objects, "Deployment", "juicefs-csi-controller")["spec"]["template"]["spec"]["containers"];
    for (name, image, flag) in [
        ("csi-provisioner", "csi-provisioner:v6.3.0", "--extra-create-metadata"),
        ("csi-resizer", "csi-resizer:v2.2.0", "--handle-volume-inuse-error=false"),
    ] {
        let sidecar = controller.as_array().unwrap().iter().find(|c| c["name"] == name).unwrap();
        assert_eq!(sidecar["image"], format!("registry.k8s.io/sig-storage/{image}"));
        for flag in ["--timeout=60s", "--leader-election", flag] {
            assert!(sidecar["args"].as_array().unwrap().iter().any(|argument| argument == flag), "{flag}");
        }
    }
}

#[test]
fn the_definitions_in_the_rendered_chart_are_the_generated_ones() {
    let objects = objects();
    for definition in juicefs_k8s::crd::definitions() {
        let mut found =
            named(&objects, "CustomResourceDefinition", definition.metadata.name.as_deref().unwrap()).clone();
        assert_eq!(found["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
        found["metadata"].as_object_mut().unwrap().remove("annotations");
        assert_eq!(
            found,
            serde_json::to_value(&definition).unwrap(),
            "deploy/juicefs.yaml is old; run deploy/render.sh"
        );
    }
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_metrics_that_exist() {
    let chart = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/juicefs");
    let text = |path: &str| std::fs::read_to_string(chart.join(path)).unwrap();
    let dashboard: Value = serde_json::from_str(&text("dashboards/juicefs.json")).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 10);
    let known = |name: &str| {
        juicefs_base::metrics::TABLE
            .iter()
            .any(|(of_table, ..)| name.strip_prefix("juicefs_") == Some(*of_table))
    };
    for file in ["dashboards/juicefs.json", "templates/monitoring.yaml"] {
        let content = text(file);
        let is_part = |letter: char| letter.is_ascii_lowercase() || letter == '_';
        let asked: BTreeSet<&str> = content
            .split(|letter: char| !is_part(letter))
            .filter(|word| word.starts_with("juicefs_"))
            .collect();
        assert!(asked.len() >= 6, "{file}: {asked:?}");
        let unknown: Vec<&&str> = asked.iter().filter(|name| !known(name)).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?}");
    }
}
