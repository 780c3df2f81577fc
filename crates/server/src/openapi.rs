//! The OpenAPI 3.1 document: made from the handlers, checked in as `docs/openapi.json`, served at `/openapi.json`.

mod additions;
mod examples;
mod expansion;
mod lines;
mod positions;
mod references;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method};
use axum::routing::get;
use serde_json::{Map, Value};
use tributary_api::code::ErrorCode;
use tributary_api::error::{ApiError, ErrorAnswer};
use tributary_api::form::batch::BatchForm;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    ContentBuilder, InfoBuilder, LicenseBuilder, OpenApi, PathItem, Ref, RefOr, Required,
    ResponseBuilder,
};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::lines::write_in_lines;
use self::references::share_repeated_parts;
use crate::app::App;
use crate::auth::error_of_sender;
use crate::cluster::places::{Place, place_of_route};
use crate::response::ErrorResponse;
use crate::routes::{
    accounts, api_keys, attempts, backtests, batches, binders, bindings, blocks, books, cases,
    clock, cluster, deliveries, events, health, journal, limits, lists, models, owners, pages,
    payments, payouts, queues, refunds, rule_sets, sandbox, settings, stream, streams,
    subscriptions, timeline,
};
use crate::version::CURRENT_VERSION;

const ABOUT: &str = "Payments over a double-entry ledger, in one binary.\n\n\
    Amounts are integers of minor units. Every write carries an `Idempotency-Key`: sending it again gives the first \
    answer and the header `Idempotent-Replayed: true`; the same key with another request is refused with 422. Errors have \
    one shape and stable codes; each code has a page. Lists run from the newest to the oldest. A payment that the ledger \
    refused is answered with 402 and its id: the refusal is on record.\n\n\
    Every body that is JSON can be sent as XML in UTF-8 with `Content-Type: application/xml`, and every answer that is JSON \
    comes as XML with `Accept: application/xml`: an element for each field, and elements of one name next to each other for an \
    array.";

/// All paths, and the document that describes them.
pub(crate) fn build() -> (Router<App>, OpenApi) {
    let (router, mut api) = OpenApiRouter::new()
        .routes(routes!(accounts::create, accounts::list_all))
        .routes(routes!(owners::create, owners::list_all))
        .routes(routes!(owners::get, owners::update))
        .routes(routes!(accounts::get, accounts::update))
        .routes(routes!(accounts::balance))
        .routes(routes!(accounts::entries))
        .routes(routes!(accounts::freeze))
        .routes(routes!(accounts::unfreeze))
        .routes(routes!(accounts::close))
        .routes(routes!(payments::create, payments::list_all))
        .routes(routes!(payments::get, payments::update))
        .routes(routes!(timeline::get))
        .routes(routes!(timeline::of_account))
        .routes(routes!(timeline::of_owner))
        .routes(routes!(payments::capture))
        .routes(routes!(payments::void))
        .routes(routes!(cases::approve))
        .routes(routes!(cases::list_all))
        .routes(routes!(cases::get, cases::update))
        .routes(routes!(payments::create_top_up))
        .routes(routes!(payouts::create))
        .routes(routes!(payouts::pay))
        .routes(routes!(payouts::fail))
        .routes(routes!(payouts::give_back))
        .routes(routes!(payments::create_transfer))
        .routes(routes!(payments::create_adjustment))
        .routes(routes!(refunds::create, refunds::list_all))
        .routes(routes!(refunds::get))
        .routes(routes!(batches::create))
        .routes(routes!(events::publish, events::list_all))
        .routes(routes!(events::get))
        .routes(routes!(stream::stream))
        .routes(routes!(subscriptions::create, subscriptions::list_all))
        .routes(routes!(
            subscriptions::get,
            subscriptions::update,
            subscriptions::delete
        ))
        .routes(routes!(subscriptions::rotate_secret))
        .routes(routes!(subscriptions::revisions))
        .routes(routes!(binders::create, binders::list_all))
        .routes(routes!(binders::get, binders::update, binders::delete))
        .routes(routes!(bindings::create, bindings::list_all))
        .routes(routes!(bindings::get, bindings::update, bindings::delete))
        .routes(routes!(bindings::pause))
        .routes(routes!(bindings::resume))
        .routes(routes!(bindings::figures))
        .routes(routes!(bindings::message))
        .routes(routes!(bindings::attempts))
        .routes(routes!(bindings::dead_letters))
        .routes(routes!(bindings::requeue))
        .routes(routes!(bindings::drop_dead))
        .routes(routes!(limits::create, limits::list_all))
        .routes(routes!(limits::get, limits::update, limits::delete))
        .routes(routes!(lists::create, lists::list_all))
        .routes(routes!(lists::get, lists::update, lists::delete))
        .routes(routes!(models::create, models::list_all))
        .routes(routes!(models::get, models::update, models::delete))
        .routes(routes!(backtests::create))
        .routes(routes!(blocks::list_all))
        .routes(routes!(blocks::lift))
        .routes(routes!(rule_sets::create, rule_sets::list_all))
        .routes(routes!(
            rule_sets::get,
            rule_sets::update,
            rule_sets::delete
        ))
        .routes(routes!(streams::create, streams::list_all))
        .routes(routes!(streams::get, streams::update, streams::delete))
        .routes(routes!(streams::pause))
        .routes(routes!(streams::resume))
        .routes(routes!(streams::figures))
        .routes(routes!(streams::rows))
        .routes(routes!(streams::preview))
        .routes(routes!(settings::list_all))
        .routes(routes!(settings::get))
        .routes(routes!(settings::revisions))
        .routes(routes!(settings::apply))
        .routes(routes!(subscriptions::pause))
        .routes(routes!(subscriptions::resume))
        .routes(routes!(deliveries::rewind))
        .routes(routes!(deliveries::replay))
        .routes(routes!(deliveries::receive))
        .routes(routes!(deliveries::ack))
        .routes(routes!(deliveries::nack))
        .routes(routes!(deliveries::extend))
        .routes(routes!(attempts::list_all))
        .routes(routes!(deliveries::dead_letters))
        .routes(routes!(deliveries::requeue))
        .routes(routes!(deliveries::drop_dead))
        .routes(routes!(queues::payment_order))
        .routes(routes!(queues::pause))
        .routes(routes!(queues::drain))
        .routes(routes!(queues::resume))
        .routes(routes!(clock::get))
        .routes(routes!(clock::confirm))
        .routes(routes!(cluster::get))
        .routes(routes!(cluster::hand_over))
        .routes(routes!(cluster::finalize_upgrade))
        .routes(routes!(sandbox::advance_clock))
        .routes(routes!(books::trial_balance))
        .routes(routes!(journal::head))
        .routes(routes!(journal::meta))
        .routes(routes!(journal::frames))
        .routes(routes!(journal::deliveries))
        .routes(routes!(api_keys::create, api_keys::list_all))
        .routes(routes!(api_keys::rotate))
        .routes(routes!(api_keys::revoke))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::leader))
        .routes(routes!(health::metrics))
        .split_for_parts();
    finish(&mut api);
    let router = router
        .route("/openapi.json", get(pages::openapi))
        .route("/docs", get(pages::docs))
        .route("/docs/style.css", get(pages::style))
        .route("/docs/search.js", get(pages::search))
        .route("/docs/errors", get(pages::error_index))
        .route("/docs/errors/{code}", get(pages::error_page))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(route_not_found);
    (router, api)
}

/// The document as it is checked in and served: JSON in lines, with a line end.
pub fn openapi_json() -> String {
    let mut document = full_document();
    share_repeated_parts(&mut document);
    let mut text = String::new();
    write_in_lines(&document, 0, &mut text);
    text.push('\n');
    text
}

/// The document with every operation written out, before repeated parts are shared.
fn full_document() -> Value {
    let (_, api) = build();
    let mut document = serde_json::to_value(&api).expect("the document is JSON");
    let paths = document["paths"].as_object_mut().expect("it has paths");
    for item in paths.values_mut() {
        for operation in item
            .as_object_mut()
            .expect("a path has operations")
            .values_mut()
        {
            add_links(operation);
            additions::add_example(operation);
        }
    }
    additions::add_error_codes(&mut document);
    additions::add_events(&mut document);
    additions::add_webhooks(&mut document);
    additions::name_constants(&mut document);
    additions::widen_unsigned(&mut document);
    document
}

async fn method_not_allowed(State(app): State<App>, headers: HeaderMap) -> ErrorResponse {
    let message = "This path does not take this method; Allow says which it takes.";
    let error = ApiError::new(ErrorCode::MethodNotAllowed, message);
    ErrorResponse(error_of_sender(&headers, &app.shared, error))
}

async fn route_not_found(State(app): State<App>, headers: HeaderMap) -> ErrorResponse {
    let message = "There is no such path. /docs lists those there are.";
    let error = ApiError::new(ErrorCode::RouteNotFound, message);
    ErrorResponse(error_of_sender(&headers, &app.shared, error))
}

/// Adds what all operations share, so that no handler repeats it.
fn finish(api: &mut OpenApi) {
    api.info = InfoBuilder::new()
        .title("Tributary")
        .description(Some(ABOUT))
        .version(env!("CARGO_PKG_VERSION"))
        .license(Some(
            LicenseBuilder::new()
                .name("Apache-2.0")
                .identifier(Some("Apache-2.0"))
                .build(),
        ))
        .build();
    let tags = [
        ("payments", "Moving money."),
        ("refunds", "Giving it back."),
        ("accounts", "Where money is."),
        ("owners", "Who accounts and API keys belong to."),
        ("batches", "Many commands at once."),
        ("events", "What happened."),
        (
            "subscriptions",
            "Events, delivered at least once to whoever comes for them.",
        ),
        (
            "bindings",
            "Brokers and the destinations there that are joined to the system, for the platform.",
        ),
        (
            "streams",
            "Figures over windows of events, for the platform.",
        ),
        (
            "limits",
            "The most that an account or an owner may pay within a time, for the platform.",
        ),
        (
            "rules",
            "Rules by which payments are assessed before they are decided, and the lists and models that rules look up, for the platform.",
        ),
        ("settings", "Many settings at once, as a file says."),
        ("books", "The ledger as a whole, for the platform."),
        ("api_keys", "Who may call, for the platform."),
        ("operations", "Running the server."),
    ];
    api.tags = Some(
        tags.map(|(name, about)| {
            TagBuilder::new()
                .name(name)
                .description(Some(about))
                .build()
        })
        .into(),
    );
    let components = api.components.get_or_insert_default();
    components
        .schemas
        .insert("ErrorAnswer".to_owned(), ErrorAnswer::schema());
    let mut nested = Vec::new();
    ErrorAnswer::schemas(&mut nested);
    BatchForm::schemas(&mut nested);
    components.schemas.extend(nested);
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("An API key: `tk_…`."))
        .build();
    components.add_security_scheme("api_key", SecurityScheme::Http(bearer));
    for (path, item) in &mut api.paths.paths {
        let PathItem {
            get,
            post,
            patch,
            delete,
            ..
        } = item;
        for operation in [patch, delete].into_iter().flatten() {
            finish_operation(path, operation, true);
        }
        if let Some(operation) = get {
            finish_operation(path, operation, false);
        }
        if let Some(operation) = post {
            finish_operation(path, operation, true);
        }
    }
}

/// Operations that may come without an idempotency key: a change without one is made under a key of its own.
const SETTING_CHANGES: [&str; 23] = [
    "updateSubscription",
    "deleteSubscription",
    "pauseSubscription",
    "resumeSubscription",
    "rotateSecret",
    "updateBinder",
    "deleteBinder",
    "updateBinding",
    "deleteBinding",
    "pauseBinding",
    "resumeBinding",
    "updateLimit",
    "deleteLimit",
    "updateList",
    "deleteList",
    "updateModel",
    "deleteModel",
    "updateRuleSet",
    "deleteRuleSet",
    "updateStream",
    "deleteStream",
    "pauseStream",
    "resumeStream",
];

fn finish_operation(path: &str, operation: &mut Operation, writes: bool) {
    let authenticated = path.starts_with("/v1/") || path == "/metrics";
    if authenticated {
        operation.security = Some(vec![SecurityRequirement::new("api_key", [] as [String; 0])]);
    }
    // What is done to a subscription is the same when it is done twice, or has receipts. So is a confirmation.
    let keyless = path == "/v1/batches"
        || path == "/v1/clock/confirm"
        || path.starts_with("/v1/cluster/")
        || path == "/v1/settings/apply"
        || path.starts_with("/v1/subscriptions/")
        || path.starts_with("/v1/binders/")
        || path.starts_with("/v1/bindings/")
        || path.starts_with("/v1/limits/")
        || path.starts_with("/v1/lists/")
        || path.starts_with("/v1/models/")
        || path.starts_with("/v1/risk/")
        || path.starts_with("/v1/rule_sets/")
        || path.starts_with("/v1/security/")
        || path.starts_with("/v1/streams/");
    let keyed_if_wished =
        SETTING_CHANGES.contains(&operation.operation_id.as_deref().unwrap_or(""));
    expansion::add_parameter(operation);
    if path.starts_with("/v1/") {
        let parameters = operation.parameters.get_or_insert_default();
        parameters.push(version_parameter());
    }
    let of_ledger = path.starts_with("/v1/");
    let of_node = place_of_route(&Method::GET, path) == Place::Node;
    if of_ledger && !writes && !of_node {
        positions::add_parameters(operation);
    }
    if writes && keyed_if_wished {
        operation
            .parameters
            .get_or_insert_default()
            .push(idempotency_parameter(Required::False));
    }
    if writes && !keyless {
        operation
            .parameters
            .get_or_insert_default()
            .push(idempotency_parameter(Required::True));
    }
    if operation.responses.responses.contains_key("202") {
        operation
            .parameters
            .get_or_insert_default()
            .push(prefer_parameter(
                "`respond-async`: the payment is only accepted now, answered with 202, and decided when its turn has come.",
            ));
    }
    if path == "/v1/batches" {
        operation
            .parameters
            .get_or_insert_default()
            .push(prefer_parameter(
                "`return=minimal`: each `result` is only the object's type and id.",
            ));
    }
    if let Some(body) = &mut operation.request_body {
        let optional = [
            "/freeze",
            "/unfreeze",
            "/close",
            "/capture",
            "/void",
            "/approve",
            "/pay",
            "/returns",
            "/rotate",
            "/rotate_secret",
            "/revoke",
            "/pause",
            "/drain",
            "/resume",
            "/receive",
            "/requeue",
            "/drop",
            "/hand_over",
        ];
        let is_optional =
            optional.iter().any(|end| path.ends_with(end)) || path == "/v1/models/{id}";
        body.required = Some(if is_optional {
            Required::False
        } else {
            Required::True
        });
    }
    for response in operation.responses.responses.values_mut() {
        if let RefOr::T(response) = response {
            response.headers.extend(headers(writes, false));
            let position = of_ledger.then(positions::position_header);
            response.headers.extend(position);
        }
    }
    for status in error_statuses(path, writes, authenticated) {
        operation
            .responses
            .responses
            .entry(status.to_string())
            .or_insert_with(|| error_response(status, writes));
    }
}

/// What can be done next: the operation, its parameters and its body.
type Next = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [(&'static str, &'static str)],
);

const ID: &[(&str, &str)] = &[("id", "$response.body#/id")];
const FIRST_ID: &[(&str, &str)] = &[("id", "$response.body#/data/0/id")];
const AFTER_ACCOUNT: &[Next] = &[
    ("getAccount", ID, &[]),
    ("listAccountEntries", ID, &[]),
    ("freezeAccount", ID, &[]),
    ("unfreezeAccount", ID, &[]),
    ("closeAccount", ID, &[]),
];
const AFTER_PAYMENT: &[Next] = &[
    ("getPayment", ID, &[]),
    ("getPaymentTimeline", ID, &[]),
    ("capturePayment", ID, &[]),
    ("voidPayment", ID, &[]),
    ("approvePayment", ID, &[]),
    ("createRefund", &[], &[("payment", "$response.body#/id")]),
    ("listRefunds", &[("payment", "$response.body#/id")], &[]),
];

const AFTER_PAYOUT: &[Next] = &[
    ("getPayment", ID, &[]),
    ("getPaymentTimeline", ID, &[]),
    ("payPayout", ID, &[]),
    ("failPayout", ID, &[]),
    ("returnPayout", ID, &[]),
];

/// The operations that an answer leads to, by its status.
fn links(operation: &str) -> &'static [(&'static str, &'static [Next])] {
    match operation {
        "createAccount" => &[("201", AFTER_ACCOUNT)],
        "createPayment" | "createTopUp" | "createTransfer" => {
            &[("201", AFTER_PAYMENT), ("202", AFTER_PAYMENT)]
        }
        "createPayout" => &[("201", AFTER_PAYOUT), ("202", AFTER_PAYOUT)],
        "createRefund" => &[("201", &[("getRefund", ID, &[])])],
        "createApiKey" => &[(
            "201",
            &[("rotateApiKey", ID, &[]), ("revokeApiKey", ID, &[])],
        )],
        "publishEvent" => &[("201", &[("getEvent", ID, &[])])],
        "createSubscription" => &[(
            "201",
            &[
                ("getSubscription", ID, &[]),
                ("receiveEvents", ID, &[]),
                ("pauseSubscription", ID, &[]),
                ("resumeSubscription", ID, &[]),
                ("listAttempts", ID, &[]),
                ("listDeadLetters", ID, &[]),
                ("deleteSubscription", ID, &[]),
            ],
        )],
        "createBinder" => &[(
            "201",
            &[
                ("getBinder", ID, &[]),
                ("createBinding", &[], &[("binder", "$response.body#/id")]),
                ("deleteBinder", ID, &[]),
            ],
        )],
        "createBinding" => &[(
            "201",
            &[
                ("getBinding", ID, &[]),
                ("pauseBinding", ID, &[]),
                ("resumeBinding", ID, &[]),
                ("listReplyDeadLetters", ID, &[]),
                ("deleteBinding", ID, &[]),
            ],
        )],
        "listEvents" => &[("200", &[("getEvent", FIRST_ID, &[])])],
        _ => &[],
    }
}

/// Says after each answer what can be done next. Done on the JSON, since utoipa writes the fields of links in another
/// spelling than OpenAPI has.
fn add_links(operation: &mut Value) {
    let of = operation["operationId"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    for (status, nexts) in links(&of) {
        for (target, parameters, body) in *nexts {
            let fields = |pairs: &[(&str, &str)]| -> Map<String, Value> {
                let fields = pairs
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), Value::from(*value)));
                fields.collect()
            };
            let mut link = Map::new();
            link.insert("operationId".to_owned(), Value::from(*target));
            if !parameters.is_empty() {
                link.insert("parameters".to_owned(), Value::Object(fields(parameters)));
            }
            if !body.is_empty() {
                link.insert("requestBody".to_owned(), Value::Object(fields(body)));
            }
            operation["responses"][*status]["links"][*target] = Value::Object(link);
        }
    }
}

/// The statuses of the errors that an operation may answer.
fn error_statuses(path: &str, writes: bool, authenticated: bool) -> Vec<u16> {
    if !authenticated {
        return if path == "/health/ready" {
            vec![400, 431, 500, 503]
        } else {
            vec![400, 431, 500]
        };
    }
    let mut statuses = vec![400, 401, 403, 404, 429, 431, 500, 503];
    if writes {
        statuses.extend([408, 413, 415, 422, 504]);
        let moves_money = path.starts_with("/v1/payments")
            || path.starts_with("/v1/payouts")
            || [
                "/v1/top_ups",
                "/v1/transfers",
                "/v1/adjustments",
                "/v1/refunds",
            ]
            .contains(&path);
        let other = [
            "/v1/accounts",
            "/v1/owners",
            "/v1/api_keys",
            "/v1/events",
            "/v1/sandbox",
            "/v1/subscriptions",
            "/v1/binders",
            "/v1/bindings",
            "/v1/limits",
            "/v1/lists",
            "/v1/models",
            "/v1/rule_sets",
            "/v1/streams",
            "/v1/settings",
        ]
        .iter()
        .any(|start| path.starts_with(start));
        if moves_money {
            statuses.push(402);
        }
        // An update of a payment moves no money.
        if other || path == "/v1/payments/{id}" {
            statuses.push(409);
        }
    }
    statuses
}

fn error_response(status: u16, writes: bool) -> RefOr<utoipa::openapi::Response> {
    let codes: Vec<String> = ErrorCode::ALL
        .iter()
        .filter(|code| code.status() == status)
        .map(|code| format!("`{}`", code.as_str()))
        .collect();
    let about = match status {
        402 => "The ledger refused the payment or refund, and the refusal is on record: `code` says why.".to_owned(),
        409 => "The ledger refused the change, and the refusal is on record: `code` says why.".to_owned(),
        _ => format!("An error: {}.", codes.join(", ")),
    };
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("ErrorAnswer")))
        .build();
    let mut response = ResponseBuilder::new()
        .description(about)
        .content("application/json", content)
        .build();
    response.headers.extend(headers(
        writes && matches!(status, 402 | 409),
        status == 429 || status == 503,
    ));
    RefOr::T(response)
}

fn headers(replayed: bool, retry_after: bool) -> Vec<(String, utoipa::openapi::header::Header)> {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let mut headers = vec![(
        "Request-Id".to_owned(),
        HeaderBuilder::new()
            .schema(text())
            .description(Some("Names the request in the server's log."))
            .build(),
    )];
    headers.push((
        "Tributary-Version".to_owned(),
        HeaderBuilder::new()
            .schema(text())
            .description(Some("Version of the API that the answer was made for."))
            .build(),
    ));
    if replayed {
        let about = "`true` if this is the repetition of an earlier answer.";
        let schema = text().enum_values(Some(["true"]));
        headers.push((
            "Idempotent-Replayed".to_owned(),
            HeaderBuilder::new()
                .schema(schema)
                .description(Some(about))
                .build(),
        ));
    }
    if retry_after {
        let schema = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1));
        let about = "Seconds to wait before sending the request again.";
        headers.push((
            "Retry-After".to_owned(),
            HeaderBuilder::new()
                .schema(schema)
                .description(Some(about))
                .build(),
        ));
    }
    headers
}

fn version_parameter() -> utoipa::openapi::path::Parameter {
    let schema = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some([CURRENT_VERSION]));
    ParameterBuilder::new()
        .name("Tributary-Version")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "Version of the API that the caller was written for; the newest one if left out.",
        ))
        .schema(Some(schema))
        .build()
}

fn idempotency_parameter(required: Required) -> utoipa::openapi::path::Parameter {
    let schema = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(255))
        .pattern(Some("^[!#-~]([ -~]{0,253}[!-~])?$"));
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(required)
        .description(Some(
            "Names this request, for ever: sending it again gives the first answer. 1 to 255 printable ASCII characters, \
             bare or in double quotes.",
        ))
        .schema(Some(schema))
        .build()
}

fn prefer_parameter(what: &str) -> utoipa::openapi::path::Parameter {
    ParameterBuilder::new()
        .name("Prefer")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(what))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Depth of references after which a document counts as recursive.
    const DEPTH_MAX: usize = 64;

    /// The value with each reference replaced by its target. Fields beside a reference stay beside it.
    fn resolve(document: &Value, value: &Value, depth: usize) -> Value {
        assert!(depth < DEPTH_MAX, "a recursive reference in {value}");
        match value {
            Value::Object(fields) => {
                let target = fields.get("$ref").and_then(Value::as_str).map(|reference| {
                    let pointer = reference.strip_prefix('#').expect("a local reference");
                    let target = document.pointer(pointer);
                    let target = target.unwrap_or_else(|| panic!("{reference} leads nowhere"));
                    resolve(document, target, depth + 1)
                });
                match target {
                    Some(target) if fields.len() == 1 => target,
                    target => {
                        let resolved = fields
                            .iter()
                            .map(|(name, field)| (name.clone(), resolve(document, field, depth)));
                        let mut fields: Map<String, Value> = resolved.collect();
                        fields.extend(target.map(|target| ("$ref".to_owned(), target)));
                        Value::Object(fields)
                    }
                }
            }
            Value::Array(items) => {
                let resolved = items.iter().map(|item| resolve(document, item, depth));
                Value::Array(resolved.collect())
            }
            plain => plain.clone(),
        }
    }

    #[test]
    fn sharing_repeated_parts_keeps_the_meaning() {
        let full = full_document();
        let mut shared = full.clone();
        share_repeated_parts(&mut shared);
        for part in ["openapi", "info", "tags", "paths"] {
            let (before, after) = (&full[part], &shared[part]);
            assert!(!before.is_null(), "{part}");
            assert!(
                resolve(&full, before, 0) == resolve(&shared, after, 0),
                "{part}"
            );
        }
        let schemas = |document: &Value| document["components"]["schemas"].as_object().cloned();
        let (before, after) = (
            schemas(&full).expect("schemas"),
            schemas(&shared).expect("schemas"),
        );
        assert_eq!(before.len(), after.len());
        for (name, schema) in &before {
            let after = &after[&references::schema_name(name)];
            assert!(
                resolve(&full, schema, 0) == resolve(&shared, after, 0),
                "{name}"
            );
        }
        let security = "/components/securitySchemes";
        assert_eq!(full.pointer(security), shared.pointer(security));
    }

    /// Finds the parameters or responses of all operations that are not references.
    fn inline_parts<'a>(document: &'a Value, kind: &str) -> Vec<&'a Value> {
        let operations = document["paths"].as_object().into_iter().flatten();
        let operations = operations.flat_map(|(_, item)| item.as_object().into_iter().flatten());
        let parts = operations.flat_map(|(_, operation)| match &operation[kind] {
            Value::Array(parts) => parts.iter().collect::<Vec<_>>(),
            Value::Object(parts) => parts.values().collect(),
            _ => Vec::new(),
        });
        parts.filter(|part| part.get("$ref").is_none()).collect()
    }

    #[test]
    fn no_parameter_and_no_response_stands_twice() {
        let mut document = full_document();
        share_repeated_parts(&mut document);
        for kind in ["parameters", "responses"] {
            let parts = inline_parts(&document, kind);
            assert!(!parts.is_empty());
            for (index, part) in parts.iter().enumerate() {
                assert!(!parts[..index].contains(part), "{part} stands twice");
            }
        }
    }
}
