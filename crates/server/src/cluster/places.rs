//! Where each request is answered in a cluster: the one list for REST and gRPC. A request that is not listed goes to the leader.

use axum::http::Method;

/// Where a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the node that it reaches, whatever the state of that node: it is about the node itself.
    Node,
    /// On any node, from the node's view of the journal.
    View,
    /// On the leader.
    Leader,
}

/// Reads of REST that any node answers from its view, by their routes.
const VIEW_READS: [&str; 40] = [
    "/v1/accounts",
    "/v1/accounts/{id}",
    "/v1/accounts/{id}/balance",
    "/v1/accounts/{id}/entries",
    "/v1/api_keys",
    "/v1/binders",
    "/v1/binders/{id}",
    "/v1/bindings",
    "/v1/bindings/{id}",
    "/v1/bindings/{id}/messages/{message_id}",
    "/v1/cases",
    "/v1/cases/{id}",
    "/v1/events",
    "/v1/events/stream",
    "/v1/events/{id}",
    "/v1/journal/frames",
    "/v1/journal/head",
    "/v1/journal/meta",
    "/v1/limits",
    "/v1/limits/{id}",
    "/v1/lists",
    "/v1/lists/{id}",
    "/v1/models",
    "/v1/models/{id}",
    "/v1/owners",
    "/v1/owners/{name}",
    "/v1/payments",
    "/v1/payments/{id}",
    "/v1/refunds",
    "/v1/refunds/{id}",
    "/v1/rule_sets",
    "/v1/settings",
    "/v1/settings/{id}",
    "/v1/settings/{id}/revisions",
    "/v1/streams",
    "/v1/streams/{id}",
    "/v1/streams/{id}/figures",
    "/v1/streams/{id}/rows",
    "/v1/subscriptions/{id}/revisions",
    "/v1/trial_balance",
];

/// Reads of REST that need what only the leader has: the state and the history of deliveries, the figures of what it does, and the
/// clock that it decides by.
#[cfg(test)]
const LEADER_READS: [&str; 14] = [
    "/v1/accounts/{id}/timeline",
    "/v1/bindings/{id}/attempts",
    "/v1/bindings/{id}/dead_letters",
    "/v1/bindings/{id}/figures",
    "/v1/clock",
    "/v1/journal/deliveries",
    "/v1/owners/{name}/timeline",
    "/v1/payments/{id}/timeline",
    "/v1/queues/payment_order",
    "/v1/rule_sets/{id}",
    "/v1/subscriptions",
    "/v1/subscriptions/{id}",
    "/v1/subscriptions/{id}/attempts",
    "/v1/subscriptions/{id}/dead_letters",
];

/// Reads of REST below `/v1` that are about the node itself.
const NODE_READS: [&str; 2] = ["/v1/cluster", "/v1/security/blocks"];

/// Writes of REST that are about the node itself.
const NODE_WRITES: [(Method, &str); 1] = [(Method::DELETE, "/v1/security/blocks/{id}")];

/// Returns where a request of REST to this route is answered.
pub(crate) fn place_of_route(method: &Method, route: &str) -> Place {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    // Health, metrics, the pages and the document.
    let is_of_node = !route.starts_with("/v1/");
    let writes_of_node = || {
        NODE_WRITES
            .iter()
            .any(|one| *one == (method.clone(), route))
    };
    if is_of_node || reads && NODE_READS.contains(&route) || !reads && writes_of_node() {
        Place::Node
    } else if reads && VIEW_READS.contains(&route) {
        Place::View
    } else {
        Place::Leader
    }
}

/// How the messages of a gRPC method go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Messages {
    /// One there and one back.
    Unary,
    /// Many, in either direction.
    Stream,
}

/// The methods of gRPC: their routes, where they are answered, and how their messages go.
pub(crate) const GRPC_METHODS: [(&str, Place, Messages); 11] = [
    (
        "/tributary.v1.Ledger/Submit",
        Place::Leader,
        Messages::Unary,
    ),
    (
        "/tributary.v1.Ledger/SubmitStream",
        Place::Leader,
        Messages::Stream,
    ),
    (
        "/tributary.v1.Ledger/GetAccount",
        Place::View,
        Messages::Unary,
    ),
    (
        "/tributary.v1.Ledger/GetPayment",
        Place::View,
        Messages::Unary,
    ),
    (
        "/tributary.v1.Ledger/GetOwner",
        Place::View,
        Messages::Unary,
    ),
    (
        "/tributary.v1.Ledger/ListEntries",
        Place::View,
        Messages::Unary,
    ),
    (
        "/tributary.v1.Subscriptions/Receive",
        Place::Leader,
        Messages::Stream,
    ),
    ("/grpc.health.v1.Health/Check", Place::Node, Messages::Unary),
    (
        "/grpc.health.v1.Health/Watch",
        Place::Node,
        Messages::Stream,
    ),
    (
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        Place::Node,
        Messages::Stream,
    ),
    (
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        Place::Node,
        Messages::Stream,
    ),
];

/// Returns where a method of gRPC is answered, and how its messages go.
pub(crate) fn place_of_method(route: &str) -> (Place, Messages) {
    let mut known = GRPC_METHODS.iter();
    let known = known.find(|(method, ..)| *method == route);
    known.map_or((Place::Leader, Messages::Stream), |(_, place, messages)| {
        (*place, *messages)
    })
}

/// Whether the answers of a route show the position of the view: those of REST, and those of gRPC that are one message.
pub(crate) fn shows_position(route: &str) -> bool {
    let is_grpc = || {
        let (place, messages) = place_of_method(route);
        place != Place::Node && messages == Messages::Unary
    };
    route.starts_with("/v1/") || route.starts_with("/tributary.") && is_grpc()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Routes of the document with a read, and those with anything else.
    fn routes() -> (BTreeSet<String>, BTreeSet<(Method, String)>) {
        let document: serde_json::Value =
            serde_json::from_str(&crate::openapi_json()).expect("the document is JSON");
        let (mut reads, mut others) = (BTreeSet::new(), BTreeSet::new());
        for (route, item) in document["paths"].as_object().expect("paths") {
            for method in item.as_object().expect("operations").keys() {
                match method.as_str() {
                    _ if !route.starts_with("/v1/") => {}
                    "get" => drop(reads.insert(route.clone())),
                    other => {
                        let method = other.to_uppercase().parse().expect("a method");
                        others.insert((method, route.clone()));
                    }
                }
            }
        }
        (reads, others)
    }

    #[test]
    fn every_read_of_the_document_has_its_place() {
        let (reads, _) = routes();
        let listed = [&VIEW_READS[..], &LEADER_READS, &NODE_READS].concat();
        let places: BTreeSet<&str> = listed.iter().copied().collect();
        assert_eq!(places.len(), listed.len(), "no route stands twice");
        let reads: BTreeSet<&str> = reads.iter().map(String::as_str).collect();
        assert_eq!(reads, places);
        for (routes, place) in [
            (&VIEW_READS[..], Place::View),
            (&LEADER_READS, Place::Leader),
            (&NODE_READS, Place::Node),
        ] {
            for route in routes {
                for method in [Method::GET, Method::HEAD] {
                    assert_eq!(place_of_route(&method, route), place, "{method} {route}");
                }
            }
        }
    }

    #[test]
    fn every_write_of_the_document_goes_to_the_leader_but_those_about_the_node() {
        let (_, others) = routes();
        assert!(others.len() > 40);
        for (method, route) in NODE_WRITES {
            assert!(others.contains(&(method, route.to_owned())), "{route}");
        }
        for (method, route) in others {
            let expected = match NODE_WRITES.contains(&(method.clone(), &*route)) {
                true => Place::Node,
                false => Place::Leader,
            };
            let place = place_of_route(&method, &route);
            assert_eq!(place, expected, "{method} {route}");
        }
    }

    #[test]
    fn every_method_of_the_definition_has_its_place() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../proto");
        let files = [
            "tributary/v1/ledger.proto",
            "tributary/v1/subscriptions.proto",
        ];
        let compiled = protox::compile(files, [folder]).expect("the definition is right");
        let mut defined = BTreeSet::new();
        for file in &compiled.file {
            for service in &file.service {
                for method in &service.method {
                    let streams = method.client_streaming() || method.server_streaming();
                    let route = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    defined.insert((route, streams));
                }
            }
        }
        let listed: BTreeSet<(String, bool)> = GRPC_METHODS
            .iter()
            .filter(|(route, ..)| route.starts_with("/tributary."))
            .map(|(route, _, messages)| ((*route).to_owned(), *messages == Messages::Stream))
            .collect();
        assert_eq!(defined, listed);
    }
}
