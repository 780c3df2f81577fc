//! What is found out about a request while its handler runs, for those outside of the handler: whose key it bears.

use std::cell::Cell;
use std::future::Future;
use std::sync::Arc;

use tokio::task::futures::TaskLocalFuture;
use tributary_ledger::ApiKeyId;

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
    /// The valid API key that the request bears.
    pub(crate) api_key: Cell<Option<ApiKeyId>>,
}

impl RequestNotes {
    /// Returns empty notes of a request over this connection.
    pub(crate) fn new(connection: Option<Arc<ConnectionPlace>>) -> RequestNotes {
        RequestNotes {
            connection,
            api_key: Cell::new(None),
        }
    }

    /// Runs a handler under these notes. Take them back with [`TaskLocalFuture::take_value`].
    pub(crate) fn scope<F: Future>(self, handler: F) -> TaskLocalFuture<RequestNotes, F> {
        NOTES.scope(self, handler)
    }
}

/// Notes that the request bears this valid API key. Its connection keeps its place from now on.
pub(crate) fn note_api_key(key: ApiKeyId) {
    let _outside_of_a_request = NOTES.try_with(|notes| {
        notes.api_key.set(Some(key));
        if let Some(connection) = &notes.connection {
            connection.set_authenticated();
        }
    });
}
