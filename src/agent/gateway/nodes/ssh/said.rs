//! What `ssh` says when it can't connect, and what that means. It has one exit code for all of it.

use crate::agent::gateway::nodes::answer::shorten;
use crate::agent::gateway::nodes::error::Trouble;

/// What a session says that found no master.
pub(super) const NO_MASTER: &str = "replibook-found-no-master";

/// What a session says whose server takes no more of them.
const FULL: &str = "open refused by peer";

/// Whether a session found no master or no room, so that nothing of what it was to carry has left this machine.
pub(in crate::agent::gateway::nodes) fn nothing_was_sent(said: &[u8]) -> bool {
    let text = String::from_utf8_lossy(said);
    // A master that ends in the middle of a session may have carried it.
    text.contains(NO_MASTER) && (!text.contains("mux_client") || is_full(said))
}

/// Whether the server takes no more sessions over this connection.
pub(in crate::agent::gateway::nodes) fn is_full(said: &[u8]) -> bool {
    String::from_utf8_lossy(said).contains(FULL)
}

/// What is wrong.
pub(super) fn explain(place: &str, said: &[u8]) -> Trouble {
    let text = String::from_utf8_lossy(said);
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let place = place.to_owned();
    let said = shorten(said);
    if has(&["REMOTE HOST IDENTIFICATION HAS CHANGED", "REVOKED HOST KEY"]) {
        return Trouble::HostKeyChanged { place, said };
    }
    if has(&["Host key verification failed", "host key is known for"]) {
        return Trouble::HostKeyUnknown { place, said };
    }
    // A jump host is another ssh; this one has no address for the other end.
    if has(&[
        "UNKNOWN port 65535",
        "stdio forwarding failed",
        "kex_exchange_identification: Connection closed by UNKNOWN",
    ]) {
        return Trouble::JumpHost { place, said };
    }
    if has(&["Permission denied (", "Too many authentication failures", "no mutual signature"]) {
        return Trouble::Denied { place, said };
    }
    Trouble::Unreachable { place, said }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_was_sent_only_if_that_is_certain() {
        let gone = "Connection closed by UNKNOWN port 65535\r\n";
        for (said, certain) in [
            (format!("{NO_MASTER}\n{gone}"), true),
            (
                format!(
                    "mux_client_request_session: session request failed: Session open refused by peer\n{NO_MASTER}\n"
                ),
                true,
            ),
            (
                format!(
                    "mux_client_request_session: read from master failed: Broken pipe\n{NO_MASTER}\n{gone}"
                ),
                false,
            ),
            (gone.to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(nothing_was_sent(said.as_bytes()), certain, "{said}");
        }
    }

    #[test]
    fn what_ssh_says_is_understood() {
        let changed = "@@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@@@\n\
                       Host key verification failed.\r\n";
        let jump = "channel 0: open failed: connect failed: Connection refused\nstdio forwarding failed\n\
                    Connection closed by UNKNOWN port 65535\n";
        for (said, expected) in [
            (changed, "is another one than before"),
            (
                "No ED25519 host key is known for [127.0.0.1]:1 and you have requested strict checking.\r\n\
              Host key verification failed.\r\n",
                "is not known",
            ),
            ("a@b: Permission denied (publickey,password).\r\n", "refused to let us in"),
            (jump, "through its jump host"),
            (
                "ssh: connect to host b port 22: Connection refused\r\n",
                "see whether the node is up",
            ),
            (
                "ssh: Could not resolve hostname b: Name or service not known\r\n",
                "its address is right",
            ),
            ("", "it said nothing"),
        ] {
            let message = explain("b", said.as_bytes()).to_string();
            assert!(message.contains(expected), "{said}: {message}");
        }
    }
}
