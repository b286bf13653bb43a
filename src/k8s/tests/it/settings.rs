//! Upstream's Secrets, parameters and options, as people have them in their clusters.

use juicefs_base::ExposeSecret;
use juicefs_k8s::settings::{
    Error, SecretMap, VolumeSettings, directory_of, secret_map, with_password, without_password,
};
use std::collections::BTreeMap;
use std::time::Duration;

fn secrets(entries: &[(&str, &str)]) -> SecretMap {
    secret_map(entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())))
}

fn strings(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

const BASE: &[(&str, &str)] = &[
    ("name", "test"),
    ("metaurl", "redis://:pw@redis:6379/1"),
    ("storage", "s3"),
    ("bucket", "http://minio/test"),
    ("access-key", "AK"),
    ("secret-key", "SK"),
];

#[test]
fn a_secret_written_for_upstream_is_read() {
    let mut all = BASE.to_vec();
    all.extend([
        ("envs", "{\"TZ\": \"Asia/Shanghai\", N: 1}"),
        ("format-options", "trash-days=1,block-size=4096,session-token=TOKEN,hash-prefix"),
        ("block-size", "1024"),
    ]);
    let settings = VolumeSettings::for_new_volume(&secrets(&all), &BTreeMap::new(), &[]).unwrap();
    let secret = &settings.secret;
    assert_eq!(
        (secret.volume_name.as_str(), secret.storage.as_deref(), secret.bucket.as_deref()),
        ("test", Some("s3"), Some("http://minio/test"))
    );
    let shown = |value: &Option<juicefs_base::SecretString>| {
        value.as_ref().map(|text| text.expose_secret().to_owned())
    };
    assert_eq!(shown(&secret.access_key).as_deref(), Some("AK"));
    assert_eq!(shown(&secret.secret_key).as_deref(), Some("SK"));
    assert_eq!(shown(&secret.session_token).as_deref(), Some("TOKEN"));
    assert_eq!(shown(&secret.format["block-size"]).as_deref(), Some("4096"));
    assert!(secret.format["hash-prefix"].is_none());
    assert_eq!(secret.env("TZ").unwrap().expose_secret(), "Asia/Shanghai");
    assert!(settings.findings.is_empty(), "{}", settings.findings);
}

#[test]
fn short_spellings_and_a_bare_host_are_read() {
    let entries = [
        ("name", "test"),
        ("metaurl", "redis:6379/1"),
        ("accesskey", "AK"),
        ("secretkey", "SK"),
        ("envs", "META_PASSWORD: p@ss/w"),
    ];
    let settings = VolumeSettings::for_existing_volume(&secrets(&entries), &BTreeMap::new(), &[]).unwrap();
    assert_eq!(settings.secret.meta_url.expose_secret(), "redis://redis:6379/1");
    assert_eq!(settings.secret.complete_meta_url().expose_secret(), "redis://:p%40ss%2Fw@redis:6379/1");
    assert_eq!(settings.secret.access_key.unwrap().expose_secret(), "AK");
    assert_eq!(settings.secret.secret_key.unwrap().expose_secret(), "SK");
}

#[test]
fn a_secret_that_cannot_work_is_refused_and_never_shown() {
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[("name", "test")], "no key \"metaurl\""),
        (&[("metaurl", "redis://h")], "no key \"name\""),
        (&[("name", "test"), ("token", "CANARY")], "enterprise edition"),
        (&[("name", "Bad_Name"), ("metaurl", "redis://:CANARY@h")], "no volume name"),
        (
            &[("name", "test"), ("metaurl", "redis://h"), ("envs", "CANARY: [CANARY")],
            "envs is no JSON or YAML map",
        ),
    ];
    for (entries, sentence) in cases {
        let error =
            VolumeSettings::for_new_volume(&secrets(entries), &BTreeMap::new(), &[]).unwrap_err().to_string();
        assert!(error.contains(sentence) && !error.contains("CANARY"), "{error}");
    }
}

#[test]
fn options_win_in_the_order_of_their_places() {
    let context = strings(&[
        ("mountOptions", "cache-size=1,max-uploads=50"),
        ("subPath", "/a/b/"),
        ("capacity", "1073741824"),
    ]);
    let flags = ["cache-size=2".to_owned(), "ro,cache-dir=/x".to_owned()];
    let settings = VolumeSettings::for_existing_volume(&secrets(BASE), &context, &flags).unwrap();
    assert_eq!(settings.options.to_list(), "cache-size=2,max-uploads=50,ro,cache-dir=/x");
    assert_eq!(settings.attributes.sub_path.as_deref(), Some("a/b"));
    assert_eq!(settings.attributes.capacity_bytes, Some(1 << 30));
}

#[test]
fn every_parameter_of_upstream_is_known() {
    let parameters = strings(&[
        ("csi.storage.k8s.io/provisioner-secret-name", "s"),
        ("csi.storage.k8s.io/pod.name", "p"),
        ("storage.kubernetes.io/csiProvisionerIdentity", "x"),
        ("pathPattern", "${.PVC.namespace}-${.PVC.name}"),
        ("secretFinalizer", "true"),
        ("juicefs/mount-cpu-limit", "5000m"),
        ("juicefs/mount-memory-limit", "5Gi"),
        ("juicefs/mount-cpu-request", "0"),
        ("juicefs/mount-memory-request", "1Gi"),
        ("juicefs/mount-labels", "team: red"),
        ("juicefs/mount-annotations", "{\"a\": \"b\"}"),
        ("juicefs/mount-service-account", "sa"),
        ("juicefs/mount-image", "img"),
        ("juicefs/mount-delete-delay", "1m30s"),
        ("juicefs/clean-cache", "true"),
        ("juicefs/mount-cache-pvc", "a,b"),
        ("juicefs/mount-cache-emptydir", "Memory:1Gi"),
        ("juicefs/mount-cache-inline-volume", "[]"),
        ("juicefs/host-path", "/data"),
        ("juicefs/controller-quota-set", "true"),
        ("juicefs/mount-share-mode", "pv"),
        ("juicefs.rs/fs-uuid", "u"),
    ]);
    let settings = VolumeSettings::for_new_volume(&secrets(BASE), &parameters, &[]).unwrap();
    let pod = &settings.attributes.pod;
    assert_eq!(pod.delete_delay, Some(Duration::from_secs(90)));
    assert_eq!(
        (pod.labels["team"].as_str(), pod.annotations["a"].as_str(), pod.clean_cache),
        ("red", "b", true)
    );
    assert_eq!(pod.resources.cpu_request.as_deref(), Some("0"));
    let ignored: Vec<&str> = settings.findings.ignored.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(
        ignored,
        [
            "juicefs/clean-cache",
            "juicefs/host-path",
            "juicefs/mount-cache-emptydir",
            "juicefs/mount-cache-inline-volume",
            "juicefs/mount-cache-pvc",
            "juicefs/mount-delete-delay",
            "juicefs/mount-image",
            "juicefs/mount-service-account",
            "secretFinalizer"
        ]
    );
}

#[test]
fn an_unknown_key_is_an_error_on_a_new_volume_and_a_finding_on_an_old_one() {
    let mut entries = BASE.to_vec();
    entries.push(("metaurI", "x"));
    let parameters = strings(&[("pathPatern", "x")]);
    let flags = ["cach-size=1".to_owned()];
    let error = VolumeSettings::for_new_volume(&secrets(&entries), &parameters, &flags).unwrap_err();
    let Error::Unknown(findings) = &error else { panic!("{error}") };
    assert_eq!(findings.unknown, ["Secret key metaurI", "parameter pathPatern", "mount option cach-size"]);
    let settings = VolumeSettings::for_existing_volume(&secrets(&entries), &parameters, &flags).unwrap();
    assert_eq!(settings.findings, *findings);
}

#[test]
fn the_directory_is_subdir_and_then_sub_path() {
    let of = |attributes: &[(&str, &str)], flags: &[&str]| {
        let flags: Vec<String> = flags.iter().map(|&flag| flag.to_owned()).collect();
        directory_of(&strings(attributes), &flags)
    };
    assert_eq!(of(&[], &[]), Ok(None));
    assert_eq!(of(&[], &["subdir=/"]), Ok(None));
    assert_eq!(of(&[("subPath", "a")], &[]), Ok(Some("a".into())));
    assert_eq!(of(&[("subPath", "a")], &["cache-size=1,subdir=/x/y/"]), Ok(Some("x/y/a".into())));
    assert_eq!(
        of(&[("mountOptions", "subdir=old"), ("subPath", "a")], &["subdir=new"]),
        Ok(Some("new/a".into()))
    );
    assert!(of(&[("subPath", "a")], &["subdir=../up"]).is_err());
    assert!(of(&[], &["subdir=.juicefs-csi"]).is_err());
    let filled_in = [("juicefs.rs/mount-options", "subdir=ns/claim"), ("subPath", "a")];
    assert_eq!(of(&filled_in, &["subdir=${.PVC.namespace}/${.PVC.name}"]), Ok(Some("ns/claim/a".into())));
    assert_eq!(of(&filled_in, &["subdir=plain"]), Ok(Some("plain/a".into())));
}

#[test]
fn a_claim_may_only_set_resources() {
    let settings = VolumeSettings::for_existing_volume(&secrets(BASE), &BTreeMap::new(), &[]).unwrap();
    let mut pod = settings.attributes.pod;
    let annotations =
        strings(&[("juicefs/mount-memory-limit", "2Gi"), ("juicefs/host-path", "/"), ("other/x", "y")]);
    let findings = pod.overlay_claim(&annotations).unwrap();
    assert_eq!(pod.resources.memory_limit.as_deref(), Some("2Gi"));
    assert_eq!(findings.ignored.len(), 1);
    assert!(pod.overlay_claim(&strings(&[("juicefs/mount-cpu-limit", "many")])).is_err());
}

#[test]
fn the_sharing_hash_knows_options_and_identity_and_no_password() {
    let hash = |url: &str, options: &str, identity: &str| {
        let entries = [("name", "test"), ("metaurl", url)];
        let settings =
            VolumeSettings::for_existing_volume(&secrets(&entries), &BTreeMap::new(), &[options.to_owned()]);
        settings.unwrap().sharing_hash(identity)
    };
    let base = hash("redis://:a@h/1", "a=1,b=2", "");
    assert_eq!(base.len(), 63);
    assert_eq!(base, hash("redis://:b@h/1", "b=2,a=1", ""));
    for other in [
        hash("redis://:a@h/2", "a=1,b=2", ""),
        hash("redis://:a@h/1", "a=1", ""),
        hash("redis://:a@h/1", "a=1,b=2", "sa"),
    ] {
        assert_ne!(base, other);
    }
}

#[test]
fn passwords_leave_urls_and_enter_them() {
    let cases = [
        ("redis://:pw@h:6379/1", "redis://@h:6379/1"),
        ("redis://u:p/w@x@h:6379/1", "redis://u@h:6379/1"),
        ("redis://h:6379/1", "redis://h:6379/1"),
        ("postgres://u@h:5432/db?password=pw&x=1", "postgres://u@h:5432/db?password=&x=1"),
    ];
    for (url, want) in cases {
        assert_eq!(without_password(url), want);
    }
    let entered = [
        ("redis://h:6379/1", "redis://:a%3Ab@h:6379/1"),
        ("redis://u@h/1", "redis://u:a%3Ab@h/1"),
        ("redis://u:old@h/1", "redis://u:a%3Ab@h/1"),
        ("mysql://u@(h:3306)/db", "mysql://u:a:b@(h:3306)/db"),
    ];
    for (url, want) in entered {
        assert_eq!(with_password(url, &"a:b".into()).expose_secret(), want);
    }
}

#[test]
fn debug_output_of_settings_holds_no_secret() {
    let entries = [
        ("name", "test"),
        ("metaurl", "redis://:CANARY@h"),
        ("access-key", "CANARY"),
        ("secret-key", "CANARY"),
        ("envs", "A: CANARY"),
        ("format-options", "session-token=CANARY,x=CANARY"),
    ];
    let settings = VolumeSettings::for_existing_volume(&secrets(&entries), &BTreeMap::new(), &[]).unwrap();
    assert!(!format!("{settings:?}").contains("CANARY"));
}
