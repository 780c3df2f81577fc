//! What is found out about a request while its handler runs, for those outside of the handler: whose key it bears.

use std::cell::Cell;
use std::future::Future;
use std::sync::Arc;

use tokio::task::futures::TaskLocalFuture;
use tributary_api::caller::Caller;

use crate::admission::ConnectionPlace;

tokio::task_local! {
    /// Notes of the request whose handler runs.
    static NOTES: RequestNotes;
}

/// Notes about one request.
#[derive(Debug, Default)]
pub(crate) struct RequestNotes {
    /// Place of the connection that the request came over; none in tests.
    connection: Option<Arc<ConnectionPlace>>,
    /// The holder of the valid API key that the request bears.
    pub(crate) caller: Cell<Option<Caller>>,
}

impl RequestNotes {
    /// Returns empty notes of a request over this connection.
    pub(crate) fn new(connection: Option<Arc<ConnectionPlace>>) -> RequestNotes {
        RequestNotes {
            connection,
            caller: Cell::new(None),
        }
    }

    /// Runs a handler under these notes. Take them back with [`TaskLocalFuture::take_value`].
    pub(crate) fn scope<F: Future>(self, handler: F) -> TaskLocalFuture<RequestNotes, F> {
        NOTES.scope(self, handler)
    }

    /// Returns the place of the connection that the request came over.
    pub(crate) fn connection(&self) -> Option<&Arc<ConnectionPlace>> {
        self.connection.as_ref()
    }

    fn keep_connection(&self) {
        if let Some(connection) = &self.connection {
            connection.set_authenticated();
        }
    }
}

/// Notes that the request bears a valid API key, whose holder this is. Its connection keeps its place from now on.
pub(crate) fn note_caller(caller: Caller) {
    let _outside_of_a_request = NOTES.try_with(|notes| {
        notes.caller.set(Some(caller));
        notes.keep_connection();
    });
}

/// Notes that another node found the API key of the request valid. Its connection keeps its place from now on.
pub(crate) fn note_accepted_elsewhere() {
    let _outside_of_a_request = NOTES.try_with(RequestNotes::keep_connection);
}
