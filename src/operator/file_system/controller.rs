//! Watches `FileSystem`s: look, decide, do, say.

use super::observe::observe;
use super::plan::plan;
use super::seen::PlanSettings;
use crate::apply::{self, perform, write_status};
use crate::run::OperatorSettings;
use futures::StreamExt;
use juicefs_k8s::crd::FileSystem;
use juicefs_k8s::events::EventSink;
use kube::api::Api;
use kube::runtime::controller::{self, Action, Config, Controller};
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};
use std::sync::Arc;
use std::time::Duration;

/// File systems that are looked at together.
const CONCURRENCY: u16 = 4;
/// Pause after an error.
const RETRY: Duration = Duration::from_secs(5);

struct Context {
    client: Client,
    settings: PlanSettings,
    events: EventSink,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error(transparent)]
    Step(#[from] apply::Error),
}

/// Runs for ever.
pub(crate) async fn run(client: Client, settings: &OperatorSettings) {
    let context = Context {
        events: EventSink::new(client.clone(), crate::MANAGER, Some(settings.identity.clone())),
        settings: settings.for_plans(),
        client: client.clone(),
    };
    Controller::new(Api::<FileSystem>::all(client), watcher::Config::default())
        .with_config(Config::default().concurrency(CONCURRENCY))
        .run(reconcile, after_error, Arc::new(context))
        .for_each(|outcome| async move {
            match outcome {
                // A queued look at something that is gone by now, and errors that `after_error` has logged.
                Ok(_)
                | Err(controller::Error::ObjectNotFound(_) | controller::Error::ReconcilerFailed(..)) => {}
                Err(error) => tracing::warn!(%error, "file systems"),
            }
        })
        .await;
}

async fn reconcile(cached: Arc<FileSystem>, context: Arc<Context>) -> Result<Action, Error> {
    let client = &context.client;
    let api: Api<FileSystem> = Api::namespaced(client.clone(), &cached.namespace().unwrap_or_default());
    // The cache may be older than our own last status, and would tell old news again.
    let Some(fs) = api.get_opt(&cached.name_any()).await? else { return Ok(Action::await_change()) };
    let seen = observe(client, &fs).await?;
    let plan = plan(&fs, &seen, &context.settings);
    perform(client, &fs, &plan.steps, &context.events).await?;
    if let Some(status) = plan.status.as_ref().filter(|status| fs.status.as_ref() != Some(*status)) {
        write_status(client, &fs, status).await?;
    }
    for note in &plan.notes {
        context.events.publish(&fs.object_ref(&()), note).await;
    }
    Ok(Action::requeue(plan.again))
}

#[expect(clippy::needless_pass_by_value, reason = "the controller calls it with owned handles")]
fn after_error(fs: Arc<FileSystem>, error: &Error, _: Arc<Context>) -> Action {
    tracing::warn!(namespace = fs.namespace(), name = fs.name_any(), %error, "file system");
    Action::requeue(RETRY)
}
