//! Logging in with another device (RFC 8628): the issuer gives a short code, a person enters it in any browser, and meanwhile
//! the issuer is asked again and again whether they have.

use std::time::Duration;

use serde::Deserialize;
use url::Url;

use super::error::LoginFailed;
use crate::access::oidc::{Description, Provider, Refusal, Tokens};
use crate::clock::Clock;
use crate::run::{Millis, Timestamp};
use crate::shown::clean;

/// The grant of RFC 8628.
const DEVICE_CODE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// How often an issuer is asked that does not say how often, and how much longer to wait when it is too often (RFC 8628).
const INTERVAL: u64 = 5;

/// The longest wait between two questions, in seconds: a person waits for the answer.
const MAX_INTERVAL: u64 = 60;

/// The longest time in which to enter a code, in seconds. Issuers give a few minutes.
const MAX_LIFE: u64 = 1_800;

/// The longest code that a person can be asked to enter, in characters.
const MAX_USER_CODE: usize = 64;

/// The longest code of a device, in bytes.
const MAX_DEVICE_CODE: usize = 16 * 1024;

/// How often an issuer may not answer in a row before that is an error: it may be restarted meanwhile.
const MAX_SILENT: u32 = 5;

/// What the person has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Invitation {
    at: Url,
    at_once: Option<Url>,
    code: String,
    device: String,
    interval: u64,
    until: Timestamp,
}

impl Invitation {
    /// Where to go, without having to enter the code if the issuer can do that.
    pub(super) fn at_once(&self) -> &Url {
        self.at_once.as_ref().unwrap_or(&self.at)
    }

    /// What to enter there, or to see there.
    pub(super) fn code(&self) -> &str {
        &self.code
    }

    /// Until when.
    pub(super) fn until(&self) -> Timestamp {
        self.until
    }
}

#[derive(Deserialize)]
struct Said {
    device_code: String,
    user_code: String,
    verification_uri: String,
    verification_uri_complete: Option<String>,
    expires_in: u64,
    interval: Option<u64>,
}

/// Asks the issuer for a code.
pub(super) async fn begin(
    provider: &Provider,
    said: &Description,
    client: &str,
    clock: &dyn Clock,
) -> Result<Invitation, LoginFailed> {
    let to = said.device.as_ref().ok_or(LoginFailed::NoDevices)?;
    let form = [("client_id", client), ("scope", &said.scopes(true))];
    let (granted, body) = provider.post(to, &form).await.map_err(LoginFailed::Issuer)?;
    if !granted {
        let refusal = Refusal::read(&body).map_err(LoginFailed::Issuer)?;
        return Err(LoginFailed::Refused(refusal.shown));
    }
    let said: Said = serde_json::from_slice(&body).map_err(|error| {
        LoginFailed::Issuer(format!("expected a JSON object with `device_code`: {error}"))
    })?;
    said.read(clock.now(), provider.is_plain())
}

impl Said {
    fn read(self, now: Timestamp, is_plain: bool) -> Result<Invitation, LoginFailed> {
        let odd = |message: &str| LoginFailed::Issuer(message.to_owned());
        let code = self.user_code;
        if code.is_empty() || code.chars().count() > MAX_USER_CODE || clean(&code) != code {
            return Err(odd("`user_code`: expected a short text"));
        }
        if self.device_code.len() > MAX_DEVICE_CODE {
            return Err(odd("`device_code`: expected at most 16384 bytes"));
        }
        let address = |text: &str| {
            // It is shown, and opened by a person who trusts us.
            let url = Url::parse(text).ok();
            let url =
                url.filter(|url| url.scheme() == "https" || is_plain && url.scheme() == "http");
            url.ok_or_else(|| odd("`verification_uri`: expected an https address"))
        };
        Ok(Invitation {
            at: address(&self.verification_uri)?,
            at_once: self.verification_uri_complete.as_deref().map(address).transpose()?,
            code,
            device: self.device_code,
            interval: self.interval.unwrap_or(INTERVAL).clamp(1, MAX_INTERVAL),
            until: now.plus(Millis::from_secs(self.expires_in.min(MAX_LIFE))),
        })
    }
}

/// What to do after an answer that has no tokens.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Ask again after so many seconds.
    After(u64),
    /// Nobody will log in.
    End(LoginFailed),
}

/// Asks the issuer again and again until the person has logged in, or can't any more.
pub(super) async fn wait(
    provider: &Provider,
    said: &Description,
    client: &str,
    invitation: &Invitation,
    clock: &dyn Clock,
) -> Result<Tokens, LoginFailed> {
    let to = said.token.as_ref().ok_or(LoginFailed::NoDevices)?;
    let form = [
        ("grant_type", DEVICE_CODE),
        ("device_code", invitation.device.as_str()),
        ("client_id", client),
    ];
    let (mut interval, mut silent) = (invitation.interval, 0);
    loop {
        clock.sleep(Duration::from_secs(interval)).await;
        if clock.now() >= invitation.until {
            return Err(LoginFailed::TooLate);
        }
        match provider.tokens(to, &form).await {
            Ok(Ok(tokens)) => return Ok(tokens),
            Ok(Err(refusal)) => match after(&refusal, interval) {
                Next::After(seconds) => (interval, silent) = (seconds, 0),
                Next::End(failed) => return Err(failed),
            },
            Err(message) => {
                silent += 1;
                if silent >= MAX_SILENT {
                    return Err(LoginFailed::Issuer(message));
                }
                // RFC 8628 asks to wait longer and longer then.
                interval = (2 * interval).min(MAX_INTERVAL);
            }
        }
    }
}

fn after(refusal: &Refusal, interval: u64) -> Next {
    match refusal.code.as_str() {
        "authorization_pending" => Next::After(interval),
        "slow_down" => Next::After((interval + INTERVAL).min(MAX_INTERVAL)),
        "expired_token" => Next::End(LoginFailed::TooLate),
        "access_denied" => Next::End(LoginFailed::Denied),
        _ => Next::End(LoginFailed::Refused(refusal.shown.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said() -> Said {
        Said {
            device_code: "device".to_owned(),
            user_code: "ABCD-EFGH".to_owned(),
            verification_uri: "https://id.example.com/device".to_owned(),
            verification_uri_complete: None,
            expires_in: 600,
            interval: None,
        }
    }

    #[test]
    fn what_a_person_is_told_to_do_is_bounded() {
        let now = Timestamp::from_millis(0);
        let read = said().read(now, false).unwrap();
        assert_eq!((read.interval, read.until), (INTERVAL, now.plus(Millis::from_secs(600))));
        let patient = Said { interval: Some(u64::MAX), expires_in: u64::MAX, ..said() };
        let read = patient.read(now, false).unwrap();
        assert_eq!(
            (read.interval, read.until),
            (MAX_INTERVAL, now.plus(Millis::from_secs(MAX_LIFE)))
        );
        assert_eq!(Said { interval: Some(0), ..said() }.read(now, false).unwrap().interval, 1);
        let text = str::to_owned;
        for bad in [
            Said { user_code: text("a\u{1b}[2J"), ..said() },
            Said { user_code: String::new(), ..said() },
            Said { user_code: "A".repeat(MAX_USER_CODE + 1), ..said() },
            Said { device_code: "A".repeat(MAX_DEVICE_CODE + 1), ..said() },
            Said { verification_uri: text("javascript:alert(1)"), ..said() },
            Said { verification_uri: text("device"), ..said() },
            Said { verification_uri: text("http://id.example.com/device"), ..said() },
            Said { verification_uri_complete: Some(text("file:///etc/passwd")), ..said() },
        ] {
            assert!(matches!(bad.read(now, false), Err(LoginFailed::Issuer(_))));
        }
    }

    #[test]
    fn an_issuer_says_whether_to_ask_again() {
        let refusal = |code: &str| Refusal { code: code.to_owned(), shown: format!("{code:?}") };
        for (code, next) in [
            ("authorization_pending", Next::After(7)),
            ("slow_down", Next::After(12)),
            ("expired_token", Next::End(LoginFailed::TooLate)),
            ("access_denied", Next::End(LoginFailed::Denied)),
            ("invalid_grant", Next::End(LoginFailed::Refused("\"invalid_grant\"".to_owned()))),
        ] {
            assert_eq!(after(&refusal(code), 7), next);
        }
        assert_eq!(after(&refusal("slow_down"), MAX_INTERVAL), Next::After(MAX_INTERVAL));
    }
}
