//! A real broker as a process, whose start and end other tasks need not wait for.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use tributary_connect::port::Doing;
pub(super) use tributary_testkit::ports::free_port;

/// A broker on a port and in a folder of its own.
pub(super) struct Engine(tributary_testkit::engine::Engine);

impl Deref for Engine {
    type Target = tributary_testkit::engine::Engine;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Engine {
    /// Starts an engine, and waits until it listens. Returns none if it is not installed and the tests may be skipped.
    pub(super) async fn start(name: &str) -> Option<Arc<Engine>> {
        Engine::start_prepared(name, |_| {}).await
    }

    /// Like [`Engine::start`], with its folder prepared before it is started for the first time.
    pub(super) async fn start_prepared(
        name: &str,
        prepare: impl FnOnce(&Path),
    ) -> Option<Arc<Engine>> {
        let engine = Arc::new(Engine(tributary_testkit::engine::Engine::find(name)?));
        prepare(engine.folder());
        engine.restart().await;
        Some(engine)
    }

    /// Starts it again on the same data, and waits until it listens.
    pub(super) fn restart(self: &Arc<Engine>) -> Doing<'static, ()> {
        let engine = self.clone();
        Box::pin(blocking(move || engine.0.start()))
    }

    /// Kills it, with everything that it started in its group, as a power cut would.
    pub(super) fn kill(self: &Arc<Engine>) -> Doing<'static, ()> {
        let engine = self.clone();
        Box::pin(blocking(move || engine.0.kill()))
    }
}

/// Does what keeps a thread waiting, beside other tasks.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work)
        .await
        .expect("it does not panic")
}
