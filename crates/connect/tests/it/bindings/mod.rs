//! Bindings at work: messages become commands once each, and results go out.

mod inbound;
mod outbound;
mod scene;
