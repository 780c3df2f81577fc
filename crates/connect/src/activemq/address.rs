//! Names of queues.

/// How ActiveMQ Classic marks the name of a queue.
const QUEUE: &str = "queue://";
/// What makes a name mean several destinations, or more than a name, to one of the brokers.
const SPECIAL: [char; 5] = [',', '?', '*', '>', '#'];
/// Between an address and a queue of it, in Artemis.
const QUALIFIED: &str = "::";
/// Maximum length of a name, in bytes.
const NAME_BYTES_MAX: usize = 512;

/// Returns a name without the mark that it is a queue's.
pub(super) fn queue_name(name: &str) -> &str {
    let mut name = name;
    while let Some(rest) = name.strip_prefix(QUEUE) {
        name = rest;
    }
    name
}

/// Returns the queue of a name that names its address too, `address::queue`.
pub(super) fn queue_of(name: &str) -> &str {
    let name = queue_name(name);
    name.rsplit_once(QUALIFIED).map_or(name, |(_, queue)| queue)
}

/// Checks the name of a queue to be read.
///
/// # Errors
/// What it must be.
pub(super) fn check_readable(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("must name a queue".to_owned());
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(format!("must have at most {NAME_BYTES_MAX} bytes"));
    }
    if name.starts_with("topic://") || name.starts_with("temp-topic://") {
        return Err("must be a queue: a topic drops what nobody reads".to_owned());
    }
    if name.contains(SPECIAL) {
        let special: Vec<String> = SPECIAL.iter().map(char::to_string).collect();
        return Err(format!(
            "must name one queue, without any of {}",
            special.join(" ")
        ));
    }
    Ok(())
}

/// Checks the name of a queue to be written.
///
/// # Errors
/// What it must be.
pub(super) fn check_writable(name: &str) -> Result<(), String> {
    check_readable(name)?;
    if name.contains(QUALIFIED) {
        return Err(format!(
            "must name a queue by itself, without {QUALIFIED} and its address"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_names_of_a_queue_are_seen_through() {
        assert_eq!(queue_name("orders"), "orders");
        assert_eq!(queue_name("queue://queue://orders"), "orders");
        assert_eq!(queue_of("queue://orders"), "orders");
        assert_eq!(queue_of("payment::orders"), "orders");
    }

    #[test]
    fn a_name_is_one_queue() {
        for name in [
            "orders",
            "payment.orders",
            "/queues/payment_orders",
            "temp-queue://ID:host-1-2:3:4",
        ] {
            assert_eq!(check_writable(name), Ok(()), "{name}");
        }
        assert_eq!(check_readable("payment::orders"), Ok(()));
        for name in [
            "",
            "topic://events",
            "temp-topic://ID:1",
            "replies,orders",
            "replies?consumer.priority=10",
            "replies.>",
            "replies.*",
            "replies.#",
            "payment::orders",
            &"x".repeat(513),
        ] {
            assert!(check_writable(name).is_err(), "{name}");
        }
    }
}
