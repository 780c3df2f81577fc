//! What a server does as a node of a cluster: it forwards to the leader what only the leader can answer, and says how far its own view
//! is. A server that is alone answers everything itself.

mod forward;
pub(crate) mod grpc;
pub(crate) mod headers;
pub(crate) mod node;
pub(crate) mod peer_client;
pub(crate) mod places;
pub(crate) mod position;
pub(crate) mod rest;
mod stoppable_body;
