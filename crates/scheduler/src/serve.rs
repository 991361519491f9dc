//! Answers messages, each in a task of its own, of which there is a bounded number.

use std::sync::Arc;

use futures::{Stream, StreamExt};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How many messages are answered at a time.
const AT_ONCE: usize = 64;

/// Hands each of the `messages` to `answer`, until `stop`; then ends what is under way.
pub(crate) async fn each<Answering>(
    mut messages: impl Stream<Item = async_nats::Message> + Unpin,
    stop: CancellationToken,
    answer: impl Fn(async_nats::Message) -> Answering,
) where
    Answering: Future<Output = ()> + Send + 'static,
{
    let tasks = TaskTracker::new();
    let room = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let message = tokio::select! {
            () = stop.cancelled() => break,
            message = messages.next() => match message {
                Some(message) => message,
                None => break,
            },
        };
        let permit = tokio::select! {
            () = stop.cancelled() => break,
            permit = Arc::clone(&room).acquire_owned() => match permit {
                Ok(permit) => permit,
                Err(_) => break,
            },
        };
        let (answering, stop) = (answer(message), stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = answering => {}
            }
            drop(permit);
        });
    }
    tasks.close();
    tasks.wait().await;
}
