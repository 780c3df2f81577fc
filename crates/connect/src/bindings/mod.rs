//! The driver of bindings: what joins destinations at brokers to Tributary.
//!
//! An [adapter](crate::port::Adapter) moves bytes; everything that a message means is here. A message that comes in becomes a command by the intake, as a
//! request would ([`order`]), and is acknowledged when its record is durable ([`inbound`]). What goes out are deliveries of
//! subscriptions: the events that one wants, and the replies of a binding ([`outbound`]).
//!
//! Bindings and binders are settings: which of them run is looked at whenever one may have changed ([`definition`]).

mod back_off;
mod dead_letter;
mod definition;
mod event_message;
mod inbound;
mod order;
mod outbound;
mod outlet;
mod reply;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tributary_api::brokers::Direction;
use tributary_api::intake::Intake;
use tributary_engine::{Engine, Permit, Reader};
use tributary_ledger::SettingId;
use tributary_messaging::{Messaging, SubscriptionId};

use crate::adapters::Adapters;
use crate::counters::Counters;
use definition::{Definition, Fleet};
use inbound::{Inbound, sleep};
use order::Orders;
use outbound::{Outbound, Way};
use outlet::Outlet;

/// How often settings are looked at without being notified of a change.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long what ran under an earlier definition may take to end.
const STOP_MAX: Duration = Duration::from_secs(15);
/// Threads that all bindings share.
const THREADS: usize = 2;

/// What the driver is given.
pub struct BindingsConfig {
    /// The kinds of brokers that this build knows.
    pub adapters: Arc<Adapters>,
    /// Whether this node may do outward work.
    pub permit: Arc<dyn Permit>,
}

/// Bindings at work. Dropped, they stop.
pub struct Bindings {
    stop: watch::Sender<bool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the tasks share with those who ask.
struct Shared {
    engine: Engine,
    reader: Reader,
    intake: Arc<Intake>,
    messaging: Arc<Messaging>,
    config: BindingsConfig,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bindings {
    /// Starts what the settings say, and follows their changes.
    ///
    /// # Errors
    /// If a thread can't be started.
    pub fn start(
        engine: Engine,
        messaging: Arc<Messaging>,
        config: BindingsConfig,
    ) -> io::Result<Arc<Bindings>> {
        let reader = engine.reader();
        let shared = Arc::new(Shared {
            intake: Arc::new(Intake::new(reader.clone(), Some(messaging.clone()))),
            reader,
            engine,
            messaging,
            config,
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("bindings")
            .enable_all()
            .build()?;
        let (stop, stopped) = watch::channel(false);
        let thread = std::thread::Builder::new()
            .name("bindings-watch".to_owned())
            .spawn(move || {
                runtime.block_on(follow(shared, stopped));
                runtime.shutdown_timeout(STOP_MAX);
            })?;
        Ok(Arc::new(Bindings {
            stop,
            thread: Mutex::new(Some(thread)),
        }))
    }

    /// Stops. What was taken in and is not durable comes again from its broker.
    pub fn stop(&self) {
        self.stop.send_replace(true);
        if let Some(thread) = lock(&self.thread).take() {
            let _panicked = thread.join();
        }
    }
}

impl Drop for Bindings {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What runs for one definition.
struct Running {
    definition: Arc<Definition>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Running {
    async fn end(mut self) {
        self.stop.send_replace(true);
        let ending = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_MAX, ending).await.is_err() {
            self.tasks.abort_all();
        }
    }
}

/// What runs, by what it is for: a binding that takes in messages, or a subscription that sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    In(SettingId),
    Out(SubscriptionId),
}

async fn follow(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let mut running: BTreeMap<Role, Running> = BTreeMap::new();
    let mut outlets = Outlets::default();
    while !*stop.borrow_and_update() {
        // Taken before the settings are read, so that no change is missed.
        let seen = shared.reader.published();
        let fleet = Fleet::read(&shared.reader, &shared.config.adapters);
        let counters = shared.config.adapters.counters();
        counters.retain(|binding| fleet.knows(binding));
        for (id, why) in fleet.unusable() {
            counters.of(id).stop(why);
        }
        let wanted = wanted(&shared, &fleet);
        let over = |role: &Role, one: &mut Running| {
            let is_same = wanted.get(role).is_some_and(|new| **new == *one.definition);
            !is_same || one.tasks.is_empty()
        };
        // The old one ends first, so that nothing is under way twice for long.
        let ended: Vec<Running> = running.extract_if(.., over).map(|(_, one)| one).collect();
        for one in ended {
            one.end().await;
        }
        outlets.keep(&fleet);
        for (role, definition) in wanted {
            running
                .entry(role)
                .or_insert_with(|| shared.begin(role, definition, &mut outlets));
        }
        tokio::select! {
            () = shared.reader.settings_changed_after(seen) => {}
            // Messaging takes a change in a moment later.
            _ = sleep(&mut stop, LOOK_EVERY) => {}
        }
    }
    for (_, one) in running {
        one.end().await;
    }
}

/// What should run now.
fn wanted(shared: &Shared, fleet: &Fleet) -> BTreeMap<Role, Arc<Definition>> {
    let mut wanted = BTreeMap::new();
    for definition in fleet.running() {
        if definition.terms.direction == Direction::In {
            wanted.insert(Role::In(definition.id), definition.clone());
        }
    }
    for (subscription, binding) in shared.messaging.sinks() {
        let definition = fleet.running().find(|one| one.id == binding);
        // The replies of a binding are a subscription of its own number.
        let is_reply = subscription.0 == binding.0;
        let fits = |one: &&Arc<Definition>| match one.terms.direction {
            Direction::In => is_reply,
            Direction::Out => !is_reply,
        };
        if let Some(definition) = definition.filter(fits) {
            wanted.insert(Role::Out(subscription), definition.clone());
        }
    }
    wanted
}

/// One way out for each binder that runs.
#[derive(Default)]
struct Outlets(BTreeMap<SettingId, (u64, Arc<Outlet>)>);

impl Outlets {
    /// Forgets those whose binder is gone or has changed.
    fn keep(&mut self, fleet: &Fleet) {
        self.0.retain(|binder, (revision, _)| {
            fleet
                .running()
                .any(|one| one.binder_id == *binder && one.binder_revision == *revision)
        });
    }

    fn of(&mut self, definition: &Definition) -> Arc<Outlet> {
        let made = || {
            let (adapter, binder) = (definition.adapter.clone(), definition.binder.clone());
            (
                definition.binder_revision,
                Arc::new(Outlet::new(adapter, binder)),
            )
        };
        self.0
            .entry(definition.binder_id)
            .or_insert_with(made)
            .1
            .clone()
    }
}

impl Shared {
    fn begin(&self, role: Role, definition: Arc<Definition>, outlets: &mut Outlets) -> Running {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let outlet = outlets.of(&definition);
        match role {
            Role::In(id) => {
                let counters = self.config.adapters.counters().reset(id);
                let inbound = Arc::new(self.inbound(&definition, outlet, counters));
                for _ in 0..definition.binding.concurrency {
                    tasks.spawn(inbound.clone().run(stopped.clone()));
                }
            }
            Role::Out(subscription) => {
                let outbound = self.outbound(subscription, &definition, outlet);
                tasks.spawn(Arc::new(outbound).run(stopped));
            }
        }
        Running {
            definition,
            stop,
            tasks,
        }
    }

    fn inbound(
        &self,
        definition: &Definition,
        outlet: Arc<Outlet>,
        counters: Arc<Counters>,
    ) -> Inbound {
        Inbound {
            engine: self.engine.clone(),
            orders: Orders {
                reader: self.reader.clone(),
                intake: self.intake.clone(),
                setting: definition.id,
                revision: definition.revision,
                terms: definition.terms.clone(),
                map: definition.map.clone(),
                identity_path: definition.identity_path.clone(),
                bound_in: definition.bound_in.clone(),
            },
            binding: definition.binding.clone(),
            acts_as: definition.acts_as,
            outlet,
            counters,
            permit: self.config.permit.clone(),
            back_off: definition.back_off.clone(),
            attempts_max: definition.terms.consumer.max_attempts,
            asked_backlog: Mutex::default(),
        }
    }

    fn outbound(
        &self,
        subscription: SubscriptionId,
        definition: &Definition,
        outlet: Arc<Outlet>,
    ) -> Outbound {
        let terms = &definition.terms;
        let content_type = match terms.direction {
            Direction::In => terms.reply.content_type.clone(),
            Direction::Out => terms.content_type.clone(),
        };
        let way = match terms.direction {
            Direction::In => Way::Replies,
            Direction::Out => Way::Events {
                destination: definition.terms.destination.clone(),
                routing_key: definition.terms.routing_key.clone(),
                key: definition.terms.partition_key.clone(),
            },
        };
        Outbound {
            reader: self.reader.clone(),
            messaging: self.messaging.clone(),
            id: subscription,
            way,
            content_type,
            outlet,
            counters: self.config.adapters.counters().of(definition.id),
            permit: self.config.permit.clone(),
            clock: self.engine.clock(),
            back_off: definition.back_off.clone(),
        }
    }
}
