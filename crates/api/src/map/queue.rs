//! The terms of queued payments, as a map has them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::map::fault::Fault;
use crate::map::fields::{Fields, Schema};
use crate::map::template::Template;

/// Templates of the terms of queued payments; those that come out empty are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MapQueue)]
pub struct QueueTemplates {
    /// How urgent: 0 to 9.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<PriorityTemplate>,
    /// Not to be decided before: an RFC 3339 time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// To be decided by then: an RFC 3339 time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Subscription that is told the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    /// Text that the result carries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
}

/// A priority, or the template of one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(
    untagged,
    expecting = "a priority is an integer from 0 to 9, or a template of one"
)]
#[schema(as = MapPriority)]
pub enum PriorityTemplate {
    /// The same for all.
    Number(u8),
    /// From a field.
    Template(String),
}

/// Templates that were parsed, by the names of their terms.
#[derive(Debug)]
pub(super) struct QueuePlan(Vec<(&'static str, Template)>);

impl QueueTemplates {
    /// Parses the templates.
    pub(super) fn parse(&self, schema: &mut dyn Schema) -> Result<QueuePlan, Fault> {
        let priority = self.priority.as_ref().map(|priority| match priority {
            PriorityTemplate::Number(number) => number.to_string(),
            PriorityTemplate::Template(text) => text.clone(),
        });
        let mut templates = Vec::new();
        for (name, text) in [
            ("priority", &priority),
            ("not_before", &self.not_before),
            ("expires_at", &self.expires_at),
            ("reply_to", &self.reply_to),
            ("correlation_id", &self.correlation_id),
        ] {
            if let Some(text) = text {
                let template = Template::parse(text, schema);
                let template = template.map_err(|fault| fault.of(&format!("queue.{name}")))?;
                templates.push((name, template));
            }
        }
        Ok(QueuePlan(templates))
    }
}

impl QueuePlan {
    /// Returns the field `queue` of the payment that a message becomes.
    pub(super) fn render(&self, fields: &dyn Fields) -> Result<Map<String, Value>, Fault> {
        let mut terms = Map::new();
        for (name, template) in &self.0 {
            insert(&mut terms, name, template.render(fields)?);
        }
        Ok(terms)
    }

    /// Returns the field `queue` with the terms that are the same for every message.
    pub(super) fn constants(&self) -> Map<String, Value> {
        let mut terms = Map::new();
        for (name, template) in &self.0 {
            if let Some(text) = template.constant() {
                insert(&mut terms, name, text.to_owned());
            }
        }
        terms
    }
}

/// Inserts a term that is not empty. A priority that is no number stays the text that it is, for the form to refuse.
fn insert(terms: &mut Map<String, Value>, name: &str, text: String) {
    if text.is_empty() {
        return;
    }
    let number = text.parse::<u64>().ok().filter(|_| name == "priority");
    terms.insert(name.to_owned(), number.map_or(text.into(), Value::from));
}
