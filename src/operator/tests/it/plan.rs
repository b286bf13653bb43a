//! What the operator decides, case by case.

use crate::world::{
    CANARY, UUID, after, ago, condition, file_system, job, job_name, names, planned, ready, secret, seen,
};
use juicefs_base::ExposeSecret;
use juicefs_k8s::crd::status::Phase;
use juicefs_operator::file_system::{ClassSeen, ExportSeen, JobState, SecretSeen, Step};
use serde_json::{Value, json};
use std::time::Duration;

#[test]
fn a_new_file_system_gets_its_finalizer_before_its_job() {
    let fs = file_system(|object| object["metadata"]["finalizers"] = json!([]));
    let plan = planned(&fs, &seen());
    assert_eq!(names(&plan), ["add-finalizer", "create-job"]);
    assert_eq!(condition(&plan, "Ready"), "False/Formatting");
    let status = plan.status.unwrap();
    assert_eq!((status.phase, status.observed_generation), (Some(Phase::Formatting), Some(3)));
    assert_eq!(plan.notes.len(), 1, "{:?}", plan.notes);
}

#[test]
fn the_job_has_no_secret_in_it_and_no_rights() {
    let fs = file_system(|_| {});
    let plan = planned(&fs, &seen());
    let Some(Step::CreateJob(job)) = plan.steps.first() else { panic!("{:?}", names(&plan)) };
    let job = serde_json::to_value(job).unwrap();
    assert!(!job.to_string().contains("c4n4ry"));
    let pod = &job["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let command = [
        "juicefs",
        "format-job",
        "--spec-file",
        "/spec/spec.json",
        "--meta-password-file",
        "/secrets/meta/password",
        "--storage-secret-dir",
        "/secrets/storage",
    ];
    assert_eq!(container["command"], json!(command));
    assert!(container.get("env").is_none() && container.get("args").is_none());
    assert_eq!(container["securityContext"]["capabilities"], json!({"drop": ["ALL"]}));
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(
        (&pod["automountServiceAccountToken"], &pod["restartPolicy"]),
        (&json!(false), &json!("Never"))
    );
    let volumes = pod["volumes"].as_array().unwrap();
    assert_eq!(
        volumes[2]["secret"]["items"],
        json!([{"key": "access-key", "path": "access-key"}, {"key": "secret-key", "path": "secret-key"}])
    );
    let spec: Value = serde_json::from_str(
        job["spec"]["template"]["metadata"]["annotations"]["juicefs.rs/format-spec"].as_str().unwrap(),
    )
    .unwrap();
    assert_eq!(
        (&spec["volumeName"], &spec["metaUrl"]),
        (&json!("data"), &json!("redis://redis.storage:6379/1"))
    );
    let owner = &job["metadata"]["ownerReferences"][0];
    assert_eq!(
        (&owner["kind"], &owner["uid"], &owner["controller"]),
        (&json!("FileSystem"), &json!("uid-1"), &json!(true))
    );
    assert_eq!(job["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"], json!([3]));
}

#[test]
fn the_jobs_name_follows_the_input_and_nothing_else() {
    let base = job_name(&file_system(|_| {}));
    assert!(base.starts_with("data-format-") && base.len() <= 63, "{base}");
    assert_eq!(base, job_name(&file_system(|object| object["spec"]["storageClasses"] = json!([]))));
    assert_eq!(base, job_name(&file_system(|object| object["status"] = json!({"uuid": UUID}))));
    let others: [fn(&mut Value); 3] = [
        |object| object["spec"]["format"] = json!({"trashDays": 7}),
        |object| object["spec"]["meta"]["url"] = json!("redis://other:6379/1"),
        |object| object["metadata"]["uid"] = json!("uid-2"),
    ];
    for other in others {
        assert_ne!(base, job_name(&file_system(other)));
    }
    let fs = file_system(|_| {});
    let mut rotated = seen();
    let Some(SecretSeen::Found(found)) = &mut rotated.meta_secret else { panic!() };
    found.version = "uid 8".into();
    let plan = planned(&fs, &rotated);
    let name = plan.status.unwrap().last_format_job.unwrap().name;
    assert_ne!(base, name, "a changed Secret makes another Job");
}

#[test]
fn what_is_missing_is_named_and_nothing_is_made() {
    type Change = fn(&mut juicefs_operator::file_system::Seen);
    let cases: [(Change, &str, &str); 5] = [
        (
            |seen| seen.meta_secret = Some(SecretSeen::Missing("data-meta".into())),
            "SecretMissing",
            "Secret data-meta is not there",
        ),
        (
            |seen| seen.storage_secret = Some(SecretSeen::Missing("data-s3".into())),
            "SecretMissing",
            "Secret data-s3 is not there",
        ),
        (
            |seen| seen.meta_secret = secret("data-meta", &["other"], true),
            "SecretKeyMissing",
            "no key password",
        ),
        (
            |seen| seen.storage_secret = Some(SecretSeen::Forbidden("data-s3".into())),
            "SecretForbidden",
            "secretNamespaces",
        ),
        (|seen| seen.forbidden = true, "NamespaceNotAllowed", "secretNamespaces"),
    ];
    for (change, reason, sentence) in cases {
        let mut seen = seen();
        change(&mut seen);
        let plan = planned(&file_system(|_| {}), &seen);
        assert_eq!(names(&plan), Vec::<String>::new());
        assert_eq!(condition(&plan, "Ready"), format!("False/{reason}"));
        assert!(
            plan.notes.iter().any(|note| note.warning && note.text.contains(sentence)),
            "{:?}",
            plan.notes
        );
    }
}

#[test]
fn after_formatting_the_secret_and_the_classes_are_made_and_then_nothing() {
    let fs = file_system(|_| {});
    let mut seen = seen();
    let report = json!({"result": "created", "uuid": UUID, "message": "volume data made"});
    seen.jobs.push(job(&job_name(&fs), JobState::Succeeded, Some(report)));
    let plan = planned(&fs, &seen);
    assert_eq!(names(&plan), ["apply-secret data-csi", "apply-class data"]);
    for kind in [
        "Ready",
        "Formatted",
        "MetadataReachable",
        "ObjectStorageReachable",
        "ConfigInSync",
        "SecretExported",
        "StorageClassesReady",
    ] {
        assert!(condition(&plan, kind).starts_with("True/"), "{kind}: {}", condition(&plan, kind));
    }
    let status = plan.status.clone().unwrap();
    assert_eq!((status.uuid.as_deref(), status.phase), (Some(UUID), Some(Phase::Ready)));
    assert_eq!(
        (status.exported_secret.as_deref(), status.storage_classes),
        (Some("data-csi"), vec!["data".to_owned()])
    );
    let Step::ApplySecret(_, data) = &plan.steps[0] else { panic!() };
    assert_eq!(data["metaurl"].expose_secret(), "redis://:c4n4ry%2Fp%40ss@redis.storage:6379/1");
    assert_eq!(
        data.keys().collect::<Vec<_>>(),
        ["access-key", "bucket", "metaurl", "name", "secret-key", "storage"]
    );
    assert!(!format!("{plan:?}").contains("c4n4ry"));

    let (settled, seen) = ready();
    let plan = planned(&settled, &seen);
    assert_eq!(names(&plan), Vec::<String>::new());
    assert_eq!(plan.status.as_ref(), settled.status.as_ref(), "a settled status is not written again");
    assert!(plan.notes.is_empty(), "{:?}", plan.notes);
}

#[test]
fn a_settled_file_system_outlives_its_job() {
    let (fs, mut seen) = ready();
    seen.jobs.clear();
    let plan = planned(&fs, &seen);
    assert_eq!(names(&plan), Vec::<String>::new());
    assert_eq!(condition(&plan, "Ready"), "True/Ready");
}

#[test]
fn failures_become_conditions_and_are_tried_again_later() {
    let cases = [
        (
            json!({"result": "failed", "message": "m", "cause": "metadata"}),
            "MetadataUnreachable",
            Some("MetadataReachable"),
        ),
        (
            json!({"result": "failed", "message": "m", "cause": "storage"}),
            "ObjectStorageUnreachable",
            Some("ObjectStorageReachable"),
        ),
        (json!({"result": "failed", "message": "m", "cause": "settings"}), "BadSettings", None),
        (json!({"result": "conflict", "message": "m", "uuid": UUID}), "SettingsConflict", None),
    ];
    for (report, reason, also) in cases {
        let fs = file_system(|_| {});
        let name = job_name(&fs);
        let mut seen = seen();
        seen.jobs.push(job(&name, JobState::Failed, Some(report.clone())));
        let plan = planned(&fs, &seen);
        assert_eq!(names(&plan), Vec::<String>::new());
        assert_eq!(condition(&plan, "Ready"), format!("False/{reason}"));
        assert_eq!(condition(&plan, "Formatted"), format!("False/{reason}"));
        if let Some(kind) = also {
            assert_eq!(condition(&plan, kind), "False/Failed");
        }
        let told = plan.notes.iter().filter(|note| note.warning).count();
        assert_eq!(told, 1, "one failure is one Event: {:?}", plan.notes);
        assert_eq!(plan.status.as_ref().unwrap().uuid, None, "another's volume is never ours");
        assert!(plan.again > Duration::from_secs(5) && plan.again <= Duration::from_secs(600));
        seen.jobs[0].end = Some(ago(700));
        assert_eq!(names(&planned(&fs, &seen)), [format!("delete-job {name}")]);
        seen.jobs.clear();
        assert_eq!(names(&planned(&after(&fs, &plan), &seen)), ["create-job"]);
    }
}

#[test]
fn a_job_without_a_report_says_why() {
    let fs = file_system(|_| {});
    let mut seen = seen();
    let mut failed = job(&job_name(&fs), JobState::Failed, None);
    failed.trouble = Some("pod x: ErrImagePull: no such image".into());
    seen.jobs.push(failed);
    let plan = planned(&fs, &seen);
    assert_eq!(condition(&plan, "Ready"), "False/FormatFailed");
    assert!(plan.status.unwrap().conditions[0].message.contains("no such image"));
}

#[test]
fn changed_input_waits_for_the_older_job_to_go() {
    let fs = file_system(|_| {});
    let mut seen = seen();
    seen.jobs.push(job("data-format-old", JobState::Active, None));
    let plan = planned(&fs, &seen);
    assert_eq!(names(&plan), ["delete-job data-format-old"]);
    seen.jobs[0].state = JobState::Failed;
    assert_eq!(names(&planned(&fs, &seen)), ["create-job"]);
}

#[test]
fn a_ready_file_system_stays_ready_while_a_change_is_checked() {
    let (mut fs, mut seen) = ready();
    fs.spec.format.trash_days = 7;
    let plan = planned(&fs, &seen);
    assert_eq!(names(&plan), ["create-job"]);
    assert_eq!(condition(&plan, "Ready"), "True/Ready");
    let report = json!({"result": "unchanged", "uuid": UUID, "message": "there", "drift": ["format.trashDays is 1 in the volume, 7 in the FileSystem"]});
    seen.jobs = vec![job(&job_name(&fs), JobState::Succeeded, Some(report))];
    let plan = planned(&fs, &seen);
    assert_eq!(condition(&plan, "ConfigInSync"), "False/Drift");
    assert_eq!(condition(&plan, "Ready"), "True/Ready");
    assert!(plan.notes.iter().any(|note| note.reason == "Drift" && note.text.contains("juicefs config")));
}

#[test]
fn a_wrong_new_password_does_not_unformat_a_volume_nor_reach_its_secret() {
    let (fs, mut seen) = ready();
    let Some(SecretSeen::Found(found)) = &mut seen.meta_secret else { panic!() };
    found.version = "uid 9".into();
    let name = planned(&fs, &seen).status.unwrap().last_format_job.unwrap().name;
    seen.jobs = vec![job(
        &name,
        JobState::Failed,
        Some(json!({"result": "failed", "message": "m", "cause": "metadata"})),
    )];
    let plan = planned(&fs, &seen);
    assert_eq!(names(&plan), Vec::<String>::new());
    assert_eq!(condition(&plan, "Formatted"), "True/Created");
    assert_eq!(condition(&plan, "Ready"), "False/MetadataUnreachable");
    assert_eq!(plan.status.unwrap().uuid.as_deref(), Some(UUID));
}

#[test]
fn objects_of_others_are_left_alone_and_show_as_conflicts() {
    let (fs, seen) = ready();
    let mut foreign = seen.clone();
    foreign.export = ExportSeen::Foreign;
    foreign.classes[0].ours = false;
    let plan = planned(&fs, &foreign);
    assert_eq!(names(&plan), Vec::<String>::new());
    assert_eq!(condition(&plan, "SecretExported"), "False/Conflict");
    assert_eq!(condition(&plan, "StorageClassesReady"), "False/Conflict");
    assert_eq!(condition(&plan, "Ready"), "False/Conflict");
    assert_eq!(plan.status.unwrap().storage_classes, Vec::<String>::new());
}

#[test]
fn classes_are_replaced_updated_and_removed() {
    let (fs, seen) = ready();
    let mut changed = fs.clone();
    changed.spec.storage_classes[0].path_pattern = Some("x".into());
    assert_eq!(names(&planned(&changed, &seen)), ["delete-class data", "apply-class data"]);
    let mut changed = fs.clone();
    changed.spec.storage_classes[0].allow_volume_expansion = true;
    assert_eq!(names(&planned(&changed, &seen)), ["apply-class data"]);
    let mut changed = fs.clone();
    changed.spec.storage_classes[0].name = "other".into();
    assert_eq!(names(&planned(&changed, &seen)), ["delete-class data", "apply-class other"]);
    let mut changed = fs;
    changed.spec.storage_classes[0].parameters.insert("juicefs/no-such".into(), "1".into());
    let plan = planned(&changed, &seen);
    assert_eq!(condition(&plan, "StorageClassesReady"), "False/BadParameters");
}

#[test]
fn the_default_class_is_for_file_systems_on_the_operators_list() {
    let (fs, mut seen) = ready();
    let mut changed = fs.clone();
    changed.spec.storage_classes[0].default = true;
    let plan = planned(&changed, &seen);
    assert_eq!(condition(&plan, "StorageClassesReady"), "False/DefaultClassNotAllowed");
    changed.metadata.name = Some("allowed".into());
    changed.spec.volume_name = Some("data".into());
    seen.classes.clear();
    let name = planned(&changed, &seen).status.unwrap().last_format_job.unwrap().name;
    seen.jobs = vec![job(
        &name,
        JobState::Succeeded,
        Some(json!({"result": "unchanged", "uuid": UUID, "message": "m"})),
    )];
    let plan = planned(&changed, &seen);
    assert_eq!(condition(&plan, "StorageClassesReady"), "True/Applied");
}

#[test]
fn another_name_for_the_secret_takes_the_old_one_away() {
    let (mut fs, mut seen) = ready();
    fs.spec.secret_export.as_mut().unwrap().name = "other".into();
    seen.export = ExportSeen::Absent;
    assert_eq!(names(&planned(&fs, &seen))[..2], ["delete-secret data-csi", "apply-secret other"]);
    fs.spec.secret_export = None;
    assert_eq!(fs.exported_secret_name().as_deref(), Some("data-csi"), "classes need a Secret");
    fs.spec.storage_classes.clear();
    assert_eq!(names(&planned(&fs, &seen)), ["delete-secret data-csi", "delete-class data"]);
}

#[test]
fn deletion_retains_the_volume_and_takes_what_was_made_for_it() {
    let (mut fs, mut seen) = ready();
    fs.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(crate::world::now()));
    let foreign = ClassSeen { name: "foreign".into(), ours: false, object: seen.classes[0].object.clone() };
    seen.classes.push(foreign);
    let plan = planned(&fs, &seen);
    assert_eq!(names(&plan), ["delete-class data", "delete-secret data-csi", "remove-finalizer"]);
    assert!(plan.status.is_none() && plan.notes[0].text.contains("stays"));
    fs.metadata.finalizers = None;
    assert!(planned(&fs, &seen).steps.is_empty());
}

#[test]
fn a_suspended_file_system_is_left_as_it_is() {
    let (mut fs, mut seen) = ready();
    fs.spec.suspend = true;
    seen.export = ExportSeen::Absent;
    let plan = planned(&fs, &seen);
    assert_eq!(names(&plan), Vec::<String>::new());
    assert_eq!(condition(&plan, "Ready"), "False/Suspended");
    assert_eq!(condition(&plan, "Formatted"), "True/Created");
}

#[test]
fn no_note_and_no_condition_shows_a_secret() {
    let (fs, seen) = ready();
    let status = serde_json::to_string(&fs.status).unwrap();
    assert!(!status.contains(CANARY) && !status.contains("c4n4ry"));
    assert!(planned(&fs, &seen).notes.iter().all(|note| !note.text.contains("c4n4ry")));
}
