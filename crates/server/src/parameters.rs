//! The query parameters that each operation takes: those that the OpenAPI document names, and no other one. One rule for all
//! routes, so that no route passes over what its caller asked for.

use std::collections::HashMap;

use axum::http::Method;
use tributary_api::error::ApiError;
use tributary_api::form::query::require_known_names;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::{OpenApi, PathItem};

/// Names of the query parameters of one operation.
type Names = Vec<String>;

/// The query parameters that each operation takes.
#[derive(Debug, Default)]
pub(crate) struct QueryParameters {
    /// By the path of the route.
    routes: HashMap<String, Vec<(Method, Names)>>,
}

impl QueryParameters {
    /// Returns the parameters that the document names.
    pub(crate) fn from_document(api: &OpenApi) -> QueryParameters {
        let paths = api.paths.paths.iter();
        let routes = paths.map(|(path, item)| (path.clone(), operations(item)));
        QueryParameters {
            routes: routes.collect(),
        }
    }

    /// Refuses a query with a parameter that the operation does not take. A route that is not in the document takes none.
    pub(crate) fn check(&self, method: &Method, route: &str, query: &str) -> Result<(), ApiError> {
        let Some(operations) = self.routes.get(route) else {
            return require_known_names(query, &[]);
        };
        let method = match method {
            &Method::HEAD => &Method::GET,
            method => method,
        };
        match operations.iter().find(|(known, _)| known == method) {
            Some((_, names)) => require_known_names(query, names),
            // The method is refused later.
            None => Ok(()),
        }
    }
}

fn operations(item: &PathItem) -> Vec<(Method, Names)> {
    let operations = [
        (Method::GET, &item.get),
        (Method::POST, &item.post),
        (Method::PUT, &item.put),
        (Method::PATCH, &item.patch),
        (Method::DELETE, &item.delete),
    ];
    let known = operations.into_iter();
    let known = known.filter_map(|(method, operation)| Some((method, names(operation.as_ref()?))));
    known.collect()
}

fn names(operation: &Operation) -> Names {
    let parameters = operation.parameters.iter().flatten();
    let of_query = parameters.filter(|parameter| parameter.parameter_in == ParameterIn::Query);
    of_query.map(|parameter| parameter.name.clone()).collect()
}
