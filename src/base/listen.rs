//! Where our programs may listen. None of them has access control, so anyone who can reach a program may do
//! everything that it can do.

use std::net::SocketAddr;

/// The address can be reached from other machines.
#[derive(Debug, thiserror::Error)]
#[error(
    "failed to listen on {address}: others can reach it and there is no access control; expected a \
     loopback address (127.0.0.1 or [::1]), or --insecure"
)]
pub struct NotLoopback {
    /// The address that was asked for.
    pub address: SocketAddr,
}

/// Checks that `address` may be listened on: only a loopback address may, unless `insecure`.
///
/// # Errors
/// [`NotLoopback`] if other machines could reach the address.
pub fn check_listen(address: SocketAddr, insecure: bool) -> Result<(), NotLoopback> {
    match insecure || address.ip().to_canonical().is_loopback() {
        true => Ok(()),
        false => Err(NotLoopback { address }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_listened_on_without_insecure() {
        for good in ["127.0.0.1:8900", "127.8.0.1:0", "[::1]:8900", "[::ffff:127.0.0.1]:1"] {
            assert!(check_listen(good.parse().unwrap(), false).is_ok(), "{good}");
        }
        for bad in ["0.0.0.0:8900", "[::]:8900", "10.0.0.7:8900"] {
            let error = check_listen(bad.parse().unwrap(), false).unwrap_err();
            assert!(error.to_string().contains("--insecure"), "{error}");
            assert!(check_listen(bad.parse().unwrap(), true).is_ok(), "{bad}");
        }
    }
}
