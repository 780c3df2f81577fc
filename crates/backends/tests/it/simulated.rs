//! PostgreSQL in lockstep with memory and the embedded backend, against the independent model; `scripts/simulate` runs it
//! with many seeds.

use std::sync::Arc;

use tributary_backends::postgres::Postgres;
use tributary_engine::{Backend, SystemClock};
use tributary_testkit::disk::SimDisk;
use tributary_testkit::lockstep::{Lockstep, Replay, Seeds, Site};
use tributary_testkit::sites::{InMemory, OnDisk};

use crate::database::{Database, database, meta};

/// Steps of each seed.
const STEPS: u64 = 250;

/// A schema of the test server. The server's clock is compared with the real one, not with that of the simulation.
struct InPostgres(Database);

impl Site for InPostgres {
    fn name(&self) -> String {
        "postgres".into()
    }

    fn open(&mut self) -> Box<dyn Backend> {
        let opened = Postgres::open(&self.0.options, Arc::new(SystemClock), &meta());
        Box::new(opened.unwrap_or_else(|error| panic!("postgres: {error}")))
    }
}

#[test]
fn postgres_and_the_others_and_the_model_agree_on_everything() {
    for seed in Seeds::of("postgres", 2) {
        let Some(database) = database() else { return };
        let _replay = Replay {
            test: "postgres",
            seed,
        };
        let sites = vec![
            InMemory::site(),
            OnDisk::simulated(SimDisk::new(seed).disk()),
            Box::new(InPostgres(database)),
        ];
        Lockstep::new(sites, seed).run(STEPS);
    }
}
