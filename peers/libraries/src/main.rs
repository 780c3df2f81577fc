//! Compares our own key index, slab and record codec with libraries in their places: `cargo run --profile dist`.
//!
//! Every comparison runs both sides in turn and prints the medians of [`ROUNDS`] rounds. The sources of the index and the slab are
//! included as they are, since no other crate may use them.

// The included files look for these two at the root of their crate.
#[path = "../../../crates/journal/src/locks.rs"]
#[allow(dead_code)]
mod locks;
#[path = "../../../crates/journal/src/prefetch.rs"]
mod prefetch;

mod codec;
mod index;
mod slab;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Rounds of each comparison.
const ROUNDS: usize = 5;
/// Operations per batch, as in a full batch of payments.
const BATCH: usize = 8_192;

/// Counts the bytes that are allocated.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator unchanged; the count is beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's contract is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's contract is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn allocated() -> usize {
    ALLOCATED.load(Ordering::Relaxed)
}

/// Spreads numbers so that they look like hashes.
fn random(number: u64) -> u64 {
    let mixed = (number ^ number >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// Times `work` in nanoseconds for each of `operations`.
fn nanoseconds(operations: usize, work: impl FnOnce()) -> f64 {
    let started = Instant::now();
    work();
    started.elapsed().as_nanos() as f64 / operations as f64
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn print_line(what: &str, ours: Vec<f64>, others: &[(&str, Vec<f64>)], unit: &str) {
    print!("{what:<44} ours {:8.1} {unit}", median(ours));
    for (name, figures) in others {
        print!("   {name} {:8.1} {unit}", median(figures.clone()));
    }
    println!();
}

fn main() {
    index::compare();
    slab::compare();
    codec::compare();
}
