//! StorageClasses of a `FileSystem` or a `Mirror`.

use crate::crd::file_system::{BindingMode, ReclaimPolicy, StorageClassSpec};
use crate::settings::MountOptions;
use crate::{DRIVER_NAME, labels};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;

/// Calls of the sidecars and the kubelet that carry the Secret.
const SECRET_CALLS: &[&str] = &["provisioner", "node-publish", "controller-expand"];

/// Kinds of ours that things are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerKind {
    FileSystem,
    Mirror,
}

impl OwnerKind {
    /// The object's kind.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FileSystem => "FileSystem",
            Self::Mirror => "Mirror",
        }
    }

    /// Labels that say whose an object is: name and namespace.
    #[must_use]
    pub fn label_keys(self) -> [&'static str; 2] {
        match self {
            Self::FileSystem => [labels::FILE_SYSTEM, labels::FILE_SYSTEM_NAMESPACE],
            Self::Mirror => [labels::MIRROR_NAME, labels::MIRROR_NAMESPACE],
        }
    }
}

/// Who the classes are for.
#[derive(Clone, Debug)]
pub struct ClassOwner<'a> {
    pub kind: OwnerKind,
    /// Name of the object.
    pub name: &'a str,
    /// Its namespace, where the Secret is too.
    pub namespace: &'a str,
    /// Name of the exported Secret.
    pub secret: &'a str,
}

/// Why no class can be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("class {class:?}: parameter {key:?} is set by the operator")]
    ReservedParameter { class: String, key: String },
    #[error("class {class:?}: {cause}")]
    BadParameter { class: String, cause: String },
}

/// The class that `spec` asks for, labelled as `owner`'s.
///
/// # Errors
/// For parameters that the operator sets itself, and for parameters or mount options that nobody knows.
pub fn build(spec: &StorageClassSpec, owner: &ClassOwner<'_>) -> Result<StorageClass, Error> {
    let class = || spec.name.clone();
    let mut parameters = BTreeMap::new();
    for (key, value) in &spec.parameters {
        if key.starts_with(labels::SIDECAR_PREFIX) || key == "pathPattern" || key == "mountOptions" {
            return Err(Error::ReservedParameter { class: class(), key: key.clone() });
        }
        parameters.insert(key.clone(), value.clone());
    }
    crate::settings::check_parameters(&parameters)
        .map_err(|error| Error::BadParameter { class: class(), cause: error.to_string() })?;
    let options: Vec<String> = spec.mount_options.iter().map(|list| list.trim().to_owned()).collect();
    let unknown: Vec<String> = options
        .iter()
        .flat_map(|list| MountOptions::parse(list).unknown().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    if !unknown.is_empty() {
        let cause = format!("mount options not known: {}", unknown.join(", "));
        return Err(Error::BadParameter { class: class(), cause });
    }
    if owner.kind == OwnerKind::Mirror && spec.path_pattern.is_none() && !parameters.contains_key("subPath") {
        let cause = "nothing is ever made in a mirror: set pathPattern, or the parameter subPath, to a directory of the \
                     source"
            .to_owned();
        return Err(Error::BadParameter { class: class(), cause });
    }
    if owner.kind == OwnerKind::Mirror && spec.allow_volume_expansion {
        let cause =
            "nothing is limited in a mirror, so nothing can be expanded: leave allowVolumeExpansion out"
                .to_owned();
        return Err(Error::BadParameter { class: class(), cause });
    }
    if let Some(pattern) = &spec.path_pattern {
        parameters.insert("pathPattern".into(), pattern.clone());
    }
    for call in SECRET_CALLS {
        parameters.insert(format!("{}{call}-secret-name", labels::SIDECAR_PREFIX), owner.secret.into());
        parameters
            .insert(format!("{}{call}-secret-namespace", labels::SIDECAR_PREFIX), owner.namespace.into());
    }
    let annotations =
        spec.default.then(|| BTreeMap::from([(labels::DEFAULT_CLASS.to_owned(), "true".to_owned())]));
    Ok(StorageClass {
        metadata: ObjectMeta {
            name: Some(spec.name.clone()),
            labels: Some(owner_labels(owner.kind, owner.name, owner.namespace)),
            annotations,
            ..ObjectMeta::default()
        },
        provisioner: DRIVER_NAME.into(),
        parameters: Some(parameters),
        mount_options: (!options.is_empty()).then_some(options),
        reclaim_policy: Some(
            match spec.reclaim_policy {
                ReclaimPolicy::Delete => "Delete",
                ReclaimPolicy::Retain => "Retain",
            }
            .into(),
        ),
        volume_binding_mode: Some(
            match spec.volume_binding_mode {
                BindingMode::Immediate => "Immediate",
                BindingMode::WaitForFirstConsumer => "WaitForFirstConsumer",
            }
            .into(),
        ),
        allow_volume_expansion: Some(spec.allow_volume_expansion),
        ..StorageClass::default()
    })
}

/// Labels of everything that is made for an object of ours.
#[must_use]
pub fn owner_labels(kind: OwnerKind, name: &str, namespace: &str) -> BTreeMap<String, String> {
    let [name_key, namespace_key] = kind.label_keys();
    BTreeMap::from([
        (labels::MANAGED_BY.to_owned(), "juicefs-operator".to_owned()),
        (name_key.to_owned(), name.to_owned()),
        (namespace_key.to_owned(), namespace.to_owned()),
    ])
}

/// Whether an object's labels say that it was made for this one.
#[must_use]
pub fn belongs_to(found: &ObjectMeta, kind: OwnerKind, name: &str, namespace: &str) -> bool {
    let has = |key: &str, value: &str| {
        found.labels.as_ref().and_then(|labels| labels.get(key)).is_some_and(|v| v == value)
    };
    owner_labels(kind, name, namespace).iter().all(|(key, value)| has(key, value))
}

/// Whether `found` can become `wanted` without being made anew: the API server lets nobody change the rest.
#[must_use]
pub fn can_update(found: &StorageClass, wanted: &StorageClass) -> bool {
    found.provisioner == wanted.provisioner
        && found.parameters == wanted.parameters
        && found.reclaim_policy == wanted.reclaim_policy
        && found.volume_binding_mode == wanted.volume_binding_mode
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: ClassOwner<'_> =
        ClassOwner { kind: OwnerKind::FileSystem, name: "data", namespace: "storage", secret: "data-csi" };

    #[test]
    fn a_class_names_the_secret_for_every_call_and_its_owner() {
        let spec = StorageClassSpec {
            name: "data".into(),
            path_pattern: Some("${.PVC.namespace}".into()),
            mount_options: vec!["cache-size=10G,writeback".into()],
            parameters: BTreeMap::from([("juicefs/mount-memory-limit".into(), "1Gi".into())]),
            ..StorageClassSpec::default()
        };
        let class = build(&spec, &OWNER).expect("valid");
        let parameters = class.parameters.clone().expect("set");
        for call in ["provisioner", "node-publish", "controller-expand"] {
            assert_eq!(parameters[&format!("csi.storage.k8s.io/{call}-secret-name")], "data-csi");
            assert_eq!(parameters[&format!("csi.storage.k8s.io/{call}-secret-namespace")], "storage");
        }
        assert_eq!(parameters["pathPattern"], "${.PVC.namespace}");
        assert_eq!(
            (class.provisioner.as_str(), class.reclaim_policy.as_deref()),
            ("csi.juicefs.com", Some("Delete"))
        );
        let belongs = |kind, namespace| belongs_to(&class.metadata, kind, "data", namespace);
        assert!(belongs(OwnerKind::FileSystem, "storage") && !belongs(OwnerKind::FileSystem, "other"));
        assert!(!belongs(OwnerKind::Mirror, "storage"), "a Mirror of the same name is another owner");
        assert!(class.metadata.annotations.is_none());
        let mut retained = class.clone();
        retained.reclaim_policy = Some("Retain".into());
        assert!(can_update(&class, &class) && !can_update(&class, &retained));
    }

    #[test]
    fn a_class_of_a_mirror_says_where_its_volumes_are() {
        let owner = ClassOwner { kind: OwnerKind::Mirror, ..OWNER };
        let plain = StorageClassSpec { name: "c".into(), ..StorageClassSpec::default() };
        let told = build(&plain, &owner).expect_err("no path").to_string();
        assert!(told.contains("pathPattern"), "{told}");
        let parameters = BTreeMap::from([("subPath".to_owned(), "a".to_owned())]);
        build(&StorageClassSpec { parameters, ..plain.clone() }, &owner).expect("subPath");
        let named = StorageClassSpec { path_pattern: Some("a".into()), ..plain };
        build(&named, &owner).expect("pathPattern");
        let told = build(&StorageClassSpec { allow_volume_expansion: true, ..named }, &owner);
        assert!(told.expect_err("nothing to expand").to_string().contains("allowVolumeExpansion"));
    }

    #[test]
    fn parameters_that_would_reach_another_secret_are_refused() {
        let refused = [
            ("csi.storage.k8s.io/node-publish-secret-name", "x"),
            ("juicefs/mount-memory-limit", "lots"),
            ("juicefs/no-such-thing", "1"),
        ];
        for (key, value) in refused {
            let parameters = BTreeMap::from([(key.to_owned(), value.to_owned())]);
            let spec = StorageClassSpec { name: "c".into(), parameters, ..StorageClassSpec::default() };
            let message = build(&spec, &OWNER).expect_err(key).to_string();
            assert!(message.contains("class \"c\"") && message.contains(key), "{message}");
        }
        let spec = StorageClassSpec {
            name: "c".into(),
            mount_options: vec!["cach-size=1".into()],
            ..StorageClassSpec::default()
        };
        assert!(build(&spec, &OWNER).expect_err("unknown").to_string().contains("cach-size"));
    }
}
