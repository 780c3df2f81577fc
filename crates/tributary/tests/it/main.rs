//! The real binary from outside: what a person types, and what she must find afterwards.

mod apply;
mod backup;
mod bank;
mod books;
#[cfg(feature = "rabbitmq")]
mod brokers;
mod cards;
mod clock;
mod consumers;
mod crash;
mod damage;
mod deploy;
mod disaster;
mod discovery;
mod documentation;
#[cfg(all(feature = "kafka", feature = "postgres"))]
mod fire;
#[cfg(feature = "kafka")]
mod flink;
mod full;
mod generators;
mod history;
mod http;
mod import;
mod listen;
#[cfg(all(feature = "kafka", feature = "postgres"))]
mod nodes;
mod overload;
mod plan;
mod risk;
mod sandbox;
mod serve;
mod signals;
mod streams;
mod support;
#[cfg(all(feature = "kafka", feature = "postgres"))]
mod upgrade;
mod wrong;
