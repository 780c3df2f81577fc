//! Ports for programs that can't be asked for any free one.

use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::{BuildHasher as _, Hasher as _};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

/// Where ports are looked for: below those that systems give to outgoing connections (Linux: 32,768 and above), and below those that
/// `scripts/engines` look for (20,000 and above).
const FIRST: u16 = 12_000;
const COUNT: u16 = 8_000;

/// Locks of the ports that this process has been given. The system ends them with the process, however that ends.
static GIVEN: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// Returns a port of the loopback address that nobody listens at, and that no other test on this machine is given until this process
/// ends: a program may be started at it, killed, and started again.
///
/// # Panics
/// If no file can be made in the directory for temporary files.
pub fn free_port() -> u16 {
    let folder = std::env::temp_dir().join("tributary-test-ports");
    std::fs::create_dir_all(&folder).expect("a folder for temporary files");
    loop {
        let random = RandomState::new().build_hasher().finish() % u64::from(COUNT);
        let port = FIRST + u16::try_from(random).expect("it is small");
        let lock = File::create(folder.join(port.to_string())).expect("there is room");
        if lock.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
            given.push(lock);
            return port;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice() {
        let ports: std::collections::BTreeSet<u16> = (0..100).map(|_| free_port()).collect();
        assert_eq!(ports.len(), 100);
        assert!(ports.iter().all(|port| (12_000..20_000).contains(port)));
    }
}
