//! Decides what a `FileSystem` needs next, from what was seen. No client, no clock.

use super::job::{self, JobInputs};
use super::seen::{JobSeen, JobState, Plan, PlanSettings, Seen};
use crate::classes;
use crate::conditions::{self, ConditionKind, Finding, Findings};
use crate::format_job::{Cause, FormatReport};
use crate::step::Step;
use crate::surroundings::{ExportSeen, Lacking, SecretSeen, meta_secret, same_content};
use juicefs_k8s::class::{ClassOwner, OwnerKind};
use juicefs_k8s::crd::status::{FormatJobStatus, FormatOutcome, Phase};
use juicefs_k8s::crd::{FileSystem, FileSystemStatus};
use juicefs_k8s::events::Note;
use juicefs_k8s::labels;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use std::time::Duration;

/// How soon to look again while a Job runs.
const WHILE_RUNNING: Duration = Duration::from_secs(2);
/// How soon to look again for something that a person has to make.
const WHILE_MISSING: Duration = Duration::from_secs(10);
/// How soon to look again when all is well: changed Secrets and lost objects are noticed then.
const WHEN_SETTLED: Duration = Duration::from_secs(60);
/// How long a failed Job stays before it is made again.
const RETRY_FAILED: Duration = Duration::from_secs(60);
/// The same for a conflict, which only people mend.
const RETRY_CONFLICT: Duration = Duration::from_secs(600);

/// What to do about a namespace that the operator has no rights in.
const NOT_ALLOWED: &str = "the operator may not make Jobs or read Secrets in this namespace; add it to the chart's secretNamespaces";

/// Everything that a file system needs next.
#[must_use]
pub fn plan(fs: &FileSystem, seen: &Seen, settings: &PlanSettings) -> Plan {
    if fs.metadata.deletion_timestamp.is_some() {
        return departure(fs, seen);
    }
    let mut draft = Draft::new(fs, seen);
    if fs.spec.suspend {
        draft.say(Finding::fails(ConditionKind::Ready, "Suspended", "spec.suspend is set: nothing is done"));
        return draft.finish(Phase::Suspended, WHEN_SETTLED);
    }
    if seen.forbidden {
        return draft.stop("NamespaceNotAllowed", NOT_ALLOWED.into(), WHILE_MISSING);
    }
    if !fs.finalizers().iter().any(|name| name == labels::FINALIZER) {
        draft.steps.push(Step::AddFinalizer);
    }
    let spec = match job::format_spec(fs) {
        Ok(spec) => spec,
        Err(sentence) => return draft.stop("BadSpec", sentence, WHEN_SETTLED),
    };
    let inputs = match inputs(fs, seen) {
        Ok(inputs) => inputs,
        Err((reason, sentence)) => return draft.stop(reason, sentence, WHILE_MISSING),
    };
    let job_name = inputs.name(fs, &spec);
    match draft.format(&job_name) {
        Formatting::Done => {}
        Formatting::Running => return draft.pause(WHILE_RUNNING),
        Formatting::Missing => {
            draft.steps.push(Step::CreateJob(Box::new(inputs.build(fs, &spec, settings))));
            draft.status.last_format_job =
                Some(FormatJobStatus { name: job_name, ..FormatJobStatus::default() });
            return draft.pause(WHILE_RUNNING);
        }
        Formatting::Failed { reason, message, wait } => {
            draft.say(Finding::fails(ConditionKind::Ready, &reason, message));
            return draft.finish(Phase::Failed, wait);
        }
    }
    draft.export(&inputs);
    draft.classes(settings);
    draft.settle()
}

/// How far formatting with the present input is.
enum Formatting {
    Done,
    Running,
    Missing,
    Failed { reason: String, message: String, wait: Duration },
}

/// The Secrets that the Job and the export need.
fn inputs<'a>(fs: &'a FileSystem, seen: &'a Seen) -> Result<JobInputs<'a>, Lacking> {
    Ok(JobInputs {
        meta: meta_secret(&fs.spec.meta, seen.meta_secret.as_ref())?,
        storage: seen.storage_secret.as_ref().map(SecretSeen::found).transpose()?,
    })
}

/// What is being decided.
struct Draft<'a> {
    fs: &'a FileSystem,
    seen: &'a Seen,
    before: FileSystemStatus,
    status: FileSystemStatus,
    steps: Vec<Step>,
    findings: Findings,
}

impl<'a> Draft<'a> {
    fn new(fs: &'a FileSystem, seen: &'a Seen) -> Self {
        let before = fs.status.clone().unwrap_or_default();
        let status = FileSystemStatus {
            observed_generation: fs.metadata.generation,
            volume_name: Some(fs.volume_name()),
            ..before.clone()
        };
        Self { fs, seen, before, status, steps: Vec::new(), findings: Findings::default() }
    }

    fn say(&mut self, finding: Finding) {
        self.findings.say(finding);
    }

    /// Judges the Job of that name, and clears others away that still run with older input.
    fn format(&mut self, job_name: &str) -> Formatting {
        let others: Vec<String> = self
            .seen
            .jobs
            .iter()
            .filter(|job| job.name != job_name && job.state == JobState::Active)
            .map(|job| job.name.clone())
            .collect();
        if !others.is_empty() {
            // Two Jobs with different input must not meet in one database.
            self.steps.extend(others.into_iter().map(Step::DeleteJob));
            return Formatting::Running;
        }
        let Some(job) = self.seen.jobs.iter().find(|job| job.name == job_name) else {
            return self.format_without_job(job_name);
        };
        let time = |at: Option<Timestamp>| at.map(Time);
        self.status.last_format_job = Some(FormatJobStatus {
            name: job.name.clone(),
            start_time: time(job.start),
            completion_time: time(job.end),
            result: job.report.as_ref().filter(|_| job.state != JobState::Active).map(|report| report.result),
        });
        match (job.state, &job.report) {
            (JobState::Succeeded, Some(report)) => {
                self.formatted(report);
                Formatting::Done
            }
            (JobState::Succeeded, None) => {
                // Its pod is gone before its report was read; the next Job will say "unchanged".
                self.steps.push(Step::DeleteJob(job.name.clone()));
                Formatting::Running
            }
            (JobState::Active, Some(report)) if report.result == FormatOutcome::Failed => {
                self.failed(report);
                Formatting::Running
            }
            (JobState::Active, _) => {
                if let Some(trouble) = &job.trouble
                    && self.before.uuid.is_none()
                {
                    self.say(Finding::fails(
                        ConditionKind::Formatted,
                        "FormatPodNotRunning",
                        trouble.clone(),
                    ));
                }
                Formatting::Running
            }
            (JobState::Failed, report) => {
                let report = report.clone().unwrap_or_else(|| {
                    let why = job.trouble.clone().unwrap_or_else(|| "its pod left no report".into());
                    FormatReport {
                        result: FormatOutcome::Failed,
                        uuid: None,
                        message: format!("Job {} failed: {why}", job.name),
                        cause: None,
                        drift: Vec::new(),
                    }
                });
                self.retry_or_wait(job, &report)
            }
        }
    }

    /// The Job is gone: either its time to live is over, or it was never made.
    fn format_without_job(&mut self, job_name: &str) -> Formatting {
        let last = self.before.last_format_job.as_ref().filter(|last| last.name == job_name);
        let good = matches!(
            last.and_then(|last| last.result),
            Some(FormatOutcome::Created | FormatOutcome::Unchanged)
        );
        if !good || self.before.uuid.is_none() {
            return Formatting::Missing;
        }
        use ConditionKind::{ConfigInSync, Formatted, MetadataReachable, ObjectStorageReachable};
        for kind in [Formatted, MetadataReachable, ObjectStorageReachable, ConfigInSync] {
            if let Some(kept) = conditions::kept(&self.before.conditions, kind) {
                self.say(kept);
            }
        }
        Formatting::Done
    }

    fn formatted(&mut self, report: &FormatReport) {
        use ConditionKind::{ConfigInSync, Formatted, MetadataReachable, ObjectStorageReachable};
        self.status.uuid.clone_from(&report.uuid);
        let reason = if report.result == FormatOutcome::Created { "Created" } else { "Unchanged" };
        self.say(Finding::holds(Formatted, reason, report.message.clone()));
        self.say(Finding::holds(MetadataReachable, "Reached", "the format Job reached the metadata engine"));
        match report.result {
            FormatOutcome::Created => {
                self.say(Finding::holds(
                    ObjectStorageReachable,
                    "Reached",
                    "the format Job wrote to the bucket and read from it",
                ));
            }
            _ => {
                let kept = conditions::kept(&self.before.conditions, ObjectStorageReachable);
                let unknown = || {
                    Finding::unknown(
                        ObjectStorageReachable,
                        "NotProbed",
                        "the volume was there; its bucket was not tried",
                    )
                };
                self.say(kept.filter(|finding| finding.holds == Some(true)).unwrap_or_else(unknown));
            }
        }
        self.say(if report.drift.is_empty() {
            Finding::holds(ConfigInSync, "InSync", "the volume's settings are as the spec says")
        } else {
            let sentence =
                format!("{}; change it with `juicefs config`, or correct the spec", report.drift.join("; "));
            Finding::fails(ConfigInSync, "Drift", sentence)
        });
    }

    /// Says what a report of failure or conflict means. A volume that was there stays formatted if only the way to
    /// it is broken.
    fn failed(&mut self, report: &FormatReport) -> String {
        use ConditionKind::{Formatted, MetadataReachable, ObjectStorageReachable};
        let reason = match (report.result, report.cause) {
            (FormatOutcome::Conflict, _) => "SettingsConflict",
            (_, Some(Cause::Metadata)) => "MetadataUnreachable",
            (_, Some(Cause::Storage)) => "ObjectStorageUnreachable",
            (_, Some(Cause::Settings)) => "BadSettings",
            (_, None) => "FormatFailed",
        };
        let unreachable = match report.cause {
            Some(Cause::Metadata) => Some(MetadataReachable),
            Some(Cause::Storage) if report.result == FormatOutcome::Failed => Some(ObjectStorageReachable),
            _ => None,
        };
        let was_formatted = self.before.uuid.is_some() && report.result == FormatOutcome::Failed;
        let kept = conditions::kept(&self.before.conditions, Formatted).filter(|_| was_formatted);
        self.say(kept.unwrap_or_else(|| Finding::fails(Formatted, reason, report.message.clone())));
        if let Some(kind) = unreachable {
            self.say(Finding::fails(kind, "Failed", report.message.clone()));
        }
        if report.result == FormatOutcome::Conflict || unreachable == Some(ObjectStorageReachable) {
            self.say(Finding::holds(
                MetadataReachable,
                "Reached",
                "the format Job reached the metadata engine",
            ));
        }
        reason.to_owned()
    }

    fn retry_or_wait(&mut self, job: &JobSeen, report: &FormatReport) -> Formatting {
        let reason = self.failed(report);
        let patience = if report.result == FormatOutcome::Conflict { RETRY_CONFLICT } else { RETRY_FAILED };
        let ended = job.end.or(job.start).unwrap_or(self.seen.now);
        let age = Duration::try_from(self.seen.now.duration_since(ended)).unwrap_or_default();
        let wait = if age >= patience {
            self.steps.push(Step::DeleteJob(job.name.clone()));
            WHILE_RUNNING
        } else {
            (patience - age).max(Duration::from_secs(1))
        };
        Formatting::Failed { reason, message: report.message.clone(), wait }
    }

    /// The Secret for the CSI driver.
    fn export(&mut self, inputs: &JobInputs<'_>) {
        let wanted = self.fs.exported_secret_name();
        if let Some(old) = self.before.exported_secret.clone().filter(|old| Some(old) != wanted.as_ref()) {
            self.steps.push(Step::DeleteSecret(old));
            self.status.exported_secret = None;
        }
        let Some(name) = wanted else { return };
        if matches!(self.seen.export, ExportSeen::Foreign) {
            let sentence =
                format!("Secret {name} exists and does not belong to this FileSystem; it was left alone");
            self.say(Finding::fails(ConditionKind::SecretExported, "Conflict", sentence));
            return;
        }
        let data = super::export::content(self.fs, inputs);
        let same = matches!(&self.seen.export, ExportSeen::Ours(found) if same_content(found, &data));
        if !same {
            self.steps.push(Step::ApplySecret(name.clone(), data));
        }
        self.say(Finding::holds(
            ConditionKind::SecretExported,
            "Exported",
            format!("Secret {name} is up to date"),
        ));
        self.status.exported_secret = Some(name);
    }

    fn classes(&mut self, settings: &PlanSettings) {
        let (name, namespace) = (self.fs.name_any(), self.fs.namespace().unwrap_or_default());
        let secret = self.fs.exported_secret_name().unwrap_or_default();
        let owner =
            ClassOwner { kind: OwnerKind::FileSystem, name: &name, namespace: &namespace, secret: &secret };
        let wanted = &self.fs.spec.storage_classes;
        let planned = classes::plan(wanted, &self.seen.classes, &owner, &settings.default_class_owners);
        self.steps.extend(planned.steps);
        self.status.storage_classes = planned.names;
        if let Some(finding) = planned.finding {
            self.say(finding);
        }
    }

    /// Ready if nothing that was looked at fails. Settings that drifted do not keep anybody from mounting.
    fn settle(mut self) -> Plan {
        let failing = self.findings.iter().find(|finding| {
            finding.holds == Some(false)
                && finding.kind != ConditionKind::ConfigInSync
                && finding.kind != ConditionKind::Ready
        });
        match failing.cloned() {
            Some(Finding { reason, message, .. }) => {
                self.say(Finding::fails(ConditionKind::Ready, &reason, message));
                self.finish(Phase::Failed, WHEN_SETTLED)
            }
            None => {
                let sentence = format!("volume {} can be used", self.fs.volume_name());
                self.say(Finding::holds(ConditionKind::Ready, "Ready", sentence));
                self.finish(Phase::Ready, WHEN_SETTLED)
            }
        }
    }

    /// Something that a person has to mend.
    fn stop(mut self, reason: &str, sentence: String, again: Duration) -> Plan {
        self.say(Finding::fails(ConditionKind::Ready, reason, sentence));
        self.finish(Phase::Pending, again)
    }

    /// A Job runs. A volume that was ready stays so until the Job says otherwise.
    fn pause(mut self, again: Duration) -> Plan {
        let was_ready = conditions::kept(&self.before.conditions, ConditionKind::Ready)
            .filter(|ready| self.before.uuid.is_some() && ready.holds == Some(true));
        match was_ready {
            Some(ready) => {
                self.say(ready);
                self.finish(Phase::Ready, again)
            }
            None => {
                let failing = self.findings.iter().find(|finding| finding.holds == Some(false));
                let sentence = failing
                    .map_or_else(|| "the format Job runs".to_owned(), |finding| finding.message.clone());
                self.say(Finding::fails(ConditionKind::Ready, "Formatting", sentence));
                self.finish(Phase::Formatting, again)
            }
        }
    }

    /// What was not looked at stays as it was.
    fn finish(mut self, phase: Phase, again: Duration) -> Plan {
        use ConditionKind::{
            ConfigInSync, Formatted, MetadataReachable, ObjectStorageReachable, SecretExported,
            StorageClassesReady,
        };
        let mut wanted = vec![Formatted, MetadataReachable, ObjectStorageReachable, ConfigInSync];
        wanted.extend(self.fs.exported_secret_name().map(|_| SecretExported));
        wanted.extend((!self.fs.spec.storage_classes.is_empty()).then_some(StorageClassesReady));
        let (old, generation) = (&self.before.conditions, self.fs.metadata.generation);
        let (conditions, mut notes) = self.findings.conclude(wanted, old, generation, self.seen.now);
        self.status.conditions = conditions;
        self.status.phase = Some(phase);
        if let Some(Step::CreateJob(job)) = self.steps.iter().find(|step| matches!(step, Step::CreateJob(_)))
        {
            notes.push(Note::normal("FormatJobCreated", "Format", format!("made Job {}", job.name_any())));
        }
        Plan { steps: self.steps, status: Some(self.status), notes, again }
    }
}

/// Retain: what was made for the volume goes, the volume stays.
fn departure(fs: &FileSystem, seen: &Seen) -> Plan {
    let mut steps = Vec::new();
    let ours = fs.finalizers().iter().any(|name| name == labels::FINALIZER);
    if ours {
        let running = seen.jobs.iter().filter(|job| job.state == JobState::Active);
        steps.extend(running.map(|job| Step::DeleteJob(job.name.clone())));
        let classes = seen.classes.iter().filter(|class| class.ours);
        steps.extend(classes.map(|class| Step::DeleteClass(class.name.clone())));
        let mut secrets: Vec<String> = fs.exported_secret_name().into_iter().collect();
        secrets.extend(fs.status.as_ref().and_then(|status| status.exported_secret.clone()));
        secrets.dedup();
        steps.extend(secrets.into_iter().map(Step::DeleteSecret));
        steps.push(Step::RemoveFinalizer);
    }
    let sentence = format!(
        "the Secret and the StorageClasses are gone; the volume {} stays, with all its data",
        fs.volume_name()
    );
    let notes = if ours { vec![Note::normal("Retained", "Delete", sentence)] } else { Vec::new() };
    Plan { steps, status: None, notes, again: WHEN_SETTLED }
}
