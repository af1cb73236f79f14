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

    /// A clock on which every wait is over at once, and that keeps how long they were, in seconds.
    #[derive(Default)]
    struct Hasty(std::sync::Mutex<Vec<u64>>);

    #[async_trait::async_trait]
    impl Clock for Hasty {
        fn now(&self) -> Timestamp {
            let passed: u64 = self.0.lock().unwrap().iter().sum();
            Timestamp::default().plus(Millis::from_secs(passed))
        }

        async fn sleep(&self, length: Duration) {
            self.0.lock().unwrap().push(length.as_secs());
        }
    }

    /// An issuer that describes itself, refuses tokens with these answers, one after the other, and then says nothing more.
    /// Returns its address.
    async fn issuer(answers: Vec<&'static str>) -> String {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let described = serde_json::json!({
            "issuer": address, "jwks_uri": format!("{address}/keys"), "token_endpoint": format!("{address}/token"),
        });
        tokio::spawn(async move {
            let mut answers = answers.into_iter();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 16 * 1024];
                let length = stream.read(&mut head).await.unwrap_or_default();
                let (status, body) = match head[..length].starts_with(b"GET ") {
                    true => ("200 OK", described.to_string()),
                    false => match answers.next() {
                        Some(body) => ("400 Bad Request", body.to_owned()),
                        None => continue,
                    },
                };
                let head = format!("HTTP/1.1 {status}\r\nconnection: close");
                let length = body.len();
                let answer = format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}");
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        address
    }

    /// Waits for a login at an issuer that gives these answers. Returns how that ended, and the waits before each question.
    async fn waited(answers: Vec<&'static str>) -> (LoginFailed, Vec<u64>) {
        let bounds = crate::access::oidc::OidcBounds::default();
        let provider = Provider::new(&issuer(answers).await, bounds).unwrap();
        let description = provider.describe().await.unwrap();
        let clock = Hasty::default();
        let invitation = said().read(clock.now(), false).unwrap();
        let failed = wait(&provider, &description, "replictl", &invitation, &clock).await;
        let waits = clock.0.lock().unwrap().clone();
        (failed.err().unwrap(), waits)
    }

    #[tokio::test]
    async fn an_issuer_may_be_silent_so_often_and_no_more() {
        let (failed, waits) = waited(Vec::new()).await;
        assert!(matches!(failed, LoginFailed::Issuer(_)), "{failed}");
        // It is asked less and less often.
        assert_eq!(waits, [5, 10, 20, 40, MAX_INTERVAL]);
        assert_eq!(waits.len(), MAX_SILENT as usize);
        // An answer in between, and it is listened to as before.
        let pending = r#"{"error": "authorization_pending"}"#;
        let (failed, waits) = waited(vec!["<html>", "<html>", pending]).await;
        assert!(matches!(failed, LoginFailed::Issuer(_)), "{failed}");
        assert_eq!(waits.len(), 3 + MAX_SILENT as usize);
    }
}
