//! What the settings say of bindings, ready to run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tributary_api::brokers::{
    self, BindingTerms, Direction, IdentityFrom, current_binders, current_bindings,
};
use tributary_api::map::{CompiledMap, IdentityPath, MessageMap};
use tributary_engine::Reader;
use tributary_ledger::{ApiKeyId, SettingId, SettingKind};

use super::back_off::BackOff;
use crate::adapters::{self, Adapters};
use crate::port::{Adapter, Binder, Binding};

/// A binding and its binder, at one revision of each.
pub(super) struct Definition {
    pub(super) id: SettingId,
    pub(super) revision: u64,
    pub(super) terms: Arc<BindingTerms>,
    pub(super) map: Option<Arc<CompiledMap>>,
    pub(super) identity_path: Option<Arc<IdentityPath>>,
    /// Destinations at the same broker from which messages come in.
    pub(super) bound_in: Arc<BTreeSet<String>>,
    pub(super) binding: Binding,
    /// The system, of a binding that sends.
    pub(super) acts_as: ApiKeyId,
    pub(super) back_off: BackOff,
    pub(super) adapter: Arc<dyn Adapter>,
    pub(super) binder: Binder,
    pub(super) binder_id: SettingId,
    pub(super) binder_revision: u64,
}

impl PartialEq for Definition {
    /// What is made of the same revisions is the same.
    fn eq(&self, other: &Definition) -> bool {
        (self.id, self.revision) == (other.id, other.revision)
            && (self.binder_id, self.binder_revision) == (other.binder_id, other.binder_revision)
            && self.bound_in == other.bound_in
    }
}

/// Every binding.
pub(super) struct Fleet {
    running: Vec<Arc<Definition>>,
    unusable: BTreeMap<SettingId, String>,
}

impl Fleet {
    /// Reads the settings.
    pub(super) fn read(reader: &Reader, adapters: &Adapters) -> Fleet {
        let binders = current_binders(reader);
        let bindings = current_bindings(reader);
        let find = |named: &str| {
            let by_id = reader.ids().decode_setting(named);
            let fits = |binder: &&brokers::Binder| {
                binder.slug == named || by_id == Some((SettingKind::BINDER, binder.id))
            };
            binders.iter().find(fits)
        };
        let mut bound_in: BTreeMap<SettingId, BTreeSet<String>> = BTreeMap::new();
        for binding in &bindings {
            if binding.terms.direction == Direction::In
                && let Some(binder) = find(&binding.terms.binder)
            {
                let destinations = bound_in.entry(binder.id).or_default();
                destinations.insert(binding.terms.destination.clone());
            }
        }
        let mut fleet = Fleet {
            running: Vec::new(),
            unusable: BTreeMap::new(),
        };
        for binding in bindings {
            let id = binding.id;
            let made = match (&binding.terms.paused, find(&binding.terms.binder)) {
                (Some(why), _) => Err(format!("paused: {why}")),
                (None, None) => Err(format!("there is no binder {}", binding.terms.binder)),
                (None, Some(binder)) => {
                    let destinations = bound_in.get(&binder.id).cloned().unwrap_or_default();
                    definition(adapters, binder, destinations, binding)
                }
            };
            match made {
                Ok(definition) => fleet.running.push(Arc::new(definition)),
                Err(why) => {
                    fleet.unusable.insert(id, why);
                }
            }
        }
        fleet
    }

    /// Bindings that run.
    pub(super) fn running(&self) -> impl Iterator<Item = &Arc<Definition>> {
        self.running.iter()
    }

    /// Bindings that can't run, or are paused, and why.
    pub(super) fn unusable(&self) -> impl Iterator<Item = (SettingId, String)> {
        self.unusable.iter().map(|(id, why)| (*id, why.clone()))
    }

    /// Whether there is such a binding.
    pub(super) fn knows(&self, id: SettingId) -> bool {
        self.unusable.contains_key(&id) || self.running.iter().any(|one| one.id == id)
    }
}

fn definition(
    adapters: &Adapters,
    binder: &brokers::Binder,
    bound_in: BTreeSet<String>,
    binding: brokers::Binding,
) -> Result<Definition, String> {
    let terms = binding.terms;
    let map = terms.map.clone().map(|map| {
        let map: MessageMap =
            serde_json::from_value(map.into()).map_err(|error| error.to_string())?;
        let map = map.check().map_err(|fault| fault.to_string())?;
        Ok::<_, String>(Arc::new(map))
    });
    let identity_path = match &terms.identity_from {
        Some(IdentityFrom::Field(path)) => {
            let path = IdentityPath::parse(path).map_err(|fault| fault.to_string())?;
            Some(Arc::new(path))
        }
        _ => None,
    };
    let consumer = &terms.consumer;
    let back_off = BackOff::new(
        Duration::from_millis(consumer.back_off_initial_interval),
        consumer.back_off_multiplier,
        Duration::from_millis(consumer.back_off_max_interval),
    );
    let at_broker = adapters.binder(binder.id, &binder.slug, &binder.terms);
    Ok(Definition {
        id: binding.id,
        revision: binding.revision,
        map: map.transpose()?,
        identity_path,
        bound_in: Arc::new(bound_in),
        binding: adapters::binding(&binding.slug, &terms),
        acts_as: terms.acts_as.unwrap_or(ApiKeyId::SYSTEM),
        back_off,
        adapter: adapters.find(&binder.terms.broker)?.clone(),
        binder: at_broker.map_err(|error| error.to_string())?,
        binder_id: binder.id,
        binder_revision: binder.revision,
        terms: Arc::new(terms),
    })
}
