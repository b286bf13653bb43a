//! Writes `crds/` and the chart's copy of it. With `--check` it writes nothing and fails if a file differs.

use std::path::Path;

fn main() -> std::process::ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let check = std::env::args().any(|argument| argument == "--check");
    let mut differs = false;
    for file in juicefs_k8s::crd::crdgen() {
        let targets = [
            (root.join("crds").join(&file.name), &file.yaml),
            (root.join("charts/juicefs/templates").join(format!("crd-{}", file.name)), &file.template),
        ];
        for (path, wanted) in targets {
            if check {
                differs |= !std::fs::read_to_string(&path).is_ok_and(|found| found == *wanted);
            } else {
                let folder = path.parent().expect("a file has a folder");
                std::fs::create_dir_all(folder).expect("the folder can be made");
                std::fs::write(&path, wanted).expect("the file can be written");
            }
        }
    }
    std::process::ExitCode::from(u8::from(differs))
}
