//! Looks at everything around a `FileSystem`. Reads only.

use super::job;
use super::seen::{JobSeen, JobState, Seen};
use crate::format_job::FormatReport;
use crate::owner::code;
use crate::surroundings::{ExportSeen, classes, export, secret};
use juicefs_k8s::crd::FileSystem;
use juicefs_k8s::events::shortened;
use juicefs_k8s::labels;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};

/// Label that the Job controller puts on pods.
pub(crate) const JOB_NAME: &str = "batch.kubernetes.io/job-name";
/// Conditions have room for a sentence, not for a log.
const TROUBLE_BYTES_MAX: usize = 500;

/// Looks at Secrets, Jobs, the exported Secret and classes.
///
/// # Errors
/// Any answer of the API server but "not there" and "not allowed".
pub(super) async fn observe(client: &Client, fs: &FileSystem) -> Result<Seen, kube::Error> {
    let namespace = fs.namespace().unwrap_or_default();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let meta = fs.spec.meta.secret_ref.as_ref().map(|reference| reference.name.as_str());
    let storage = fs.spec.storage.secret_ref.as_ref().map(|reference| reference.name.as_str());
    let mut seen = Seen {
        now: Timestamp::now(),
        forbidden: false,
        meta_secret: secret(&secrets, meta, fs.spec.meta.url.is_some()).await?,
        storage_secret: secret(&secrets, storage, false).await?,
        jobs: Vec::new(),
        export: ExportSeen::Absent,
        classes: classes(client, fs, &fs.spec.storage_classes).await?,
    };
    match jobs(client, fs, &namespace).await {
        Ok(jobs) => seen.jobs = jobs,
        Err(error) if code(&error) == 403 => seen.forbidden = true,
        Err(error) => return Err(error),
    }
    if let Some(name) = fs.exported_secret_name() {
        match secrets.get_opt(&name).await {
            Ok(Some(found)) => seen.export = export(fs, found),
            Ok(None) => {}
            Err(error) if code(&error) == 403 => seen.forbidden = true,
            Err(error) => return Err(error),
        }
    }
    Ok(seen)
}

async fn jobs(client: &Client, fs: &FileSystem, namespace: &str) -> Result<Vec<JobSeen>, kube::Error> {
    let selector = ListParams::default().labels(&format!("{}={}", labels::FILE_SYSTEM, fs.name_any()));
    let uid = fs.uid().unwrap_or_default();
    let api: Api<Job> = Api::namespaced(client.clone(), namespace);
    let jobs = api.list(&selector).await?.items.into_iter();
    let ours: Vec<Job> =
        jobs.filter(|job| job.owner_references().iter().any(|owner| owner.uid == uid)).collect();
    if ours.is_empty() {
        return Ok(Vec::new());
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pods = pods.list(&selector).await?.items;
    let of = |job: &Job| -> Vec<&Pod> {
        let name = job.name_any();
        pods.iter().filter(|pod| pod.labels().get(JOB_NAME) == Some(&name)).collect()
    };
    Ok(ours.iter().map(|job| job_seen(job, &of(job))).collect())
}

/// How far a Job is, and when it ended.
pub(crate) fn job_state(job: &Job) -> (JobState, Option<Timestamp>) {
    let status = job.status.clone().unwrap_or_default();
    let ended = |kind: &str| {
        let conditions = status.conditions.iter().flatten();
        conditions.clone().find(|condition| condition.type_ == kind && condition.status == "True").cloned()
    };
    let (complete, failed) = (ended("Complete"), ended("Failed"));
    let state = match (&complete, &failed) {
        (Some(_), _) => JobState::Succeeded,
        (_, Some(_)) => JobState::Failed,
        _ => JobState::Active,
    };
    let end =
        status.completion_time.clone().or_else(|| failed.and_then(|failed| failed.last_transition_time));
    (state, end.map(|time| time.0))
}

fn job_seen(job: &Job, pods: &[&Pod]) -> JobSeen {
    let (state, end) = job_state(job);
    let status = job.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default().into_iter();
    let given_up = conditions
        .filter(|condition| condition.type_ == "Failed" && condition.status == "True")
        .find_map(|failed| failed.message);
    JobSeen {
        name: job.name_any(),
        state,
        start: status.start_time.map(|time| time.0),
        end,
        report: newest_report(pods),
        trouble: waiting(pods).or(given_up).map(|text| shortened(&text, TROUBLE_BYTES_MAX)),
    }
}

/// The report of the pod that ended last.
fn newest_report(pods: &[&Pod]) -> Option<FormatReport> {
    let ended = pods.iter().filter_map(|pod| {
        let container = container(pod)?;
        let terminated = container.state.as_ref()?.terminated.as_ref()?;
        let report = serde_json::from_str(terminated.message.as_deref()?).ok()?;
        Some((terminated.finished_at.as_ref().map(|time| time.0), report))
    });
    ended.max_by_key(|(at, _)| *at).map(|(_, report)| report)
}

/// Why a pod does not run: no such image, no such Secret, no room.
fn waiting(pods: &[&Pod]) -> Option<String> {
    pods.iter().find_map(|pod| {
        if let Some(waiting) = container(pod).and_then(|container| container.state.as_ref()?.waiting.as_ref())
        {
            let reason = waiting
                .reason
                .clone()
                .filter(|reason| reason != "ContainerCreating" && reason != "PodInitializing")?;
            return Some(format!(
                "pod {}: {reason}: {}",
                pod.name_any(),
                waiting.message.clone().unwrap_or_default()
            ));
        }
        let conditions = pod.status.as_ref()?.conditions.as_ref()?;
        let stuck = conditions
            .iter()
            .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
        Some(format!(
            "pod {} is not scheduled: {}",
            pod.name_any(),
            stuck.message.clone().unwrap_or_default()
        ))
    })
}

fn container(pod: &Pod) -> Option<&k8s_openapi::api::core::v1::ContainerStatus> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    statuses.iter().find(|status| status.name == job::CONTAINER)
}
