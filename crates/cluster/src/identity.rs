//! Who a node is.

/// Who a node is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Name of the node, which no other node of the cluster has. At most [`crate::entry::NAME_BYTES_MAX`] bytes.
    pub name: String,
    /// Where other nodes reach the node. At most [`crate::entry::URL_BYTES_MAX`] bytes.
    pub url: String,
    /// Order in which nodes claim: 0 first.
    pub rank: u32,
    /// Random number of this run of the process.
    pub run: u32,
    /// Whether it moves a journal onto the log, and may lead before that is done.
    pub is_moving: bool,
}
