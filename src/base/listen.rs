//! Where our programs may listen. Others can reach whatever is not a loopback address, so there a program has to know
//! with whom it speaks.

use std::net::SocketAddr;

/// The address can be reached from other machines.
#[derive(Debug, thiserror::Error)]
#[error(
    "failed to listen on {address}: others can reach it; expected {lacking}, or a loopback address (127.0.0.1 or [::1]), \
     or --insecure"
)]
pub struct NotLoopback {
    /// The address that was asked for.
    pub address: SocketAddr,
    /// What is needed on such an address, as human-readable text.
    pub lacking: String,
}

/// Checks that `address` may be listened on: one that other machines could reach may only if nothing is `lacking` that
/// keeps strangers out, or if it is `insecure`.
///
/// # Errors
/// [`NotLoopback`] if others could reach the address.
pub fn check_listen(
    address: SocketAddr,
    insecure: bool,
    lacking: &[&str],
) -> Result<(), NotLoopback> {
    match insecure || lacking.is_empty() || is_loopback(address) {
        true => Ok(()),
        false => Err(NotLoopback { address, lacking: lacking.join(" and ") }),
    }
}

/// Whether only this machine reaches the address.
pub fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_let_in_only_by_what_knows_them() {
        let check = |address: &str, insecure, lacking: &[&str]| {
            check_listen(address.parse().unwrap(), insecure, lacking)
        };
        let lacking = ["--tls NAME", "--access FILE"];
        for good in ["127.0.0.1:8900", "127.8.0.1:0", "[::1]:8900", "[::ffff:127.0.0.1]:1"] {
            assert!(check(good, false, &lacking).is_ok(), "{good}");
        }
        for bad in ["0.0.0.0:8900", "[::]:8900", "10.0.0.7:8900"] {
            let error = check(bad, false, &lacking).unwrap_err().to_string();
            assert!(error.contains("expected --tls NAME and --access FILE, or"), "{error}");
            assert!(check(bad, true, &lacking).is_ok() && check(bad, false, &[]).is_ok(), "{bad}");
        }
    }
}
