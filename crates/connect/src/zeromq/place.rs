//! Where peers connect to: the `url` of a binder.

use std::fmt;
use std::net::SocketAddr;

/// What a url says that lets anybody on the network in.
const INSECURE: &str = "insecure_network=true";

/// An address to listen at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place(pub(super) SocketAddr);

impl Place {
    /// Reads `tcp://ADDRESS:PORT`, or `tcp://ADDRESS:PORT?insecure_network=true` for an address that is not the loopback.
    ///
    /// # Errors
    /// What a url must be.
    pub(super) fn parse(url: &str) -> Result<Place, String> {
        let rest = url.strip_prefix("tcp://").ok_or("must begin with tcp://")?;
        let (address, parameters) = match rest.split_once('?') {
            Some((address, parameters)) => (address, Some(parameters)),
            None => (rest, None),
        };
        let address: SocketAddr = address.parse().map_err(|_| {
            "must be tcp://ADDRESS:PORT, with the IP address that this server listens at: tcp://127.0.0.1:5555".to_owned()
        })?;
        if address.port() == 0 {
            return Err("must name a port".to_owned());
        }
        if parameters.is_some_and(|parameters| parameters != INSECURE) {
            return Err(format!("may have the parameter {INSECURE} only"));
        }
        if parameters.is_none() && !address.ip().is_loopback() {
            return Err(format!(
                "must be a loopback address: ZeroMQ hides neither orders nor API keys from the network; add ?{INSECURE} if nobody listens there"
            ));
        }
        Ok(Place(address))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tcp://{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[track_caller]
    fn check(url: &str, expected: Result<&str, &str>) {
        match (Place::parse(url), expected) {
            (Ok(place), Ok(expected)) => assert_eq!(place.to_string(), expected, "{url}"),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{url}: {found}"),
            (found, _) => panic!("{url}: {found:?}"),
        }
    }

    #[test]
    fn urls_are_addresses_and_the_network_is_named() {
        check("tcp://127.0.0.1:5555", Ok("tcp://127.0.0.1:5555"));
        check("tcp://127.8.9.1:1", Ok("tcp://127.8.9.1:1"));
        check("tcp://[::1]:5555", Ok("tcp://[::1]:5555"));
        check(
            "tcp://0.0.0.0:5555?insecure_network=true",
            Ok("tcp://0.0.0.0:5555"),
        );
        check(
            "tcp://10.0.0.1:5555?insecure_network=true",
            Ok("tcp://10.0.0.1:5555"),
        );
        check("tcp://0.0.0.0:5555", Err("insecure_network=true"));
        check("tcp://[::]:5555", Err("insecure_network=true"));
        check(
            "tcp://10.0.0.1:5555?insecure_network=false",
            Err("may have the parameter"),
        );
        check("tcp://127.0.0.1:5555?x=y", Err("may have the parameter"));
        check("tcp://127.0.0.1", Err("ADDRESS:PORT"));
        check("tcp://127.0.0.1:0", Err("port"));
        check("tcp://localhost:5555", Err("ADDRESS:PORT"));
        check("tcp://*:5555", Err("ADDRESS:PORT"));
        check("ipc:///tmp/x", Err("tcp://"));
        check("127.0.0.1:5555", Err("tcp://"));
    }
}
