//! Decides what a `Mirror` needs next, from what was seen. No client, no clock.

use super::deployment;
use super::inputs::Inputs;
use super::seen::{DatabaseSeen, DeploymentSeen, Plan, Position, Seen};
use crate::classes;
use crate::conditions::{self, ConditionKind, Finding, Findings};
use crate::file_system::{JobState, PlanSettings};
use crate::step::Step;
use crate::surroundings::{ExportSeen, same_content};
use juicefs_k8s::class::{ClassOwner, OwnerKind};
use juicefs_k8s::crd::{Mirror, MirrorPhase, MirrorStatus};
use juicefs_k8s::events::Note;
use juicefs_k8s::labels;
use juicefs_k8s::settings::SecretMap;
use juicefs_replication::{Promoted, State};
use kube::ResourceExt;
use std::time::Duration;

/// How soon to look again while a mirror is being made or copied.
const WHILE_COPYING: Duration = Duration::from_secs(2);
/// How soon to look again for something that a person has to make.
const WHILE_MISSING: Duration = Duration::from_secs(10);
/// How soon to look again when all is well: how far it is behind is told this often.
const WHEN_SETTLED: Duration = Duration::from_secs(10);

/// How long a promotion that failed stays before it is tried again.
const RETRY_PROMOTION: Duration = Duration::from_secs(60);

const NOT_ALLOWED: &str = "the operator may not make Deployments or read Secrets in this namespace; add it to the chart's secretNamespaces";

/// Everything that a mirror needs next.
#[must_use]
pub fn plan(mirror: &Mirror, seen: &Seen, settings: &PlanSettings) -> Plan {
    if mirror.metadata.deletion_timestamp.is_some() {
        return departure(mirror, seen);
    }
    let mut draft = Draft::new(mirror, seen);
    if seen.forbidden {
        return draft.stop("NamespaceNotAllowed", NOT_ALLOWED.into());
    }
    if !mirror.finalizers().iter().any(|name| name == labels::FINALIZER) {
        draft.steps.push(Step::AddFinalizer);
    }
    let inputs = match Inputs::find(mirror, seen) {
        Ok(inputs) => inputs,
        Err((reason, sentence)) => return draft.stop(reason, sentence),
    };
    draft.status.source = Some(inputs.source.clone());
    if let Err(sentence) = draft.follower(&inputs, settings) {
        return draft.stop("Conflict", sentence);
    }
    draft.position(&inputs);
    draft.promotion(settings);
    if draft.holds(ConditionKind::Bootstrapped) || draft.before.exported_secret.is_some() {
        draft.export(&inputs);
        draft.classes(settings);
    }
    draft.settle()
}

/// What is being decided.
struct Draft<'a> {
    mirror: &'a Mirror,
    seen: &'a Seen,
    before: MirrorStatus,
    status: MirrorStatus,
    steps: Vec<Step>,
    findings: Findings,
}

impl<'a> Draft<'a> {
    fn new(mirror: &'a Mirror, seen: &'a Seen) -> Self {
        let before = mirror.status.clone().unwrap_or_default();
        let status = MirrorStatus {
            observed_generation: mirror.metadata.generation,
            volume_name: Some(mirror.volume_name()),
            ..before.clone()
        };
        Self { mirror, seen, before, status, steps: Vec::new(), findings: Findings::default() }
    }

    fn say(&mut self, finding: Finding) {
        self.findings.say(finding);
    }

    fn holds(&self, kind: ConditionKind) -> bool {
        self.findings.of(kind).is_some_and(|finding| finding.holds == Some(true))
    }

    /// A Secret of ours, written where it differs; the sentence if it is somebody else's.
    fn secret(&mut self, name: &str, found: &ExportSeen, wanted: SecretMap) -> Result<(), String> {
        match found {
            ExportSeen::Foreign => {
                Err(format!("Secret {name} exists and does not belong to this Mirror; it was left alone"))
            }
            ExportSeen::Ours(found) if same_content(found, &wanted) => Ok(()),
            ExportSeen::Ours(_) | ExportSeen::Absent => {
                self.steps.push(Step::ApplySecret(name.to_owned(), wanted));
                Ok(())
            }
        }
    }

    /// What the database says that the mirror is.
    fn state(&self) -> Option<State> {
        match &self.seen.database {
            DatabaseSeen::Mirror(position) => Some(position.state),
            _ => None,
        }
    }

    /// The Secret and the Deployment of the follower; nobody follows a mirror that was promoted.
    fn follower(&mut self, inputs: &Inputs, settings: &PlanSettings) -> Result<(), String> {
        let name = self.mirror.follower_name();
        if self.state() == Some(State::Promoted) {
            if matches!(self.seen.deployment, DeploymentSeen::Ours { .. }) {
                self.steps.push(Step::DeleteDeployment(name));
            }
            return Ok(());
        }
        self.secret(&name, &self.seen.follower_secret, inputs.follower_secret())?;
        let wanted = deployment::build(self.mirror, &inputs.version, settings);
        let same = match &self.seen.deployment {
            DeploymentSeen::Foreign => {
                return Err(format!(
                    "Deployment {name} exists and does not belong to this Mirror; it was left alone"
                ));
            }
            DeploymentSeen::Ours { inputs: started_with, image, replicas, .. } => {
                *started_with == inputs.version
                    && *image == settings.image
                    && *replicas == deployment::replicas(self.mirror)
            }
            DeploymentSeen::Absent => false,
        };
        if !same {
            self.steps.push(Step::ApplyDeployment(Box::new(wanted)));
        }
        Ok(())
    }

    /// Why no follower runs; nothing while one does.
    fn trouble(&self) -> Option<String> {
        match &self.seen.deployment {
            DeploymentSeen::Ours { is_available: false, trouble, .. } => {
                Some(trouble.clone().unwrap_or_else(|| "its pod does not run yet".to_owned()))
            }
            DeploymentSeen::Ours { .. } => None,
            DeploymentSeen::Absent | DeploymentSeen::Foreign => Some("its pod is not there yet".to_owned()),
        }
    }

    /// What the mirror's database tells.
    fn position(&mut self, inputs: &Inputs) {
        use ConditionKind::Bootstrapped;
        match &self.seen.database {
            DatabaseSeen::Mirror(position) => self.found(position, inputs),
            DatabaseSeen::Unreachable(why) => {
                let sentence = format!("the mirror's database can't be looked at: {why}");
                match conditions::kept(&self.before.conditions, Bootstrapped) {
                    Some(kept) if kept.holds == Some(true) => self.say(kept),
                    _ => self.say(Finding::fails(Bootstrapped, "MetadataUnreachable", sentence.clone())),
                }
                self.unknown_position("MetadataUnreachable", &sentence);
            }
            DatabaseSeen::NoMirror | DatabaseSeen::Unknown => {
                let (reason, sentence) = match self.trouble() {
                    Some(why) => ("FollowerNotRunning", format!("the follower makes the mirror: {why}")),
                    None => ("Creating", "the follower makes the mirror".to_owned()),
                };
                self.say(Finding::fails(Bootstrapped, reason, sentence.clone()));
                self.unknown_position(reason, &sentence);
            }
        }
    }

    fn unknown_position(&mut self, reason: &str, sentence: &str) {
        use ConditionKind::{CaughtUp, Following};
        self.status.lag = None;
        self.status.versions_behind = None;
        self.status.source_version = None;
        self.say(Finding::fails(Following, reason, sentence));
        self.say(Finding::unknown(CaughtUp, reason, sentence));
    }

    fn found(&mut self, position: &Position, inputs: &Inputs) {
        use ConditionKind::{Bootstrapped, CaughtUp, Following, SourceReachable};
        let name = self.mirror.volume_name();
        if position.name != name
            || inputs.source_uuid.as_ref().is_some_and(|uuid| *uuid != position.source_uuid)
        {
            let sentence = format!(
                "the database holds the mirror {} of volume {}; nothing was written: name an empty one",
                position.name, position.source_uuid
            );
            self.say(Finding::fails(Bootstrapped, "Conflict", sentence.clone()));
            self.unknown_position("Conflict", &sentence);
            return;
        }
        let number = |version: Option<u64>| version.and_then(|version| i64::try_from(version).ok());
        self.status.source_uuid = Some(position.source_uuid.clone());
        self.status.applied_version = number(Some(position.version));
        self.status.source_version = number(position.source_version);
        self.status.versions_behind = number(position.versions_behind);
        self.status.lag = position.seconds_behind.map(|seconds| format!("{seconds:.1}s"));
        self.say(match position.state {
            State::Copying => Finding::fails(Bootstrapped, "Copying", "the whole volume is being copied"),
            State::Dropped => Finding::fails(Bootstrapped, "Dropped", "the mirror was dropped"),
            State::Promoting => Finding::holds(
                Bootstrapped,
                "Copied",
                format!("{name} holds everything and is being promoted"),
            ),
            State::Promoted => {
                Finding::holds(Bootstrapped, "Promoted", format!("{name} is a volume of its own"))
            }
            State::CatchingUp | State::Following => {
                Finding::holds(Bootstrapped, "Copied", format!("{name} holds everything and can be read"))
            }
        });
        self.say(match &position.source_error {
            None => Finding::holds(SourceReachable, "Reached", "the operator reached the source's database"),
            Some(why) => Finding::fails(SourceReachable, "SourceUnreachable", why.clone()),
        });
        let trouble = self.trouble();
        self.say(match (&trouble, &position.source_error) {
            _ if position.state == State::Promoted => {
                Finding::unknown(Following, "Promoted", "nobody follows any more")
            }
            _ if self.mirror.spec.promotion.requested => {
                Finding::fails(Following, "PromotionRequested", "nobody follows while it is promoted")
            }
            _ if self.mirror.spec.suspend => {
                Finding::fails(Following, "Suspended", "spec.suspend is set: nobody follows")
            }
            (Some(why), _) => Finding::fails(Following, "FollowerNotRunning", why.clone()),
            (None, Some(why)) => Finding::fails(Following, "SourceUnreachable", why.clone()),
            (None, None) => Finding::holds(Following, "Following", "the follower runs"),
        });
        self.say(match (position.seconds_behind, position.state) {
            (Some(seconds), State::CatchingUp | State::Following) => self.caught_up(seconds),
            (Some(_), State::Copying) => {
                Finding::fails(CaughtUp, "Copying", "the whole volume is being copied")
            }
            (Some(_), State::Dropped | State::Promoting | State::Promoted) => {
                Finding::unknown(CaughtUp, "NotFollowed", "nobody follows any more")
            }
            (None, _) => {
                Finding::unknown(CaughtUp, "SourceUnreachable", "how far it is behind can't be told")
            }
        });
    }

    /// The sentences have no numbers that change with each look: those are in the status.
    fn caught_up(&self, seconds: f64) -> Finding {
        let limit = &self.mirror.spec.sync.max_lag;
        if seconds <= self.mirror.max_lag().as_secs_f64() {
            Finding::holds(
                ConditionKind::CaughtUp,
                "WithinMaxLag",
                format!("it is behind by less than {limit}"),
            )
        } else {
            Finding::fails(
                ConditionKind::CaughtUp,
                "TooFarBehind",
                format!("it is behind by more than {limit}; status.lag tells how far"),
            )
        }
    }

    /// Stops the follower, has a Job promote the mirror, and tells what became of it.
    fn promotion(&mut self, settings: &PlanSettings) {
        use ConditionKind::Promoted;
        let name = self.mirror.volume_name();
        match self.state() {
            Some(State::Promoted) => {
                let kept = conditions::kept(&self.before.conditions, Promoted)
                    .filter(|kept| kept.holds == Some(true));
                let job = self.seen.promotion.as_ref();
                if kept.is_none() && job.is_some_and(|job| job.state == JobState::Active) {
                    // Its report is what will be told for good.
                    self.say(Finding::fails(Promoted, "Promoting", "the Job that promoted it ends"));
                    return;
                }
                let told = job.and_then(|job| report(job.message.as_deref()));
                let sentence = told.unwrap_or_else(|| format!("{name} is a volume of its own"));
                self.say(kept.unwrap_or_else(|| Finding::holds(Promoted, "Promoted", sentence)));
            }
            _ if !self.mirror.spec.promotion.requested => {}
            Some(State::CatchingUp | State::Following | State::Promoting) => {
                let finding = self.promote(settings);
                self.say(finding);
            }
            Some(State::Copying | State::Dropped) | None => {
                let sentence =
                    "it can be promoted when it holds everything; the condition Bootstrapped tells";
                self.say(Finding::fails(Promoted, "NotBootstrapped", sentence));
            }
        }
    }

    fn promote(&mut self, settings: &PlanSettings) -> Finding {
        use ConditionKind::Promoted;
        let running = "the Job that promotes it runs: clients of the source leave, what they wrote arrives";
        if matches!(self.seen.deployment, DeploymentSeen::Ours { is_available: true, .. }) {
            return Finding::fails(Promoted, "Promoting", "the follower ends first");
        }
        let Some(job) = &self.seen.promotion else {
            self.steps.push(Step::CreateJob(Box::new(deployment::promotion(self.mirror, settings))));
            return Finding::fails(Promoted, "Promoting", running);
        };
        match job.state {
            JobState::Active | JobState::Succeeded => Finding::fails(Promoted, "Promoting", running),
            JobState::Failed => {
                let ended = job.end.unwrap_or(self.seen.now);
                let age = Duration::try_from(self.seen.now.duration_since(ended)).unwrap_or_default();
                if age >= RETRY_PROMOTION {
                    self.steps.push(Step::DeleteJob(self.mirror.promotion_name()));
                }
                let why = job.message.clone().unwrap_or_else(|| "its pod left no report".to_owned());
                Finding::fails(Promoted, "PromotionFailed", why)
            }
        }
    }

    /// The Secret for the CSI driver.
    fn export(&mut self, inputs: &Inputs) {
        let wanted = self.mirror.exported_secret_name();
        if let Some(old) = self.before.exported_secret.clone().filter(|old| Some(old) != wanted.as_ref()) {
            self.steps.push(Step::DeleteSecret(old));
            self.status.exported_secret = None;
        }
        let Some(name) = wanted else { return };
        let kind = ConditionKind::SecretExported;
        match self.secret(&name, &self.seen.export, inputs.export(self.mirror)) {
            Ok(()) => {
                self.say(Finding::holds(kind, "Exported", format!("Secret {name} is up to date")));
                self.status.exported_secret = Some(name);
            }
            Err(sentence) => self.say(Finding::fails(kind, "Conflict", sentence)),
        }
    }

    fn classes(&mut self, settings: &PlanSettings) {
        let (name, namespace) = (self.mirror.name_any(), self.mirror.namespace().unwrap_or_default());
        let secret = self.mirror.exported_secret_name().unwrap_or_default();
        let owner =
            ClassOwner { kind: OwnerKind::Mirror, name: &name, namespace: &namespace, secret: &secret };
        let wanted = &self.mirror.spec.storage_classes;
        let planned = classes::plan(wanted, &self.seen.classes, &owner, &settings.default_class_owners);
        self.steps.extend(planned.steps);
        self.status.storage_classes = planned.names;
        if let Some(finding) = planned.finding {
            self.say(finding);
        }
    }

    /// Ready if it can be read and what pods need is there. Being behind keeps nobody from reading.
    fn settle(mut self) -> Plan {
        use ConditionKind::{Bootstrapped, CaughtUp, Following, SecretExported, StorageClassesReady};
        let needed = [Bootstrapped, SecretExported, StorageClassesReady];
        let failing = needed
            .into_iter()
            .find_map(|kind| self.findings.of(kind).filter(|found| found.holds == Some(false)));
        let Some(Finding { reason, message, .. }) = failing.cloned() else {
            let name = self.mirror.volume_name();
            if self.holds(ConditionKind::Promoted) {
                let sentence = format!("volume {name} can be used");
                self.say(Finding::holds(ConditionKind::Ready, "Ready", sentence));
                return self.finish(MirrorPhase::Promoted, WHEN_SETTLED);
            }
            self.say(Finding::holds(ConditionKind::Ready, "Ready", format!("mirror {name} can be read")));
            if self.mirror.spec.promotion.requested {
                return self.finish(MirrorPhase::Promoting, WHILE_COPYING);
            }
            let phase = match (self.mirror.spec.suspend, self.holds(Following) && self.holds(CaughtUp)) {
                (true, _) => MirrorPhase::Suspended,
                (false, true) => MirrorPhase::Following,
                (false, false) => MirrorPhase::Stale,
            };
            return self.finish(phase, WHEN_SETTLED);
        };
        let (phase, again) = match reason.as_str() {
            "Copying" | "Creating" => (MirrorPhase::Bootstrapping, WHILE_COPYING),
            "FollowerNotRunning" => (MirrorPhase::Pending, WHILE_COPYING),
            _ => (MirrorPhase::Failed, WHEN_SETTLED),
        };
        self.say(Finding::fails(ConditionKind::Ready, &reason, message));
        self.finish(phase, again)
    }

    /// Something that a person has to mend.
    fn stop(mut self, reason: &str, sentence: String) -> Plan {
        self.say(Finding::fails(ConditionKind::Ready, reason, sentence));
        self.finish(MirrorPhase::Pending, WHILE_MISSING)
    }

    /// What was not looked at stays as it was.
    fn finish(mut self, phase: MirrorPhase, again: Duration) -> Plan {
        use ConditionKind::{
            Bootstrapped, CaughtUp, Following, SecretExported, SourceReachable, StorageClassesReady,
        };
        let mut wanted = vec![Bootstrapped, SourceReachable, Following, CaughtUp];
        wanted.extend(self.mirror.exported_secret_name().map(|_| SecretExported));
        wanted.extend((!self.mirror.spec.storage_classes.is_empty()).then_some(StorageClassesReady));
        let (old, generation) = (&self.before.conditions, self.mirror.metadata.generation);
        let (conditions, notes) = self.findings.conclude(wanted, old, generation, self.seen.now);
        self.status.conditions = conditions;
        self.status.phase = Some(phase);
        Plan { steps: self.steps, status: Some(self.status), notes, again }
    }
}

/// What was lost, from the report of the Job.
fn report(message: Option<&str>) -> Option<String> {
    let promoted: Promoted = serde_json::from_str(message?).ok()?;
    let lost = match promoted.lost_versions {
        Some(0) => "nothing of its source is lost".to_owned(),
        Some(lost) => format!("{lost} changes of its source are lost"),
        None => "what its source had beyond that is lost".to_owned(),
    };
    let broken = match promoted.broken_file_count {
        0 => String::new(),
        count => format!("; blocks of {count} files are in no bucket: {}", promoted.broken_files.join(", ")),
    };
    Some(format!(
        "{} is a volume of its own, equal to version {} of its source: {lost}{broken}",
        promoted.name, promoted.version
    ))
}

/// Retain: what was made for the mirror goes; its database stays, and the source is not touched at all.
fn departure(mirror: &Mirror, seen: &Seen) -> Plan {
    let mut steps = Vec::new();
    let is_ours = mirror.finalizers().iter().any(|name| name == labels::FINALIZER);
    if is_ours {
        steps.push(Step::DeleteDeployment(mirror.follower_name()));
        let classes = seen.classes.iter().filter(|class| class.ours);
        steps.extend(classes.map(|class| Step::DeleteClass(class.name.clone())));
        let mut secrets: Vec<String> = vec![mirror.follower_name()];
        secrets.extend(mirror.exported_secret_name());
        secrets.extend(mirror.status.as_ref().and_then(|status| status.exported_secret.clone()));
        secrets.dedup();
        steps.extend(secrets.into_iter().map(Step::DeleteSecret));
        steps.push(Step::RemoveFinalizer);
    }
    let sentence = format!(
        "the follower, the Secrets and the StorageClasses are gone; the database of mirror {} stays as it is",
        mirror.volume_name()
    );
    let notes = if is_ours { vec![Note::normal("Retained", "Delete", sentence)] } else { Vec::new() };
    Plan { steps, status: None, notes, again: WHEN_SETTLED }
}
