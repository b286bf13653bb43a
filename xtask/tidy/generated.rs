//! Files that a program wrote carry what they were made from, where the program itself is not at hand: the rendered
//! manifests name the digest of the chart. Protocols and CRDs are compared whole by their generators' `--check`.

use sha2::{Digest, Sha256};
use std::fmt::Write;

use super::{Finding, Source};

const RENDERED: &str = "deploy/juicefs.yaml";
const CHART: &str = "charts/juicefs/";

pub(crate) fn check(sources: &[Source]) -> Vec<Finding> {
    let Some(rendered) = sources.iter().find(|source| source.path == RENDERED) else {
        return vec![format!("{RENDERED} is missing: run deploy/render.sh")];
    };
    let digest = chart_digest(sources);
    if rendered.text.lines().next().is_some_and(|first| first.contains(&digest)) {
        return Vec::new();
    }
    vec![format!("{RENDERED} was not rendered from this chart ({digest}): run deploy/render.sh and commit")]
}

/// SHA-256 of the lines that `sha256sum` prints for the chart's files in the order of their names, as deploy/render.sh
/// computes it.
fn chart_digest(sources: &[Source]) -> String {
    let mut lines = String::new();
    for source in sources.iter().filter(|source| source.path.starts_with(CHART)) {
        lines.push_str(&format!("{}  {}\n", hex(source.text.as_bytes()), &source.path[CHART.len()..]));
    }
    hex(lines.as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::super::source;
    use super::*;

    #[test]
    fn a_changed_chart_makes_the_manifests_old() {
        let chart = source("charts/juicefs/values.yaml", "a: 1\n");
        let digest = chart_digest(std::slice::from_ref(&chart));
        let rendered = source(RENDERED, &format!("# Generated from charts/juicefs ({digest}) by x\n"));
        assert!(check(&[chart, rendered]).is_empty());
        let rendered = source(RENDERED, &format!("# Generated from charts/juicefs ({digest}) by x\n"));
        assert_eq!(check(&[source("charts/juicefs/values.yaml", "a: 2\n"), rendered]).len(), 1);
    }
}
