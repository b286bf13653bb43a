//! Watches `Mirror`s: look, decide, do, say.

use super::observe::observe;
use super::plan::plan;
use crate::apply::{self, perform, write_status};
use crate::file_system::PlanSettings;
use crate::run::OperatorSettings;
use futures::StreamExt;
use juicefs_base::sync::Mutex;
use juicefs_k8s::crd::Mirror;
use juicefs_k8s::events::EventSink;
use kube::api::Api;
use kube::runtime::controller::{self, Action, Config, Controller};
use kube::runtime::watcher;
use kube::{Client, Resource, ResourceExt};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Mirrors that are looked at together.
const CONCURRENCY: u16 = 4;
/// Pause after an error.
const RETRY: Duration = Duration::from_secs(5);

struct Context {
    client: Client,
    settings: PlanSettings,
    events: EventSink,
    /// When each mirror is due, by UID, and for which generation that holds: the status tells how far a mirror is, so
    /// that each write of it would bring the next look at once.
    due: Mutex<HashMap<String, (Option<i64>, Instant)>>,
}

impl Context {
    /// How long to wait for the next look, if it is not due.
    fn early(&self, mirror: &Mirror) -> Option<Duration> {
        let due = self.due.lock();
        let (generation, at) = due.get(&mirror.uid().unwrap_or_default())?;
        let left = at.saturating_duration_since(Instant::now());
        (*generation == mirror.metadata.generation && !left.is_zero()).then_some(left)
    }
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
        due: Mutex::new(HashMap::new()),
    };
    Controller::new(Api::<Mirror>::all(client), watcher::Config::default())
        .with_config(Config::default().concurrency(CONCURRENCY))
        .run(reconcile, after_error, Arc::new(context))
        .for_each(|outcome| async move {
            match outcome {
                Ok(_)
                | Err(controller::Error::ObjectNotFound(_) | controller::Error::ReconcilerFailed(..)) => {}
                Err(error) => tracing::warn!(%error, "mirrors"),
            }
        })
        .await;
}

async fn reconcile(cached: Arc<Mirror>, context: Arc<Context>) -> Result<Action, Error> {
    if let Some(left) = context.early(&cached) {
        return Ok(Action::requeue(left));
    }
    let client = &context.client;
    let api: Api<Mirror> = Api::namespaced(client.clone(), &cached.namespace().unwrap_or_default());
    let Some(mirror) = api.get_opt(&cached.name_any()).await? else {
        context.due.lock().remove(&cached.uid().unwrap_or_default());
        return Ok(Action::await_change());
    };
    let seen = observe(client, &mirror).await?;
    let plan = plan(&mirror, &seen, &context.settings);
    perform(client, &mirror, &plan.steps, &context.events).await?;
    if let Some(status) = plan.status.as_ref().filter(|status| mirror.status.as_ref() != Some(*status)) {
        write_status(client, &mirror, status).await?;
    }
    for note in &plan.notes {
        context.events.publish(&mirror.object_ref(&()), note).await;
    }
    let uid = mirror.uid().unwrap_or_default();
    if plan.status.is_none() {
        context.due.lock().remove(&uid);
    } else {
        let due = (mirror.metadata.generation, Instant::now() + plan.again);
        context.due.lock().insert(uid, due);
    }
    Ok(Action::requeue(plan.again))
}

#[expect(clippy::needless_pass_by_value, reason = "the controller calls it with owned handles")]
fn after_error(mirror: Arc<Mirror>, error: &Error, _: Arc<Context>) -> Action {
    tracing::warn!(namespace = mirror.namespace(), name = mirror.name_any(), %error, "mirror");
    Action::requeue(RETRY)
}
