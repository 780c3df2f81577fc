//! The queue of a binding and that of its dead letters: whether they are there, and whether they lose messages.
//!
//! AMQP 1.0 has no question for a queue. A link to one is refused if the queue is missing and this user can't create it; if the user
//! can, the link creates it. So a user who can is told only by Artemis, which answers questions of its own.

use super::address;
use super::link::Link;
use super::manage::Manager;
use crate::port::Trouble;

/// Fails unless the queues are there and, as far as it can be seen, lose no messages.
pub(super) async fn check(
    link: &Link,
    destination: &str,
    dead_letters: &str,
) -> Result<(), Trouble> {
    if let Some(mut manager) = Manager::open(link).await? {
        for queue in [destination, dead_letters] {
            manager.check(address::queue_of(queue)).await?;
        }
        manager.close().await;
    }
    make_dead_letters(link, dead_letters).await
}

/// Makes the queue of dead letters if it is missing. The binding's own is made when it is read.
///
/// # Errors
/// If it can't be made, or not be written.
pub(super) async fn make_dead_letters(link: &Link, queue: &str) -> Result<(), Trouble> {
    link.writing(queue).await?.close().await;
    Ok(())
}
