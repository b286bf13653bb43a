//! The project's own tools, called as `cargo xtask NAME`: what would otherwise be scripts, and the judge of raw volumes.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "tools of the terminal")]

mod audit;
mod dockerfile;
mod generate;
mod image;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let arguments: Vec<String> = arguments.collect();
    let result = match name.as_str() {
        "audit" => audit::run(&arguments),
        "generate" => generate::run(&arguments),
        "image" => image::run(&arguments),
        "tidy" => tidy::run(&arguments),
        _ => Err(anyhow::anyhow!(
            "cargo xtask NAME, where NAME is one of: audit, generate, image, tidy\n{}",
            image::USAGE
        )),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the checkout that cargo runs this tool for. Checkouts that share a target folder share the program as
/// well, so that where it was built says nothing; without cargo it is all there is.
fn repository() -> PathBuf {
    let xtask = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&xtask).parent().expect("xtask is a folder of the repository").to_path_buf()
}
