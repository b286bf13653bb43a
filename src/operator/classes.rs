//! StorageClasses that an owner wants against those that are there. No client.

use crate::conditions::{ConditionKind, Finding};
use crate::step::Step;
use crate::surroundings::ClassSeen;
use juicefs_k8s::class::{self, ClassOwner};
use juicefs_k8s::crd::file_system::StorageClassSpec;
use juicefs_k8s::labels;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;

/// What to do about classes.
pub(crate) struct Planned {
    pub steps: Vec<Step>,
    /// Names of the classes that are there afterwards.
    pub names: Vec<String>,
    /// Nothing where none are wanted.
    pub finding: Option<Finding>,
}

/// `default_owners` are `<namespace>/<name>` of owners that may make the cluster's default class.
pub(crate) fn plan(
    wanted: &[StorageClassSpec],
    seen: &[ClassSeen],
    owner: &ClassOwner<'_>,
    default_owners: &[String],
) -> Planned {
    let unwanted =
        seen.iter().filter(|class| class.ours && wanted.iter().all(|spec| spec.name != class.name));
    let mut planned = Planned {
        steps: unwanted.map(|class| Step::DeleteClass(class.name.clone())).collect(),
        names: Vec::new(),
        finding: None,
    };
    if wanted.is_empty() {
        return planned;
    }
    let full_name = format!("{}/{}", owner.namespace, owner.name);
    let mut troubles: Vec<(&str, String)> = Vec::new();
    for spec in wanted {
        if spec.default && !default_owners.contains(&full_name) {
            let sentence = format!(
                "class {}: {full_name} is not in the operator's list of owners of the default class",
                spec.name
            );
            troubles.push(("DefaultClassNotAllowed", sentence));
            continue;
        }
        match class::build(spec, owner) {
            Ok(class) => match place(class, seen, owner, &mut planned.steps) {
                Ok(()) => planned.names.push(spec.name.clone()),
                Err(sentence) => troubles.push(("Conflict", sentence)),
            },
            Err(error) => troubles.push(("BadParameters", error.to_string())),
        }
    }
    planned.finding = Some(match troubles.first() {
        None => Finding::holds(ConditionKind::StorageClassesReady, "Applied", "all StorageClasses are there"),
        Some((reason, _)) => {
            let sentences: Vec<&str> = troubles.iter().map(|(_, sentence)| sentence.as_str()).collect();
            Finding::fails(ConditionKind::StorageClassesReady, reason, sentences.join("; "))
        }
    });
    planned
}

fn place(
    wanted: StorageClass,
    seen: &[ClassSeen],
    owner: &ClassOwner<'_>,
    steps: &mut Vec<Step>,
) -> Result<(), String> {
    let name = wanted.name_any();
    match seen.iter().find(|class| class.name == name) {
        Some(found) if !found.ours => Err(format!(
            "StorageClass {name} exists and does not belong to this {}; it was left alone",
            owner.kind.as_str()
        )),
        Some(found) if same_class(&found.object, &wanted) => Ok(()),
        Some(found) => {
            if !class::can_update(&found.object, &wanted) {
                steps.push(Step::DeleteClass(name));
            }
            steps.push(Step::ApplyClass(Box::new(wanted)));
            Ok(())
        }
        None => {
            steps.push(Step::ApplyClass(Box::new(wanted)));
            Ok(())
        }
    }
}

fn same_class(found: &StorageClass, wanted: &StorageClass) -> bool {
    let is_default = |class: &StorageClass| class.annotations().get(labels::DEFAULT_CLASS).cloned();
    class::can_update(found, wanted)
        && found.mount_options == wanted.mount_options
        && found.allow_volume_expansion == wanted.allow_volume_expansion
        && is_default(found) == is_default(wanted)
}
