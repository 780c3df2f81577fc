//! The bodies of requests about binders.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::form::json::given;

/// Make a binder: a connection to a broker.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BinderCreate {
    /// Name for tools, unique among the binders: 1 to 64 of `a-z 0-9 . _ -`.
    pub slug: String,
    /// Name of the file or tool that manages the binder, at most 64 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub managed_by: Option<String>,
    /// Type of broker: `activemq`, `kafka`, `nats`, `rabbitmq`, `redis`, `rocketmq` or `zeromq`.
    #[serde(rename = "type")]
    pub broker: String,
    /// Where the broker is, in the form that the page of its type shows. Never with a user or a password.
    pub url: String,
    /// Name of the user at the broker, at most 255 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Password or token of the user, at most 1,024 bytes. It is sealed and never shown.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>, write_only)]
    pub password: Option<Option<String>>,
    /// PEM certificates that sign the broker's, at most 12,288 bytes; those of the system if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trusted_roots: Option<String>,
}

/// Change a binder: what is left out stays.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BinderUpdate {
    /// Revision that must be the newest, else the answer is `setting_conflict`. Left out, the change is made to whatever is newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    /// Another name for tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    slug: Option<String>,
    /// Another name of what manages the binder; null for nothing.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>)]
    managed_by: Option<Option<String>>,
    /// Another type of broker.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    broker: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// Another user; null for none.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>)]
    username: Option<Option<String>>,
    /// Another password; null for none.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>, write_only)]
    password: Option<Option<String>>,
    /// Other certificates; null for those of the system.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>)]
    trusted_roots: Option<Option<String>>,
}
