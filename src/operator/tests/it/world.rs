//! A file system and its surroundings, built in memory.

use juicefs_k8s::crd::{FileSystem, FileSystemStatus};
use juicefs_k8s::settings::secret_map;
use juicefs_operator::file_system::{
    ClassSeen, ExportSeen, FoundSecret, JobSeen, JobState, Plan, PlanSettings, SecretSeen, Seen, Step, plan,
};
use juicefs_operator::format_job::FormatReport;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use serde_json::{Value, json};

/// Stands in every secret value.
pub(crate) const CANARY: &str = "c4n4ry/p@ss";
pub(crate) const UUID: &str = "51c45a61-2647-47ed-84b5-c14e9f92a47c";

pub(crate) fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

pub(crate) fn ago(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

/// The manifest of the guide, with the finalizer.
pub(crate) fn file_system(change: impl Fn(&mut Value)) -> FileSystem {
    let mut object = json!({
        "apiVersion": "juicefs.rs/v1alpha1",
        "kind": "FileSystem",
        "metadata": {
            "name": "data", "namespace": "storage", "uid": "uid-1", "generation": 3, "finalizers": ["juicefs.rs/cleanup"]
        },
        "spec": {
            "meta": {"engine": "redis", "url": "redis://redis.storage:6379/1", "secretRef": {"name": "data-meta", "key": "password"}},
            "storage": {"type": "s3", "bucket": "http://minio.storage:9000/data", "secretRef": {"name": "data-s3"}},
            "storageClasses": [{"name": "data"}],
            "secretExport": {"name": "data-csi"}
        }
    });
    change(&mut object);
    serde_json::from_value(object).unwrap()
}

pub(crate) fn secret(name: &str, keys: &[&str], is_password: bool) -> Option<SecretSeen> {
    Some(SecretSeen::Found(FoundSecret {
        name: name.into(),
        version: "uid 7".into(),
        data: secret_map(keys.iter().map(|key| ((*key).to_owned(), CANARY.to_owned()))),
        is_password,
    }))
}

/// Nothing made yet, all Secrets there.
pub(crate) fn seen() -> Seen {
    Seen {
        now: now(),
        forbidden: false,
        meta_secret: secret("data-meta", &["password"], true),
        storage_secret: secret("data-s3", &["access-key", "secret-key", "other"], false),
        jobs: Vec::new(),
        export: ExportSeen::Absent,
        classes: Vec::new(),
    }
}

pub(crate) fn settings() -> PlanSettings {
    PlanSettings {
        image: "juicefs:dev".into(),
        image_pull_policy: "IfNotPresent".into(),
        default_class_owners: vec!["storage/allowed".into()],
    }
}

pub(crate) fn planned(fs: &FileSystem, seen: &Seen) -> Plan {
    plan(fs, seen, &settings())
}

pub(crate) fn job_name(fs: &FileSystem) -> String {
    let first = FileSystem { status: None, ..fs.clone() };
    let steps = planned(&first, &seen()).steps;
    let job = steps
        .iter()
        .find_map(|step| if let Step::CreateJob(job) = step { Some(job.name_any()) } else { None });
    job.expect("the first plan makes a Job")
}

pub(crate) fn job(name: &str, state: JobState, report: Option<Value>) -> JobSeen {
    let end = (state != JobState::Active).then(|| ago(5));
    let report: Option<FormatReport> = report.map(|value| serde_json::from_value(value).unwrap());
    JobSeen { name: name.into(), state, start: Some(ago(10)), end, report, trouble: None }
}

/// `fs` with the status that `plan` writes.
pub(crate) fn after(fs: &FileSystem, plan: &Plan) -> FileSystem {
    FileSystem { status: plan.status.clone(), ..fs.clone() }
}

/// The file system, formatted and settled.
pub(crate) fn ready() -> (FileSystem, Seen) {
    let fs = file_system(|_| {});
    let mut seen = seen();
    let report = json!({"result": "created", "uuid": UUID, "message": "made"});
    seen.jobs.push(job(&job_name(&fs), JobState::Succeeded, Some(report)));
    let plan = planned(&fs, &seen);
    for step in &plan.steps {
        match step {
            Step::ApplySecret(_, data) => seen.export = ExportSeen::Ours(data.clone()),
            Step::ApplyClass(class) => {
                seen.classes.push(ClassSeen {
                    name: class.name_any(),
                    ours: true,
                    object: (**class).clone(),
                });
            }
            other => panic!("{other:?}"),
        }
    }
    (after(&fs, &plan), seen)
}

/// `Type=Status/Reason` of a condition.
pub(crate) fn condition(plan: &Plan, kind: &str) -> String {
    of_status(plan.status.as_ref().expect("a status"), kind)
}

pub(crate) fn of_status(status: &FileSystemStatus, kind: &str) -> String {
    let found = status.conditions.iter().find(|condition| condition.type_ == kind);
    found.map_or_else(|| "none".into(), |condition| format!("{}/{}", condition.status, condition.reason))
}

/// The steps, one word each with the object's name.
pub(crate) fn names(plan: &Plan) -> Vec<String> {
    names_of(&plan.steps)
}

pub(crate) fn names_of(steps: &[Step]) -> Vec<String> {
    let name = |step: &Step| match step {
        Step::AddFinalizer => "add-finalizer".into(),
        Step::RemoveFinalizer => "remove-finalizer".into(),
        Step::CreateJob(_) => "create-job".into(),
        Step::DeleteJob(name) => format!("delete-job {name}"),
        Step::ApplySecret(name, _) => format!("apply-secret {name}"),
        Step::DeleteSecret(name) => format!("delete-secret {name}"),
        Step::ApplyClass(class) => format!("apply-class {}", class.name_any()),
        Step::DeleteClass(name) => format!("delete-class {name}"),
        Step::ApplyDeployment(deployment) => format!("apply-deployment {}", deployment.name_any()),
        Step::DeleteDeployment(name) => format!("delete-deployment {name}"),
    };
    steps.iter().map(name).collect()
}
