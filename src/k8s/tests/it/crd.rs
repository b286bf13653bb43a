//! The custom resource definition: its rules, evaluated here as the API server evaluates them, and its files.

use juicefs_k8s::crd;
use serde_json::{Value, json};

fn schema() -> Value {
    schema_of("FileSystem")
}

fn schema_of(kind: &str) -> Value {
    let found = crd::definitions().into_iter().find(|found| found.spec.names.kind == kind).unwrap();
    let definition = serde_json::to_value(&found).unwrap();
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// What the API server makes of an object before it looks at the rules.
fn defaulted(schema: &Value, object: &Value) -> Value {
    let Value::Object(fields) = object else { return object.clone() };
    let mut fields = fields.clone();
    for (name, of) in schema["properties"].as_object().into_iter().flatten() {
        if !fields.contains_key(name)
            && let Some(default) = of.get("default")
        {
            fields.insert(name.clone(), default.clone());
        }
        if let Some(value) = fields.get_mut(name) {
            *value = match value {
                Value::Array(items) => items.iter().map(|item| defaulted(&of["items"], item)).collect(),
                _ => defaulted(of, value),
            };
        }
    }
    Value::Object(fields)
}

fn object(name: &str, spec: Value) -> Value {
    let whole = json!({"apiVersion": "juicefs.rs/v1alpha1", "kind": "FileSystem", "metadata": {"name": name}, "spec": spec});
    defaulted(&schema(), &whole)
}

fn good() -> Value {
    json!({
        "meta": {"engine": "redis", "url": "redis://redis.storage:6379/1", "secretRef": {"name": "data-meta", "key": "password"}},
        "storage": {"type": "s3", "bucket": "http://minio.storage:9000/data", "secretRef": {"name": "data-s3"}},
        "format": {"trashDays": 1},
        "storageClasses": [{"name": "data", "reclaimPolicy": "Delete", "allowVolumeExpansion": true}],
        "secretExport": {"name": "data-csi"}
    })
}

fn changed(pointer: &str, value: Value) -> Value {
    let mut spec = good();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    spec.pointer_mut(parent).unwrap()[key] = value;
    spec
}

fn refusals(new: &Value, old: Option<&Value>) -> String {
    let outcome = kube_cel::Validator::new().validate(&schema(), new, old);
    outcome.err().map(|errors| format!("{errors:?}")).unwrap_or_default()
}

#[test]
fn the_smallest_manifests_pass() {
    assert_eq!(refusals(&object("data", good()), None), "");
    let least =
        json!({"meta": {"secretRef": {"name": "m"}}, "storage": {"type": "s3", "bucket": "http://h/b"}});
    assert_eq!(refusals(&object("data", least), None), "");
    for url in [
        "postgres://user@host:5432/db?sslmode=disable",
        "redis://master,host1:26379/1",
        "mysql://user@(host:3306)/db",
    ] {
        let spec = json!({"meta": {"url": url}, "storage": {"type": "s3", "bucket": "b"}});
        assert_eq!(refusals(&object("data", spec), None), "", "{url}");
    }
}

#[test]
fn every_wrong_input_is_refused_with_a_sentence() {
    let cases = [
        ("data", changed("/meta/url", json!("redis://:s3cret@redis:6379/1")), "must not contain a password"),
        ("data", changed("/meta/url", json!("redis://u:p/w@redis:6379/1")), "must not contain a password"),
        ("data", changed("/meta/url", json!("redis://redis/1?password=x")), "must not contain a password"),
        (
            "data",
            changed("/meta/url", json!("sqlite3:///var/a.db")),
            "sqlite3, unix sockets and directories are refused",
        ),
        ("data", changed("/meta/url", json!("redis:6379")), "url must begin with"),
        ("data", changed("/meta/engine", json!("postgres")), "engine must be the scheme"),
        ("data", changed("/meta", json!({"engine": "redis"})), "meta needs a url, or a secretRef"),
        ("data", changed("/storage/type", json!("file")), "no pod reaches another machine's directory"),
        ("data", changed("/storage/type", json!("sqlite3")), "no pod reaches"),
        (
            "data",
            changed("/storage/bucket", json!("http://ak:sk@minio/b")),
            "bucket must not contain credentials",
        ),
        ("data", changed("/format/blockSizeKiB", json!(1000)), "power of two"),
        ("my.data", good(), "metadata.name is no volume name"),
        (&"x".repeat(64), changed("/volumeName", json!("data")), "at most 63 characters"),
    ];
    for (name, spec, sentence) in cases {
        let found = refusals(&object(name, spec), None);
        assert!(found.contains(sentence), "{sentence}: {found}");
    }
}

#[test]
fn identity_cannot_change_and_the_rest_can() {
    let old = object("data", good());
    let refused = [
        ("/volumeName", json!("other"), "volumeName cannot change"),
        ("/meta/url", json!("rediss://redis.storage:6379/1"), "the scheme of meta.url cannot change"),
        ("/meta/engine", json!("rediss"), "meta.engine cannot change"),
        ("/storage/type", json!("minio"), "storage.type cannot change"),
        ("/storage/bucket", json!("http://minio/other"), "storage.bucket cannot change"),
        ("/format/blockSizeKiB", json!(1024), "blockSizeKiB cannot change"),
        ("/format/compression", json!("lz4"), "compression cannot change"),
        ("/format/hashPrefix", json!(true), "hashPrefix cannot change"),
        ("/format/uuid", json!("51c45a61-2647-47ed-84b5-c14e9f92a47c"), "uuid cannot change"),
    ];
    for (pointer, value, sentence) in refused {
        let found = refusals(&object("data", changed(pointer, value)), Some(&old));
        assert!(found.contains(sentence), "{pointer}: {found}");
    }
    let allowed = [
        ("/meta/url", json!("redis://redis2.storage:6379/1")),
        ("/meta/secretRef", json!({"name": "other"})),
        ("/format/trashDays", json!(7)),
        ("/format/capacity", json!("10Gi")),
        ("/storageClasses", json!([])),
        ("/suspend", json!(true)),
    ];
    for (pointer, value) in allowed {
        assert_eq!(refusals(&object("data", changed(pointer, value)), Some(&old)), "", "{pointer}");
    }
}

#[test]
fn lists_maps_and_strings_are_bounded() {
    fn walk(path: &str, schema: &Value, unbounded: &mut Vec<String>) {
        let is = |kind: &str| schema["type"] == kind;
        if is("array") && schema.get("maxItems").is_none() {
            unbounded.push(format!("{path} has no maxItems"));
        }
        if is("string") && ["maxLength", "enum", "format"].iter().all(|key| schema.get(*key).is_none()) {
            unbounded.push(format!("{path} has no maxLength"));
        }
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            walk(&format!("{path}.{name}"), inner, unbounded);
        }
        if let Some(items) = schema.get("items") {
            walk(&format!("{path}[]"), items, unbounded);
        }
    }
    let mut unbounded = Vec::new();
    for kind in ["FileSystem", "Mirror"] {
        let schema = schema_of(kind);
        walk(kind, &schema["properties"]["spec"], &mut unbounded);
        assert!(!schema.to_string().contains("nullable"));
    }
    assert!(unbounded.is_empty(), "{unbounded:?}");
}

#[test]
fn the_committed_files_are_the_generated_ones() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for file in crd::crdgen() {
        let template = format!("charts/juicefs/templates/crd-{}", file.name);
        for (path, wanted) in [(format!("crds/{}", file.name), &file.yaml), (template, &file.template)] {
            let found = std::fs::read_to_string(root.join(&path)).unwrap_or_default();
            assert!(found == *wanted, "{path} is old; run `cargo run -p juicefs-k8s --example crdgen`");
        }
    }
}

fn mirror(name: &str, change: &[(&str, Value)]) -> Value {
    let mut spec = json!({
        "sourceRef": {"fileSystemRef": {"name": "data"}},
        "meta": {"engine": "redis", "url": "redis://redis-eu:6379/1", "secretRef": {"name": "eu-meta"}},
        "objectStorage": {"shared": {}},
        "sync": {"maxLag": "30s"},
        "storageClasses": [{"name": "data-eu-ro", "pathPattern": "${.pvc.annotations.path}"}]
    });
    for (key, value) in change {
        spec[*key] = value.clone();
    }
    let whole = json!({"apiVersion": "juicefs.rs/v1alpha1", "kind": "Mirror", "metadata": {"name": name}, "spec": spec});
    defaulted(&schema_of("Mirror"), &whole)
}

#[test]
fn a_mirror_has_one_source_for_good_and_promotion_is_one_way() {
    let refusals = |new: &Value, old: Option<&Value>| {
        let outcome = kube_cel::Validator::new().validate(&schema_of("Mirror"), new, old);
        outcome.err().map(|errors| format!("{errors:?}")).unwrap_or_default()
    };
    let good = mirror("data-eu", &[]);
    assert_eq!(refusals(&good, None), "");
    let external = json!({"external": {"volumeName": "data", "meta": {"url": "redis://far/1"}}});
    assert_eq!(refusals(&mirror("data-eu", &[("sourceRef", external.clone())]), None), "");
    let both = json!({"fileSystemRef": {"name": "data"}, "external": external["external"]});
    for source in [json!({}), both] {
        let told = refusals(&mirror("data-eu", &[("sourceRef", source)]), None);
        assert!(told.contains("either fileSystemRef or external"), "{told}");
    }
    let own = |bucket: &str| json!({"dedicated": {"type": "s3", "bucket": bucket}});
    let dedicated = mirror("data-eu", &[("objectStorage", own("http://s3/b"))]);
    assert_eq!(refusals(&dedicated, None), "");
    let both = json!({"shared": {}, "dedicated": own("http://s3/b")["dedicated"]});
    let told = refusals(&mirror("data-eu", &[("objectStorage", both)]), None);
    assert!(told.contains("either shared or dedicated"), "{told}");
    let told = refusals(&mirror("data-eu", &[("objectStorage", own("http://s3/c"))]), Some(&dedicated));
    assert!(told.contains("bucket cannot change"), "{told}");
    let told = refusals(&mirror("data-eu", &[("objectStorage", json!({"shared": {}}))]), Some(&dedicated));
    assert!(told.contains("between shared and dedicated"), "{told}");
    for (url, why) in [("etcd://e:2379/x", "not supported yet"), ("unix:///run/redis", "no pod reaches them")]
    {
        let told = refusals(&mirror("data-eu", &[("meta", json!({"url": url}))]), None);
        assert!(told.contains(why), "{told}");
    }
    let told = refusals(&mirror(&"x".repeat(55), &[]), None);
    assert!(told.contains("at most 54 characters"), "{told}");
    let told = refusals(&mirror("data-eu", &[("sourceRef", external)]), Some(&good));
    assert!(told.contains("sourceRef cannot change"), "{told}");
    let told = refusals(&mirror("data-eu", &[("volumeName", json!("other"))]), Some(&good));
    assert!(told.contains("volumeName cannot change"), "{told}");
    let asked = mirror("data-eu", &[("promotion", json!({"requested": true}))]);
    assert_eq!(refusals(&asked, Some(&good)), "");
    assert!(refusals(&good, Some(&asked)).contains("cannot be taken back"));
}
