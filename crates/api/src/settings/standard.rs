//! The kinds of settings that every server knows.

use std::sync::Arc;

use tributary_engine::Reader;

use super::SettingTypes;
use super::binder::BinderType;
use super::binding::BindingType;
use super::limit::LimitType;
use super::rule_set::RuleSetType;
use super::stream::StreamType;
use super::subscription::SubscriptionType;
use super::text_list::ListType;
use super::tree_model::ModelType;
use crate::brokers::Brokers;
use crate::risk::Risk;
use crate::streaming::Streaming;
use crate::transport::PushTransport;

/// Returns the kinds that this crate implements. A crate that owns another kind adds it by [`SettingTypes::with`].
pub fn standard_types(
    reader: Reader,
    transport: Option<Arc<dyn PushTransport>>,
    brokers: Arc<dyn Brokers>,
    streaming: Arc<dyn Streaming>,
    risk: Arc<dyn Risk>,
) -> SettingTypes {
    let binders = BinderType::new(reader.clone(), brokers.clone());
    let bindings = BindingType::new(reader.clone(), brokers);
    let limits = LimitType::new(reader.clone());
    let lists = ListType::new(reader.clone());
    let models = ModelType::new(reader.clone(), risk.clone());
    let rule_sets = RuleSetType::new(reader.clone(), risk);
    let streams = StreamType::new(reader.clone(), streaming);
    let subscriptions = SubscriptionType::new(reader, transport);
    SettingTypes::default()
        .with(Arc::new(subscriptions))
        .with(Arc::new(binders))
        .with(Arc::new(bindings))
        .with(Arc::new(streams))
        .with(Arc::new(limits))
        .with(Arc::new(lists))
        .with(Arc::new(models))
        .with(Arc::new(rule_sets))
}
