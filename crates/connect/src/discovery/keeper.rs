//! What keeps a node announced, and what watches a configuration: each a thread, whatever the registry.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::port::{Announcement, DiscoveryError, Node, Task, Watch};

/// Pause after a failure, doubled for each further one.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
/// Longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Pause between two questions for a change, whatever keeps a registry from waiting.
const CHANGE_PAUSE: Duration = Duration::from_millis(100);
/// Longest time that the end of an announcement takes: what is not withdrawn by then, the registry finds out by itself.
const WITHDRAW_TIMEOUT: Duration = Duration::from_secs(2);

/// Registration of one node, as a registry does it.
pub(super) trait Registration: Send + 'static {
    /// How often the announcement is looked after.
    const KEEP_EVERY: Duration;

    /// Announces the node, also if it was announced before.
    async fn register(&mut self, node: &Node) -> Result<(), DiscoveryError>;

    /// Keeps it announced. False if the registry does not know it any more.
    async fn keep(&mut self, node: &Node) -> Result<bool, DiscoveryError>;

    /// Ends the announcement.
    async fn withdraw(&mut self, node: &Node) -> Result<(), DiscoveryError>;
}

/// A text with a number that changes whenever the text does.
pub(super) trait Versioned: Send + 'static {
    /// Returns the number of the present text.
    ///
    /// # Errors
    /// Also if there is no text.
    async fn version(&mut self) -> Result<u64, DiscoveryError>;

    /// Waits until there may be another text than when the number was last asked for, for a minute or so.
    async fn wait(&mut self) -> Result<(), DiscoveryError>;
}

/// Announces a node until the result is dropped.
pub(super) fn announce(
    mut registry: impl Registration,
    node: Node,
) -> Result<Announcement, DiscoveryError> {
    let task = Task::start("discovery", async move |stopped| {
        keep_announced(&mut registry, &node, stopped).await;
        // Also if it was never told that it is announced: an answer may have been lost.
        match timeout(WITHDRAW_TIMEOUT, registry.withdraw(&node)).await {
            Ok(Ok(())) => tracing::info!(node = node.name, "this node is no longer announced"),
            Ok(Err(error)) => not_withdrawn(&node, &error.to_string()),
            Err(_) => not_withdrawn(&node, "no answer in time"),
        }
    })?;
    Ok(Announcement::new(task))
}

fn not_withdrawn(node: &Node, error: &str) {
    tracing::warn!(
        node = node.name,
        error,
        "the announcement of this node could not be ended: it ends by itself"
    );
}

async fn keep_announced<R: Registration>(
    registry: &mut R,
    node: &Node,
    mut stopped: oneshot::Receiver<()>,
) {
    let (mut announced, mut failures) = (false, 0);
    loop {
        let step = async {
            if announced && registry.keep(node).await? {
                return Ok(());
            }
            announced = false;
            registry.register(node).await?;
            announced = true;
            tracing::info!(node = node.name, url = node.url, "this node is announced");
            Ok::<(), DiscoveryError>(())
        };
        let done = tokio::select! {
            done = step => done,
            _ = &mut stopped => return,
        };
        let pause = match done {
            Ok(()) => {
                failures = 0;
                R::KEEP_EVERY
            }
            Err(error) => {
                if failures == 0 {
                    tracing::warn!(
                        node = node.name,
                        error = error.to_string(),
                        "this node can't be announced, which is tried again: others may not find it meanwhile"
                    );
                }
                failures += 1;
                pause_after(failures)
            }
        };
        tokio::select! {
            () = sleep(pause) => {}
            _ = &mut stopped => return,
        }
    }
}

/// Pause after so many failures in a row.
fn pause_after(failures: u32) -> Duration {
    let doubled = PAUSE_FIRST.saturating_mul(1 << (failures - 1).min(8));
    doubled.min(PAUSE_MAX)
}

/// Calls `changed` after each change of a text, until the result is dropped.
pub(super) fn watch(
    mut text: impl Versioned,
    seen: u64,
    changed: Box<dyn Fn() + Send>,
) -> Result<Watch, DiscoveryError> {
    let task = Task::start("configuration", async move |stopped| {
        let watching = async {
            let (mut seen, mut failures) = (seen, 0);
            loop {
                match next_version(&mut text).await {
                    Ok(version) => {
                        failures = 0;
                        if version != seen {
                            seen = version;
                            changed();
                        }
                        sleep(CHANGE_PAUSE).await;
                    }
                    Err(error) => {
                        if failures == 0 {
                            tracing::warn!(
                                error = error.to_string(),
                                "the configuration can't be watched, which is tried again: nothing changes meanwhile"
                            );
                        }
                        failures += 1;
                        sleep(pause_after(failures)).await;
                    }
                }
            }
        };
        tokio::select! {
            () = watching => {}
            _ = stopped => {}
        }
    })?;
    Ok(Watch::new(task))
}

async fn next_version(text: &mut impl Versioned) -> Result<u64, DiscoveryError> {
    text.wait().await?;
    text.version().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_have_a_bound() {
        let pauses: Vec<u64> = [1, 2, 3, 5, 6, 9, u32::MAX]
            .map(|failures| u64::try_from(pause_after(failures).as_millis()).expect("short"))
            .into();
        assert_eq!(pauses, [500, 1000, 2000, 8000, 10_000, 10_000, 10_000]);
    }
}
