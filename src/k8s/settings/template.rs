//! Upstream's words in patterns: `${.PVC.name}`, `${.pvc.labels.team}`, `${.node.name}`.

use super::Error;
use std::collections::BTreeMap;

/// What patterns may say about a claim.
#[derive(Clone, Debug, Default)]
pub struct Claim {
    pub name: String,
    pub namespace: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
}

/// What patterns may say about the node that was chosen for the first pod.
#[derive(Clone, Debug, Default)]
pub struct NodeFacts {
    pub name: String,
    pub pod_cidr: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
}

/// Fills `pattern` in. A label or annotation that is not there becomes nothing, as upstream has it.
///
/// # Errors
/// `UnknownTemplate` for any other word, and for node words without a node (a class needs
/// `WaitForFirstConsumer` for them).
pub fn render(pattern: &str, claim: &Claim, node: Option<&NodeFacts>) -> Result<String, Error> {
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(start) = rest.find("${") {
        out.push_str(&rest[..start]);
        let inner = &rest[start + 2..];
        let end = inner.find('}').ok_or_else(|| Error::UnknownTemplate(rest[start..].to_owned()))?;
        out.push_str(&word(inner[..end].trim(), claim, node)?);
        rest = &inner[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn word(text: &str, claim: &Claim, node: Option<&NodeFacts>) -> Result<String, Error> {
    let unknown = || Error::UnknownTemplate(format!("${{{text}}}"));
    let (object, field) = text.trim_start_matches('.').split_once('.').ok_or_else(unknown)?;
    let of = |map: &BTreeMap<String, String>, key: &str| map.get(key).cloned().unwrap_or_default();
    let key_of = |kind: &str| field.strip_prefix(kind).and_then(|rest| rest.strip_prefix('.'));
    let value = if object.eq_ignore_ascii_case("pvc") {
        match field {
            "name" => claim.name.clone(),
            "namespace" => claim.namespace.clone(),
            _ => match (key_of("labels"), key_of("annotations")) {
                (Some(key), _) => of(&claim.labels, key),
                (_, Some(key)) => of(&claim.annotations, key),
                _ => return Err(unknown()),
            },
        }
    } else if object.eq_ignore_ascii_case("node") {
        let node = node.ok_or_else(unknown)?;
        match field {
            "name" => node.name.clone(),
            "podCIDR" => node.pod_cidr.clone(),
            _ => match (key_of("labels"), key_of("annotations")) {
                (Some(key), _) => of(&node.labels, key),
                (_, Some(key)) => of(&node.annotations, key),
                _ => return Err(unknown()),
            },
        }
    } else {
        return Err(unknown());
    };
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_words_are_filled_in() {
        let claim = Claim {
            name: "c".into(),
            namespace: "ns".into(),
            labels: BTreeMap::from([("a.b/team".into(), "red".into())]),
            annotations: BTreeMap::default(),
        };
        let node = NodeFacts { name: "n1".into(), ..NodeFacts::default() };
        let cases = [
            ("${.PVC.namespace}/${.pvc.name}", Some("ns/c")),
            ("x-${.pvc.labels.a.b/team}-${.PVC.annotations.none}", Some("x-red-")),
            ("${.node.name}", Some("n1")),
            ("plain", Some("plain")),
            ("${.pvc.uid}", None),
            ("${.pod.name}", None),
            ("${.PVC.name", None),
        ];
        for (pattern, want) in cases {
            assert_eq!(render(pattern, &claim, Some(&node)).ok().as_deref(), want, "{pattern}");
        }
        assert!(render("${.node.name}", &claim, None).is_err());
    }
}
