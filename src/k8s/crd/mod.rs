//! The custom resources of group `juicefs.rs`, version `v1alpha1`, and the YAML that installs them.

pub mod file_system;
pub mod mirror;
pub mod mirror_status;
mod schema;
pub mod status;

pub use file_system::{FileSystem, FileSystemSpec};
pub use mirror::{Mirror, MirrorSpec};
pub use mirror_status::{MirrorPhase, MirrorStatus};
pub use status::{Condition, FileSystemStatus};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

/// API group of our resources.
pub const GROUP: &str = "juicefs.rs";
/// The only version there is.
pub const VERSION: &str = "v1alpha1";

/// One file of `crds/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrdFile {
    /// `<group>_<plural>.yaml`
    pub name: String,
    /// The manifest, for plain `kubectl apply`.
    pub yaml: String,
    /// The same as a template of the chart, behind `crds.install`, kept when the chart goes.
    pub template: String,
}

/// Every custom resource definition that we have.
#[must_use]
pub fn definitions() -> Vec<CustomResourceDefinition> {
    vec![without_nulls(&FileSystem::crd()), without_nulls(&Mirror::crd())]
}

/// Takes `nullable` out of a definition: the API server then drops a null as if the field were not there, so that
/// no rule ever meets one.
fn without_nulls(definition: &CustomResourceDefinition) -> CustomResourceDefinition {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                if fields.get("nullable") == Some(&Value::Bool(true)) {
                    fields.shift_remove("nullable");
                    if let Some(Value::Array(values)) = fields.get_mut("enum") {
                        values.retain(|value| !value.is_null());
                    }
                }
                fields.values_mut().for_each(strip);
            }
            Value::Array(values) => values.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut value = serde_json::to_value(definition).expect("a definition is plain data");
    strip(&mut value);
    serde_json::from_value(value).expect("it was a definition")
}

/// The files of `crds/` and of the chart's templates, generated from the Rust types.
#[must_use]
pub fn crdgen() -> Vec<CrdFile> {
    definitions().iter().map(file_of).collect()
}

fn file_of(definition: &CustomResourceDefinition) -> CrdFile {
    let mut kept = definition.clone();
    kept.metadata.annotations.get_or_insert_default().insert("helm.sh/resource-policy".into(), "keep".into());
    let yaml = |definition: &CustomResourceDefinition| {
        serde_yaml::to_string(definition).expect("a definition is plain data")
    };
    let header =
        "# Generated from src/k8s/crd by `cargo run -p juicefs-k8s --example crdgen`. Do not edit.\n";
    CrdFile {
        name: format!("{}_{}.yaml", definition.spec.group, definition.spec.names.plural),
        yaml: format!("{header}{}", yaml(definition)),
        template: format!("{header}{{{{- if .Values.crds.install }}}}\n{}{{{{- end }}}}\n", yaml(&kept)),
    }
}
