//! The bodies of requests about the cluster.

use serde::Deserialize;
use utoipa::ToSchema;

/// Hand the leadership over.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HandOver {
    /// Name of the node that is to lead; whichever is ready first if null or left out.
    #[serde(default)]
    pub to: Option<String>,
}
