//! Roles inside a cluster.

use anyhow::Context;
use juicefs_operator::OperatorSettings;
use juicefs_operator::format_job::{self, FormatJobSettings};
use juicefs_operator::mirror::follower::{self, FencePolicy, FollowerSettings};
use std::process::ExitCode;

use super::say;
use crate::args::{FormatJobArgs, MirrorFollowerArgs, OperatorArgs, PromoteFence};

pub(crate) async fn operator(args: OperatorArgs) -> anyhow::Result<ExitCode> {
    let settings = OperatorSettings {
        namespace: args.namespace,
        identity: args.identity,
        health_address: args.health_address,
        image: args.image,
        image_pull_policy: args.image_pull_policy,
        default_class_owners: args.default_class_owners,
    };
    juicefs_operator::run(settings).await?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn format_job(args: FormatJobArgs) -> anyhow::Result<ExitCode> {
    let settings = FormatJobSettings {
        spec_file: args.spec_file,
        meta_password_file: args.meta_password_file,
        meta_url_file: args.meta_url_file,
        storage_secret_dir: args.storage_secret_dir,
        report_file: args.report_file,
    };
    let report = format_job::run(&settings)
        .await
        .with_context(|| format!("cannot write the report to {}", settings.report_file.display()))?;
    tracing::info!(result = ?report.result, "{}", report.message);
    Ok(ExitCode::from(report.exit_code()))
}

pub(crate) async fn mirror_follower(args: MirrorFollowerArgs) -> anyhow::Result<ExitCode> {
    let settings = FollowerSettings {
        name: args.name,
        source_url_file: args.source_url_file,
        mirror_url_file: args.mirror_url_file,
        bucket_file: args.bucket_file,
        promote: args.promote.map(|fence| match fence {
            PromoteFence::Required => FencePolicy::Required,
            PromoteFence::BestEffort => FencePolicy::BestEffort,
        }),
        report_file: args.report_file,
    };
    follower::run(&settings).await?;
    tracing::info!("nothing to follow any more");
    Ok(ExitCode::SUCCESS)
}

/// The custom resource definitions, one YAML document each.
pub(crate) fn crds() -> ExitCode {
    let documents: Vec<String> = juicefs_k8s::crd::crdgen().into_iter().map(|file| file.yaml).collect();
    say(documents.join("---\n").trim_end());
    ExitCode::SUCCESS
}
