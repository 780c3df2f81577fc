//! Requests that went wrong: those that are signals of abuse, and those that ran out of time.

use axum::response::Response;
use tributary_api::caller::Caller;
use tributary_api::error::ApiError;

use crate::admission::ConnectionPlace;
use crate::app::Shared;
use crate::grpc::status::CODE;
use crate::guard::{Guard, Signal};

/// Who sent a request, and which nodes had a part in its answer.
pub(crate) struct Failed<'a> {
    /// Holder of the valid API key that the request bears.
    pub(crate) caller: Option<Caller>,
    /// Connection that the request came over.
    pub(crate) connection: Option<&'a ConnectionPlace>,
    /// Whether another node forwarded the request here.
    pub(crate) is_forwarded: bool,
    /// Whether another node answered it.
    pub(crate) is_answered_elsewhere: bool,
}

/// Counts the commands of a batch that name what is not there, or not the caller's to see.
pub(crate) fn count_not_found(shared: &Shared, caller: &Caller, number: usize) {
    if let Some(guard) = &shared.guard
        && number > 0
        && !caller.is_platform()
    {
        let key = caller.actor.api_key;
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        guard.count_key(key, Signal::Enumeration, number);
    }
}

impl Failed<'_> {
    /// Counts the answer if something went wrong. `code` is that of an error of REST.
    pub(crate) fn count(&self, shared: &Shared, response: &Response, code: &str) {
        let status = response.status().as_u16();
        let grpc_status = response.headers().get("grpc-status");
        if status < 400 && grpc_status.is_none() {
            return;
        }
        let grpc_code = response.headers().get(CODE).map(|code| code.as_bytes());
        if !self.is_answered_elsewhere {
            let code = grpc_code.unwrap_or(code.as_bytes());
            shared.request_timeouts.count_answer(code);
        }
        let signal = match grpc_status {
            None => Signal::from_rest(status, code),
            Some(status) => Signal::from_grpc(status.as_bytes(), grpc_code.unwrap_or_default()),
        };
        if let (Some(guard), Some(signal)) = (&shared.guard, signal) {
            self.count_signal(guard, signal);
        }
    }

    /// A request of this caller whose answer began before it failed.
    pub(crate) fn within_stream(caller: Caller) -> Failed<'static> {
        Failed {
            caller: Some(caller),
            connection: None,
            is_forwarded: false,
            is_answered_elsewhere: false,
        }
    }

    /// Counts an error within an answer that had begun.
    pub(crate) fn count_error(&self, shared: &Shared, error: &ApiError) {
        shared
            .request_timeouts
            .count_answer(error.code().as_bytes());
        let signal = Signal::from_rest(error.status(), error.code());
        if let (Some(guard), Some(signal)) = (&shared.guard, signal) {
            self.count_signal(guard, signal);
        }
    }

    /// Of a cluster, the node that answers counts by API key, and the node that the request reached first by address.
    fn count_signal(&self, guard: &Guard, signal: Signal) {
        let is_answered_here = !self.is_answered_elsewhere;
        match (&self.caller, self.connection) {
            (Some(caller), _) if is_answered_here && !caller.is_platform() => {
                guard.count_key(caller.actor.api_key, signal, 1);
            }
            // What else another node found may be about a key that this one does not know yet.
            (None, Some(connection))
                if !self.is_forwarded && (is_answered_here || signal == Signal::BadKey) =>
            {
                guard.count_address(connection, signal);
            }
            _ => {}
        }
    }
}
