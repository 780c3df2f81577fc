//! The kinds of settings that every server knows.

use std::sync::Arc;

use tributary_engine::Reader;

use super::SettingTypes;
use super::subscription::SubscriptionType;
use crate::transport::PushTransport;

/// Returns the kinds that this crate implements. A crate that owns another kind adds it by [`SettingTypes::with`].
pub fn standard_types(reader: Reader, transport: Option<Arc<dyn PushTransport>>) -> SettingTypes {
    let subscriptions = SubscriptionType::new(reader, transport);
    SettingTypes::default().with(Arc::new(subscriptions))
}
