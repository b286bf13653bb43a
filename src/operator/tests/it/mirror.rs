//! What a mirror needs next.

use crate::world::{CANARY, UUID, ago, file_system, names_of, now, secret};
use juicefs_base::ExposeSecret;
use juicefs_k8s::crd::{Mirror, MirrorPhase};
use juicefs_operator::file_system::{ClassSeen, ExportSeen, JobState, PlanSettings, SecretSeen, Step};
use juicefs_operator::mirror::{
    DatabaseSeen, DeploymentSeen, Plan, Position, PromotionSeen, Seen, SourceSeen, plan,
};
use juicefs_replication::State;
use kube::ResourceExt;
use serde_json::{Value, json};

fn mirror(change: impl Fn(&mut Value)) -> Mirror {
    let mut object = json!({
        "apiVersion": "juicefs.rs/v1alpha1",
        "kind": "Mirror",
        "metadata": {
            "name": "data-eu", "namespace": "eu", "uid": "uid-2", "generation": 2, "finalizers": ["juicefs.rs/cleanup"]
        },
        "spec": {
            "sourceRef": {"fileSystemRef": {"name": "data", "namespace": "storage"}},
            "meta": {"engine": "redis", "url": "redis://redis-eu:6379/1", "secretRef": {"name": "eu-meta", "key": "password"}},
            "storageClasses": [{"name": "eu", "pathPattern": "${.pvc.annotations.path}"}]
        }
    });
    change(&mut object);
    serde_json::from_value(object).unwrap()
}

/// The source allows the namespace and is there; nothing was made yet.
fn seen() -> Seen {
    let mut source = file_system(|fs| fs["spec"]["allowedNamespaces"] = json!(["eu"]));
    source.status.get_or_insert_default().uuid = Some(UUID.to_owned());
    Seen {
        now: now(),
        forbidden: false,
        meta_secret: secret("eu-meta", &["password"], true),
        bucket_secret: None,
        bucket_source_secret: None,
        source: SourceSeen::FileSystem {
            object: Box::new(source),
            meta_secret: secret("data-meta", &["password"], true),
            storage_secret: secret("data-s3", &["access-key", "secret-key"], false),
        },
        export: ExportSeen::Absent,
        follower_secret: ExportSeen::Absent,
        deployment: DeploymentSeen::Absent,
        promotion: None,
        classes: Vec::new(),
        database: DatabaseSeen::NoMirror,
    }
}

fn planned(mirror: &Mirror, seen: &Seen) -> Plan {
    let settings = PlanSettings {
        image: "img".into(),
        image_pull_policy: "Never".into(),
        default_class_owners: Vec::new(),
    };
    plan(mirror, seen, &settings)
}

fn position(state: State) -> Position {
    Position {
        name: "data-eu".into(),
        source_uuid: UUID.into(),
        state,
        version: 40,
        source_version: Some(42),
        versions_behind: Some(2),
        seconds_behind: Some(0.25),
        source_error: None,
    }
}

/// What a plan wants is there, and the follower runs.
fn done(plan: &Plan, seen: &mut Seen) {
    for step in &plan.steps {
        match step {
            Step::ApplySecret(name, data) if name.ends_with("-follower") => {
                seen.follower_secret = ExportSeen::Ours(data.clone());
            }
            Step::ApplySecret(_, data) => seen.export = ExportSeen::Ours(data.clone()),
            Step::ApplyClass(class) => {
                seen.classes.push(ClassSeen { name: class.name_any(), ours: true, object: (**class).clone() })
            }
            Step::ApplyDeployment(deployment) => {
                let spec = deployment.spec.clone().unwrap();
                let annotations = spec.template.metadata.unwrap().annotations.unwrap();
                seen.deployment = DeploymentSeen::Ours {
                    inputs: annotations["juicefs.rs/inputs"].clone(),
                    image: "img".into(),
                    replicas: spec.replicas.unwrap(),
                    is_available: true,
                    trouble: None,
                };
            }
            other => panic!("{other:?}"),
        }
    }
}

fn after(mirror: &Mirror, plan: &Plan) -> Mirror {
    Mirror { status: plan.status.clone(), ..mirror.clone() }
}

fn condition(plan: &Plan, kind: &str) -> String {
    let status = plan.status.as_ref().unwrap();
    let found = status.conditions.iter().find(|condition| condition.type_ == kind);
    found.map_or_else(|| "none".into(), |condition| format!("{}/{}", condition.status, condition.reason))
}

fn message(plan: &Plan, kind: &str) -> String {
    let status = plan.status.as_ref().unwrap();
    status.conditions.iter().find(|condition| condition.type_ == kind).unwrap().message.clone()
}

#[test]
fn a_mirror_is_made_copied_and_followed() {
    let (mut mirror, mut seen) = (mirror(|_| {}), seen());
    let first = planned(&mirror, &seen);
    assert_eq!(
        names_of(&first.steps),
        ["apply-secret data-eu-follower", "apply-deployment data-eu-follower"]
    );
    assert_eq!(condition(&first, "Ready"), "False/FollowerNotRunning");
    done(&first, &mut seen);
    mirror = after(&mirror, &first);

    seen.database = DatabaseSeen::Mirror(position(State::Copying));
    let copying = planned(&mirror, &seen);
    assert_eq!(names_of(&copying.steps), Vec::<String>::new());
    assert_eq!(condition(&copying, "Ready"), "False/Copying");
    assert_eq!(copying.status.as_ref().unwrap().phase, Some(MirrorPhase::Bootstrapping));
    mirror = after(&mirror, &copying);

    seen.database = DatabaseSeen::Mirror(position(State::Following));
    let following = planned(&mirror, &seen);
    assert_eq!(names_of(&following.steps), ["apply-secret data-eu-csi", "apply-class eu"]);
    for kind in [
        "Ready",
        "Bootstrapped",
        "SourceReachable",
        "Following",
        "CaughtUp",
        "SecretExported",
        "StorageClassesReady",
    ] {
        assert!(condition(&following, kind).starts_with("True/"), "{kind}: {}", condition(&following, kind));
    }
    let status = following.status.clone().unwrap();
    assert_eq!(
        (status.applied_version, status.versions_behind, status.lag.as_deref(), status.source.as_deref()),
        (Some(40), Some(2), Some("0.2s"), Some("storage/data"))
    );
    assert!(following.notes.iter().any(|note| note.reason == "Ready"));
    done(&following, &mut seen);
    mirror = after(&mirror, &following);

    let settled = planned(&mirror, &seen);
    assert_eq!(names_of(&settled.steps), Vec::<String>::new());
    assert_eq!(settled.status, mirror.status);
    assert!(settled.notes.is_empty());
}

#[test]
fn secrets_are_in_secrets_only() {
    let mut seen = seen();
    seen.database = DatabaseSeen::Mirror(position(State::Following));
    let plan = planned(&mirror(|_| {}), &seen);
    let escaped = "c4n4ry%2Fp%40ss";
    for step in &plan.steps {
        match step {
            Step::ApplySecret(name, data) => {
                let of = |key: &str| {
                    data.get(key).map(|value| value.expose_secret().to_owned()).unwrap_or_default()
                };
                if name == "data-eu-csi" {
                    assert_eq!((of("name"), of("storage")), ("data-eu".into(), "s3".into()));
                    assert_eq!(of("secret-key"), CANARY);
                    assert!(of("metaurl").contains("redis-eu") && of("metaurl").contains(escaped));
                } else {
                    assert!(of("source-url").contains("redis.storage") && of("source-url").contains(escaped));
                }
            }
            Step::ApplyDeployment(deployment) => {
                let text = serde_json::to_string(deployment).unwrap();
                assert!(!text.contains("c4n4ry"), "{text}");
            }
            _ => {}
        }
    }
    assert!(!serde_json::to_string(&plan.status).unwrap().contains("c4n4ry"));
}

#[test]
fn what_is_missing_or_not_allowed_is_told_and_nothing_is_made() {
    let refused = |change: &dyn Fn(&mut Seen)| {
        let mut seen = seen();
        change(&mut seen);
        let plan = planned(&mirror(|_| {}), &seen);
        assert!(plan.steps.is_empty(), "{:?}", plan.steps);
        format!("{}: {}", condition(&plan, "Ready"), message(&plan, "Ready"))
    };
    let source = |change: &dyn Fn(&mut Value)| {
        let object = Box::new(file_system(change));
        SourceSeen::FileSystem { object, meta_secret: None, storage_secret: None }
    };
    assert!(refused(&|seen| seen.forbidden = true).contains("secretNamespaces"));
    assert!(
        refused(&|seen| seen.source = SourceSeen::Missing)
            .starts_with("False/SourceMissing: FileSystem storage/data")
    );
    let told = refused(&|seen| seen.source = source(&|_| {}));
    assert!(told.starts_with("False/SourceNotAllowed") && told.contains("allowedNamespaces"), "{told}");
    let told = refused(&|seen| seen.source = source(&|fs| fs["spec"]["allowedNamespaces"] = json!(["eu"])));
    assert!(told.starts_with("False/SourceNotReady"), "{told}");
    let told = refused(&|seen| seen.follower_secret = ExportSeen::Foreign);
    assert!(told.starts_with("False/Conflict: Secret data-eu-follower exists"), "{told}");

    let same = mirror(|object| object["spec"]["volumeName"] = json!("data"));
    let plan = planned(&same, &seen());
    assert!(message(&plan, "Ready").contains("called data like its source"));
}

#[test]
fn lag_outage_and_suspension_are_conditions() {
    let mut seen = seen();
    let look = |position: Position, seen: &mut Seen, change: &dyn Fn(&mut Value)| {
        seen.database = DatabaseSeen::Mirror(position);
        let plan = planned(&mirror(change), seen);
        done(&plan, seen);
        planned(&after(&mirror(change), &plan), seen)
    };
    let plan =
        look(Position { seconds_behind: Some(31.0), ..position(State::Following) }, &mut seen, &|_| {});
    assert_eq!(condition(&plan, "CaughtUp"), "False/TooFarBehind");
    assert_eq!(condition(&plan, "Ready"), "True/Ready");
    assert_eq!(plan.status.unwrap().phase, Some(MirrorPhase::Stale));

    let outage = Position {
        source_error: Some("no route".into()),
        source_version: None,
        versions_behind: None,
        seconds_behind: None,
        ..position(State::Following)
    };
    let plan = look(outage, &mut seen, &|_| {});
    assert_eq!(condition(&plan, "SourceReachable"), "False/SourceUnreachable");
    assert_eq!(condition(&plan, "CaughtUp"), "Unknown/SourceUnreachable");
    assert_eq!(condition(&plan, "Ready"), "True/Ready", "a mirror serves while its source is away");
    assert_eq!(plan.status.unwrap().lag, None);

    let plan = look(position(State::Following), &mut seen, &|object| object["spec"]["suspend"] = json!(true));
    assert_eq!(condition(&plan, "Following"), "False/Suspended");
    let DeploymentSeen::Ours { replicas, .. } = seen.deployment else { panic!("no deployment") };
    assert_eq!(replicas, 0);

    let other = Position { source_uuid: "another".into(), ..position(State::Following) };
    let plan = look(other, &mut seen, &|_| {});
    assert_eq!(condition(&plan, "Ready"), "False/Conflict");
}

#[test]
fn a_promotion_ends_the_follower_runs_a_job_and_tells_what_is_lost() {
    let asked = mirror(|object| object["spec"]["promotion"] = json!({"requested": true}));
    let mut seen = seen();
    seen.database = DatabaseSeen::Mirror(position(State::Following));
    let running = |is_available, replicas| DeploymentSeen::Ours {
        inputs: String::new(),
        image: "img".into(),
        replicas,
        is_available,
        trouble: None,
    };
    seen.deployment = running(true, 1);
    let plan = planned(&asked, &seen);
    assert!(names_of(&plan.steps).contains(&"apply-deployment data-eu-follower".to_owned()));
    assert!(!names_of(&plan.steps).contains(&"create-job".to_owned()), "a follower still runs");
    let Some(Step::ApplyDeployment(stopped)) =
        plan.steps.iter().find(|step| matches!(step, Step::ApplyDeployment(_)))
    else {
        panic!("{:?}", plan.steps)
    };
    assert_eq!(stopped.spec.as_ref().unwrap().replicas, Some(0));

    seen.deployment = running(false, 0);
    let plan = planned(&asked, &seen);
    assert!(names_of(&plan.steps).contains(&"create-job".to_owned()));
    assert_eq!(condition(&plan, "Promoted"), "False/Promoting");
    assert_eq!(plan.status.as_ref().unwrap().phase, Some(MirrorPhase::Promoting));

    let failed = |end| PromotionSeen {
        state: JobState::Failed,
        end: Some(end),
        message: Some("the source can't be fenced".into()),
    };
    seen.promotion = Some(failed(ago(10)));
    let plan = planned(&asked, &seen);
    assert_eq!(condition(&plan, "Promoted"), "False/PromotionFailed");
    assert_eq!(condition(&plan, "Ready"), "True/Ready", "it can be read as before");
    seen.promotion = Some(failed(ago(70)));
    assert!(names_of(&planned(&asked, &seen).steps).contains(&"delete-job data-eu-promote".to_owned()));

    let report = json!({
        "Name": "data-eu", "Epoch": "e", "Version": 40, "VersionMs": 0, "LostVersions": 2, "FirstInode": 1,
        "FirstSlice": 1, "BrokenFiles": ["/a"], "BrokenFileCount": 1,
    });
    let message = Some(report.to_string());
    seen.database = DatabaseSeen::Mirror(position(State::Promoted));
    seen.promotion = Some(PromotionSeen { state: JobState::Active, end: None, message: None });
    let plan = planned(&asked, &seen);
    assert_eq!(condition(&plan, "Promoted"), "False/Promoting", "its report is waited for");
    seen.promotion = Some(PromotionSeen { state: JobState::Succeeded, end: None, message });
    let plan = planned(&asked, &seen);
    assert!(names_of(&plan.steps).contains(&"delete-deployment data-eu-follower".to_owned()));
    assert_eq!(condition(&plan, "Promoted"), "True/Promoted");
    let told = self::message(&plan, "Promoted");
    assert!(told.contains("version 40") && told.contains("2 changes") && told.contains("1 files"), "{told}");
    assert_eq!(plan.status.as_ref().unwrap().phase, Some(MirrorPhase::Promoted));
    // The Job is gone one day; what was lost stays told.
    (seen.promotion, seen.deployment) = (None, DeploymentSeen::Absent);
    let later = planned(&after(&asked, &plan), &seen);
    assert_eq!(self::message(&later, "Promoted"), told);
}

#[test]
fn a_bucket_of_its_own_is_told_to_the_follower_and_to_pods_in_secrets_only() {
    let own = mirror(|object| {
        object["spec"]["objectStorage"] = json!({"dedicated": {
            "type": "s3", "bucket": "http://s3-eu/data", "secretRef": {"name": "eu-s3"}, "dataFirst": true,
        }});
    });
    let mut seen = seen();
    seen.bucket_secret = secret("eu-s3", &["access-key", "secret-key"], false);
    seen.database = DatabaseSeen::Mirror(position(State::Following));
    let plan = planned(&own, &seen);
    let data = |name: &str, key: &str| {
        let found = plan.steps.iter().find_map(|step| match step {
            Step::ApplySecret(found, data) if found == name => data.get(key),
            _ => None,
        });
        found.map(|value| value.expose_secret().to_owned()).unwrap_or_default()
    };
    assert_eq!(data("data-eu-csi", "bucket"), "http://s3-eu/data");
    assert_eq!(data("data-eu-csi", "secret-key"), CANARY);
    let told = data("data-eu-follower", "bucket");
    assert!(told.contains("http://s3-eu/data") && told.contains("\"dataFirst\":true"), "{told}");
    let Some(Step::ApplyDeployment(deployment)) =
        plan.steps.iter().find(|step| matches!(step, Step::ApplyDeployment(_)))
    else {
        panic!("{:?}", plan.steps)
    };
    let text = serde_json::to_string(deployment).unwrap();
    assert!(text.contains("--bucket-file") && !text.contains("c4n4ry"), "{text}");
    seen.bucket_secret = Some(SecretSeen::Missing("eu-s3".into()));
    assert_eq!(condition(&planned(&own, &seen), "Ready"), "False/SecretMissing");
}

#[test]
fn a_mirror_that_goes_takes_along_what_was_made_for_it() {
    let gone = mirror(|object| object["metadata"]["deletionTimestamp"] = json!("2026-11-21T12:00:00Z"));
    let mut seen = seen();
    let class = |name: &str, ours| ClassSeen { name: name.into(), ours, object: Default::default() };
    seen.classes = vec![class("eu", true), class("other", false)];
    let plan = planned(&gone, &seen);
    assert_eq!(
        names_of(&plan.steps),
        [
            "delete-deployment data-eu-follower",
            "delete-class eu",
            "delete-secret data-eu-follower",
            "delete-secret data-eu-csi",
            "remove-finalizer"
        ]
    );
    assert!(plan.status.is_none() && plan.notes[0].reason == "Retained");
}
