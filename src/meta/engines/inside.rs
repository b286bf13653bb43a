//! Sockets and timers need a runtime around every poll, and a FUSE thread polls a request's future once by
//! itself. What is polled outside of any runtime is polled inside the one the engine was opened in.

use std::future::{Future, poll_fn};
use std::pin::pin;

use futures::future::BoxFuture;
use tokio::runtime::Handle;

pub(crate) fn inside<'a, T>(home: &'a Handle, work: impl Future<Output = T> + Send + 'a) -> BoxFuture<'a, T> {
    Box::pin(async move {
        let mut work = pin!(work);
        poll_fn(|context| {
            let _entered = Handle::try_current().is_err().then(|| home.enter());
            work.as_mut().poll(context)
        })
        .await
    })
}
